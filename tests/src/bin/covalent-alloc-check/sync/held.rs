//! Fences that a test holds back, of drivers that let it.

use std::fs::{File, OpenOptions};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::sync::{Awaited, Fence, FenceStatus};

use super::sys;

const SW_SYNC: &str = "/sys/kernel/debug/sync/sw_sync";

/// A timeline of sw_sync: it stands at 0 and moves when it is told to. When it is dropped its fences end with an error.
pub(crate) struct Held {
    file: File,
}

impl Held {
    pub(crate) fn new() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(SW_SYNC)
            .with_context(|| format!("open {SW_SYNC}; modprobe sw_sync makes it"))?;
        Ok(Self { file })
    }

    /// A fence that was seen unsignalled; it signals at `value`.
    pub(crate) fn fence(&self, value: u32) -> Result<Fence> {
        let fence = Fence::import(sys::create_fence(&self.file, value)?)?;
        unsignalled(&fence)?;
        Ok(fence)
    }

    /// Signals the fences of the next `by` values.
    pub(crate) fn advance(&self, by: u32) -> Result<()> {
        Ok(sys::increment(&self.file, by)?)
    }
}

/// A fence counts only if it was seen unsignalled.
pub(crate) fn unsignalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(status == FenceStatus::Unsignalled, "it is {status:?}");
    ensure!(!fence.is_over()?, "it polls as if it were over");
    Ok(())
}

pub(crate) fn signalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(status == FenceStatus::Signalled, "it is {status:?}");
    ensure!(fence.is_over()?, "it does not poll as over");
    Ok(())
}
