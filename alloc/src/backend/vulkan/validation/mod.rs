//! What Khronos' validation layer says of this crate's calls, for checks: whatever it objects to is a defect here.

mod sys;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ash::vk;

use super::sync::{Commands, Submission, submit};
use super::{Gpu, VulkanError};
pub(super) use sys::{LAYER, Listening, Switches};

/// How long the planted work may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// What the layer has objected to, of one [`Vulkan`](super::Vulkan) that was loaded with it. Clones are one list, which outlives
/// the loader: what was never given back is told when that goes.
#[derive(Clone, Default)]
pub struct Complaints {
    list: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for Complaints {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Complaints").finish_non_exhaustive()
    }
}

impl Complaints {
    /// Takes what was said since the last time, a message each.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gpu {
    /// Makes the device write the same memory twice with nothing between: harmless, and what the layer's checks of
    /// synchronisation have to find. A check that finds nothing can thus be told from a layer that looks at nothing.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    pub fn plant_hazard(&self) -> Result<(), VulkanError> {
        let (raw, planted) = sys::planted(self.device())
            .map_err(self.failed("recording two writes without a barrier"))?;
        let commands = Commands {
            raw,
            uses: Box::new(planted),
        };
        let submitted = submit(self, Submission::default(), Some(commands))?;
        if submitted.wait(PATIENCE)? {
            Ok(())
        } else {
            Err(self.failed("vkWaitForFences of two writes")(
                vk::Result::TIMEOUT,
            ))
        }
    }
}
