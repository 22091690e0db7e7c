//! What the process and the kernel hold, before a check and after it.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use covalent_tests::judge::bufinfo;
use covalent_tests::judge::process::fd_count;

/// How often to look again: the kernel frees some buffers a little after their last fd.
const LOOKS: u32 = 20;

/// The fds of this process and the dma-bufs of the machine.
pub(crate) struct Baseline {
    fds: usize,
    dma_bufs: usize,
}

impl Baseline {
    pub(crate) fn take() -> Result<Self> {
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
        })
    }

    /// Fails where more is held than at the beginning.
    pub(crate) fn compare(&self) -> Result<()> {
        for _ in 0..LOOKS {
            if Self::take()?.dma_bufs <= self.dma_bufs {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let now = Self::take()?;
        ensure!(
            now.fds <= self.fds,
            "{} fds are left, {} were there before",
            now.fds,
            self.fds
        );
        ensure!(
            now.dma_bufs <= self.dma_bufs,
            "{} dma-bufs are left, {} were there before: {:?}",
            now.dma_bufs,
            self.dma_bufs,
            bufinfo::read()?
        );
        Ok(())
    }
}
