//! Fences that stay pending until a test signals them: those of the kernel's sw_sync module (`modprobe sw_sync`).

mod sys;

use std::fs::{File, OpenOptions};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::sync::{Fence, FenceStatus, Pollable};

pub use sys::DeviceView;

const SW_SYNC: &str = "/sys/kernel/debug/sync/sw_sync";

/// A timeline of sw_sync, whose counter starts at 0 and changes only by [`SwSyncTimeline::advance`].
///
/// When the timeline is dropped, its pending fences are signalled with an error.
#[derive(Debug)]
pub struct SwSyncTimeline {
    file: File,
}

impl SwSyncTimeline {
    /// Creates a timeline whose counter is 0.
    ///
    /// # Errors
    /// The module is not loaded, or the caller is not root.
    pub fn new() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(SW_SYNC)
            .with_context(|| format!("open {SW_SYNC}; `modprobe sw_sync` creates this file"))?;
        Ok(Self { file })
    }

    /// Creates a fence that is signalled when the counter reaches `value`, and checks that it is unsignalled.
    ///
    /// # Errors
    /// No file descriptor is left, or the counter has reached `value` already.
    pub fn fence(&self, value: u32) -> Result<Fence> {
        let fence = Fence::import(sys::create_fence(&self.file, value)?)?;
        check_unsignalled(&fence)?;
        Ok(fence)
    }

    /// Returns the open file of the timeline. When its last fd is closed, the pending fences are signalled with an error.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Adds `by` to the counter, which signals the fences of the values that it reaches.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn advance(&self, by: u32) -> Result<()> {
        Ok(sys::increment(&self.file, by)?)
    }
}

/// Checks that a fence is unsignalled, by its status and by poll.
///
/// # Errors
/// The fence is signalled, or polls as readable.
pub fn check_unsignalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(
        status == FenceStatus::Unsignalled,
        "the fence should be unsignalled, and is {status:?}"
    );
    ensure!(
        !fence.is_signalled()?,
        "an unsignalled fence polls as if it were signalled"
    );
    Ok(())
}

/// Checks that a fence is signalled without an error, by its status and by poll.
///
/// # Errors
/// The fence is unsignalled or signalled with an error, or does not poll as readable.
pub fn check_signalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(
        status == FenceStatus::Signalled,
        "the fence should be signalled without an error, and is {status:?}"
    );
    ensure!(
        fence.is_signalled()?,
        "a signalled fence does not poll as signalled"
    );
    Ok(())
}
