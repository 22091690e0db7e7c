//! `covalent man`: a page for the tool, and one for each verb.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};

/// Write man pages into a folder: covalent.1, and one for each verb.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  covalent man ~/.local/share/man/man1
  covalent man /tmp && man /tmp/covalent-matrix.1")]
pub(crate) struct Options {
    /// The folder; it is made where it is missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let folder = &options.folder;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    clap_mangen::generate_to(crate::args::Options::command(), folder)
        .with_context(|| format!("writing man pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
