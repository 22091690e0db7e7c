//! Fences of sw_sync, which a test signals when it wants to (`modprobe sw_sync`).

mod sys;

use std::fs::{File, OpenOptions};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::sync::{Fence, FenceStatus, Pollable};

pub use sys::DeviceView;

const SW_SYNC: &str = "/sys/kernel/debug/sync/sw_sync";

/// A timeline of sw_sync. Its counter begins at 0 and moves only with [`advance`](Self::advance). Dropping the timeline signals its
/// pending fences with an error.
#[derive(Debug)]
pub struct SwSyncTimeline {
    file: File,
}

impl SwSyncTimeline {
    /// Creates a timeline.
    ///
    /// # Errors
    /// The module is not loaded, or the process is not root.
    pub fn new() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(SW_SYNC)
            .with_context(|| format!("open {SW_SYNC}, which `modprobe sw_sync` creates"))?;
        Ok(Self { file })
    }

    /// Creates a fence that is signalled when the counter reaches `value`, and checks that it is unsignalled now.
    ///
    /// # Errors
    /// The process has no free fd, or the fence is signalled already.
    pub fn fence(&self, value: u32) -> Result<Fence> {
        let fence = Fence::import(sys::create_fence(&self.file, value)?)?;
        expect_unsignalled(&fence)?;
        Ok(fence)
    }

    /// Returns the timeline's file. Closing its last fd signals the pending fences with an error.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Adds `by` to the counter, which signals the fences up to the new value.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn advance(&self, by: u32) -> Result<()> {
        Ok(sys::increment(&self.file, by)?)
    }
}

/// Checks that a fence is unsignalled, by its status and by poll().
///
/// # Errors
/// The fence is signalled or has an error.
pub fn expect_unsignalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(
        status == FenceStatus::Unsignalled,
        "the fence's status is {status:?} instead of unsignalled"
    );
    ensure!(
        !fence.is_over()?,
        "the fence is unsignalled and polls as signalled"
    );
    Ok(())
}

/// Checks that a fence is signalled, by its status and by poll().
///
/// # Errors
/// The fence is unsignalled or has an error.
pub fn expect_signalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(
        status == FenceStatus::Signalled,
        "the fence's status is {status:?} instead of signalled"
    );
    ensure!(
        fence.is_over()?,
        "the fence is signalled and polls as pending"
    );
    Ok(())
}
