//! Commands that somebody else recorded.
#![allow(
    unsafe_code,
    reason = "whether recorded commands keep the rules of Vulkan cannot be checked here"
)]

use std::any::Any;

use ash::vk;

use crate::backend::vulkan::sync::{Commands, submit};
use crate::backend::vulkan::{Gpu, Submission, Submitted, VulkanError};

impl Gpu {
    /// Gives the device commands that the caller recorded; `uses` is kept until they are over.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    ///
    /// # Safety
    /// The commands are of this device and its [`Gpu::queue_family`], complete, and not pending. They keep the rules of Vulkan, and
    /// whatever they use lives as long as `uses`.
    pub unsafe fn submit_commands(
        &self,
        submission: Submission,
        commands: vk::CommandBuffer,
        uses: Box<dyn Any + Send>,
    ) -> Result<Submitted, VulkanError> {
        let commands = Commands {
            raw: commands,
            uses,
        };
        submit(self, submission, Some(commands))
    }
}
