//! Fences that a test holds back: those of sw_sync (`modprobe sw_sync`).

mod sys;

use std::fs::{File, OpenOptions};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::sync::{Fence, FenceStatus, Pollable};

pub use sys::DeviceView;

const SW_SYNC: &str = "/sys/kernel/debug/sync/sw_sync";

/// A timeline of sw_sync: it stands at 0 and moves when it is told to. When it is dropped its fences end with an error.
#[derive(Debug)]
pub struct Held {
    file: File,
}

impl Held {
    /// Makes one that stands at 0.
    ///
    /// # Errors
    /// Where the module is not loaded, or who asks is not root.
    pub fn new() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(SW_SYNC)
            .with_context(|| format!("open {SW_SYNC}; modprobe sw_sync makes it"))?;
        Ok(Self { file })
    }

    /// A fence that was seen unsignalled; it signals at `value`.
    ///
    /// # Errors
    /// Where there is no fd left, or the fence is signalled already.
    pub fn fence(&self, value: u32) -> Result<Fence> {
        let fence = Fence::import(sys::create_fence(&self.file, value)?)?;
        unsignalled(&fence)?;
        Ok(fence)
    }

    /// The file whose end ends its fences.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Signals the fences of the next `by` values.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn advance(&self, by: u32) -> Result<()> {
        Ok(sys::increment(&self.file, by)?)
    }
}

/// A fence counts only if it was seen unsignalled.
///
/// # Errors
/// Where it is not.
pub fn unsignalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(status == FenceStatus::Unsignalled, "it is {status:?}");
    ensure!(!fence.is_signalled()?, "it polls as if it were over");
    Ok(())
}

/// Fails unless the fence is signalled.
///
/// # Errors
/// Where it is not.
pub fn signalled(fence: &Fence) -> Result<()> {
    let status = fence.status()?;
    ensure!(status == FenceStatus::Signalled, "it is {status:?}");
    ensure!(fence.is_signalled()?, "it does not poll as over");
    Ok(())
}
