//! `clean`: removes cached files to free disk space.

use std::process::ExitCode;

use clap::Args;
use covalent_tests::vm::cache::{Cache, CacheFolder};
use covalent_tests::vm::progress::Progress;

/// The options of `clean`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keep the newest image and the downloaded packages.
    #[arg(long)]
    keep_newest: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let cache = Cache::from_environment()?;
    let lock = cache.lock(&progress)?;
    let keep = usize::from(arguments.keep_newest);
    cache.discard_partial(&lock)?;
    for kind in CacheFolder::ALL {
        cache.keep_newest(&lock, kind, keep, &progress)?;
    }
    if !arguments.keep_newest {
        cache.discard_packages(&lock)?;
    }
    cache.remove_discarded_and_wait(&progress)?;
    Ok(ExitCode::SUCCESS)
}
