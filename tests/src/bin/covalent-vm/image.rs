//! `image`: builds the guest's image if it is missing, and prints the versions of its software.

use std::process::ExitCode;

use clap::Args;
use covalent_tests::vm::config::Config;
use covalent_tests::vm::image::{Options, ensure_with};
use covalent_tests::vm::kernel::Kernel;
use covalent_tests::vm::progress::Progress;

/// The options of `image`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Build the image of this configuration. The board has its own image; all other configurations share one image.
    #[arg(long, value_enum, default_value_t = Config::Virtio)]
    config: Config,
    /// Build the kernel of this Debian series too: 6.1 of bookworm, 6.12 of trixie, or 7.3 of trixie-backports, which is the
    /// kernel of the image.
    #[arg(long, value_enum, default_value_t = Kernel::Backports)]
    kernel: Kernel,
    /// Build the disk with the programs of other projects too, which `./x vm run --peers` uses.
    #[arg(long, conflicts_with = "kernel")]
    peers: bool,
    /// Verify every byte of the image, and build it again if it is damaged.
    #[arg(long)]
    verify: bool,
    /// Query the mirror for new versions, even if the last query was less than a day ago.
    #[arg(long)]
    refresh: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = Options {
        kernel: arguments.kernel,
        peers: arguments.peers,
        verify: arguments.verify,
        refresh: arguments.refresh,
    };
    let image = ensure_with(arguments.config.platform(), options, &Progress::stderr())?;
    println!("image   {}", image.folder().display());
    println!("kernel  {}", image.versions.kernel);
    for module in &image.missing_modules {
        println!("missing {}: {}", module.name, module.reason);
    }
    if !image.versions.mesa.is_empty() {
        println!("mesa    {}", image.versions.mesa);
    }
    println!("qemu    {}", image.versions.qemu);
    Ok(ExitCode::SUCCESS)
}
