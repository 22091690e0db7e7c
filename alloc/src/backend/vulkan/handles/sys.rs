//! Submission of commands that a program recorded.
#![allow(
    unsafe_code,
    reason = "the validity of commands that an application recorded cannot be checked"
)]

use std::any::Any;

use ash::vk;

use crate::backend::vulkan::sync::{Commands, submit};
use crate::backend::vulkan::{Gpu, Submission, Submitted, VulkanError};

impl Gpu {
    /// Submits a command buffer that the caller recorded. `uses` owns the objects that the commands use, and is dropped when the
    /// commands have finished.
    ///
    /// # Errors
    /// The errors of [`Gpu::submit`].
    ///
    /// # Safety
    /// The command buffer is of this device and its [`Gpu::queue_family`], executable, and not pending. The commands follow
    /// Vulkan's valid usage rules, and every object that they use lives as long as `uses`.
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
