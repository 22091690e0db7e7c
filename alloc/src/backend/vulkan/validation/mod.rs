//! The messages of Khronos' validation layer about this crate's calls, for tests: every message is a defect of this crate.

mod sys;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;

use super::sync::{Commands, Submission, submit};
use super::{Gpu, VulkanError};
pub(super) use sys::{DebugMessenger, LAYER, ValidationSettings};

/// The limit for the work of [`Gpu::submit_write_hazard`].
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// The messages of the validation layer for one [`Vulkan`](super::Vulkan) that was loaded with it. Clones share one list, which
/// outlives the instance, because the layer reports objects that were not destroyed when the instance is destroyed.
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
        let (raw, hazard) = sys::recorded_hazard(self.device())
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
