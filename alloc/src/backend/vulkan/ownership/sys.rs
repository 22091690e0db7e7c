//! Recording of an ownership transfer in an application's command buffer.
#![allow(
    unsafe_code,
    reason = "the state of an application's command buffer cannot be checked"
)]

use ash::vk;

use super::OwnershipTransfer;
use crate::backend::vulkan::Gpu;

impl OwnershipTransfer {
    /// Records the barriers with vkCmdPipelineBarrier, which every device supports.
    ///
    /// # Safety
    /// - The command buffer is in the recording state, outside of a render pass, is of the device of `gpu` and of the image, and
    ///   was allocated for [`Gpu::queue_family`].
    /// - The image lives until the commands have finished, and has the old layout of the barriers when they begin.
    /// - The queue family supports the stages.
    ///
    /// # References
    /// VUID-vkCmdPipelineBarrier-srcStageMask-06461 and -dstStageMask-06462; VUID-VkImageMemoryBarrier-oldLayout-01197.
    pub unsafe fn record(&self, gpu: &Gpu, commands: vk::CommandBuffer) {
        // SAFETY: the caller guarantees the conditions that are documented above; the barriers are complete.
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
