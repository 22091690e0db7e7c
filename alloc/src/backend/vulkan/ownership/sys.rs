//! A transfer of ownership in the application's commands.
#![allow(
    unsafe_code,
    reason = "whether a command buffer is being recorded cannot be checked here"
)]

use ash::vk;

use super::OwnershipTransfer;
use crate::backend::vulkan::Gpu;

impl OwnershipTransfer {
    /// Records the barriers with vkCmdPipelineBarrier, which every device has.
    ///
    /// # Safety
    /// - The command buffer is being recorded, outside of a render pass, and is of the device of `gpu`, which is that of the
    ///   image, and of its [`Gpu::queue_family`].
    /// - The image lives until the commands are over, and is in the old layout of the barriers when they begin.
    /// - The family of the queue supports the stages.
    ///
    /// # References
    /// VUID-vkCmdPipelineBarrier-srcStageMask-06461 and -dstStageMask-06462; VUID-VkImageMemoryBarrier-oldLayout-01197.
    pub unsafe fn record(&self, gpu: &Gpu, commands: vk::CommandBuffer) {
        // SAFETY: by the caller; the barriers are complete.
        unsafe {
            gpu.handle().cmd_pipeline_barrier(
                commands,
                self.src_stages(),
                self.dst_stages(),
                vk::DependencyFlags::empty(),
                &[],
                &[],
                self.barriers(),
            );
        }
    }
}
