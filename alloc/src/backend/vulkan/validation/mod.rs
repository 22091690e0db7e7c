//! The messages of the Khronos validation layer about this crate's Vulkan calls, for tests. Every message shows a defect of this
//! crate.

mod sys;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;

use super::sync::{Commands, Submission, submit};
use super::{Gpu, VulkanError};
pub(super) use sys::{DebugMessenger, LAYER, ValidationSettings};

/// The timeout for the work of [`Gpu::submit_write_hazard`].
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The messages of the validation layer for one [`Vulkan`](super::Vulkan). Clones share one list, which outlives the instance,
/// because the layer reports objects that were not destroyed only when the instance is destroyed.
#[derive(Clone, Default)]
pub struct ValidationMessages {
    list: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for ValidationMessages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ValidationMessages")
            .finish_non_exhaustive()
    }
}

impl ValidationMessages {
    /// Returns the messages since the last call, and removes them from the list.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gpu {
    /// Submits two writes of one buffer without a barrier between them. They are harmless, and synchronization validation must
    /// report a write-after-write hazard. A test that finds no messages calls this to check that the layer is active.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn submit_write_hazard(&self) -> Result<(), VulkanError> {
        let (raw, hazard) = sys::record_hazard(self.device())
            .map_err(self.failed("recording two writes without a barrier"))?;
        let commands = Commands {
            raw,
            uses: Box::new(hazard),
        };
        let submitted = submit(self, Submission::default(), Some(commands))?;
        if submitted.wait(TIMEOUT)? {
            Ok(())
        } else {
            Err(self.failed("vkWaitForFences (two writes)")(
                vk::Result::TIMEOUT,
            ))
        }
    }
}
