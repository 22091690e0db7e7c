//! `image`: makes the guest's image ready, and says what is in it.

use std::process::ExitCode;

use clap::Args;
use covalent_tests::vm::config::Config;
use covalent_tests::vm::image::{Options, ensure_with};
use covalent_tests::vm::progress::Progress;

/// What to check beyond the usual.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The configuration that it is for: the board has an image of its own, and all others share one.
    #[arg(long, value_enum, default_value_t = Config::Virtio)]
    config: Config,
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
    let image = ensure_with(arguments.config.platform(), options, &Progress::stderr())?;
    println!("image   {}", image.folder().display());
    println!("kernel  {}", image.versions.kernel);
    if !image.versions.mesa.is_empty() {
        println!("mesa    {}", image.versions.mesa);
    }
    println!("qemu    {}", image.versions.qemu);
    Ok(ExitCode::SUCCESS)
}
