//! `image`: makes the guest's image ready, and says what is in it.

use std::process::ExitCode;

use clap::Args;
use covalent_tests::vm::image::{Options, ensure_with};
use covalent_tests::vm::progress::Progress;

/// What to check beyond the usual.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Reads every byte of what is there, and makes it again where it is damaged.
    #[arg(long)]
    verify: bool,
    /// Asks the mirror for versions, even where that was done less than a day ago.
    #[arg(long)]
    refresh: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = Options {
        verify: arguments.verify,
        refresh: arguments.refresh,
    };
    let image = ensure_with(options, &Progress::stderr())?;
    println!("image   {}", image.folder().display());
    println!("kernel  {}", image.versions.kernel);
    println!("mesa    {}", image.versions.mesa);
    println!("qemu    {}", image.versions.qemu);
    Ok(ExitCode::SUCCESS)
}
