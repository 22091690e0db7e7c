//! `covalent man`: writes man pages for the tool and for each verb.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use covalent_alloc::files::{FileAccess, make_folder, replace_for};

/// Write man pages into a folder: covalent.1, and one for each verb.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  covalent man ~/.local/share/man/man1
  covalent man pages && man pages/covalent-matrix.1")]
pub(crate) struct Options {
    /// Write into this folder, which is created if it is missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // The pages contain nothing private, so all users may read them.
    make_folder(&options.folder, FileAccess::Shared)?;
    let mut command = crate::args::Options::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages);
    for command in pages {
        let name = command
            .get_display_name()
            .unwrap_or_else(|| command.get_name());
        let page = Man::new(command.clone());
        let path = options.folder.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text)?;
        tracing::debug!(name, "writing a man page");
        replace_for(&path, &text, FileAccess::Shared)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds a command and, recursively, its subcommands to the list of man pages.
fn add<'a>(command: &'a Command, pages: &mut Vec<&'a Command>) {
    pages.push(command);
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        add(below, pages);
    }
}
