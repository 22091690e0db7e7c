//! Records commands that draw and copy between ownership transfers. The engine submits them to its own queue.
#![allow(
    unsafe_code,
    reason = "an engine calls Vulkan functions through pointers that are loaded at run time"
)]

use std::sync::{Arc, PoisonError};

use covalent_alloc::backend::vulkan::ash::vk;
use covalent_alloc::backend::vulkan::{Gpu, Image, OwnershipTransfer, Semaphore, VulkanError};
use covalent_alloc::sync::Fence;

use super::super::{Engine, engine_error, failed};

/// The timeout of submitted work in nanoseconds. It is long, because CPU and device may be emulated.
const NANOSECONDS: u64 = 60_000_000_000;

const WHOLE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// The objects that are destroyed when the work has ended.
#[derive(Default)]
struct RecordingObjects {
    pool: vk::CommandPool,
    pass: vk::RenderPass,
    view: vk::ImageView,
    framebuffer: vk::Framebuffer,
    fence: vk::Fence,
}

/// A command buffer that is being recorded.
pub(crate) struct Recording {
    pub(crate) engine: Arc<Engine>,
    pub(crate) raw: vk::CommandBuffer,
    objects: RecordingObjects,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let device = &self.engine.device;
        // SAFETY: all objects are of this device or null. The work that uses them has ended, since `SubmittedWork` waits for it.
        unsafe {
            device.destroy_fence(self.objects.fence, None);
            device.destroy_framebuffer(self.objects.framebuffer, None);
            device.destroy_image_view(self.objects.view, None);
            device.destroy_render_pass(self.objects.pass, None);
            device.destroy_command_pool(self.objects.pool, None);
        }
    }
}

/// Work that was submitted to the engine's queue.
pub(crate) struct SubmittedWork {
    recording: Recording,
}

impl SubmittedWork {
    /// Waits until the work has ended.
    pub(crate) fn wait(self) -> Result<(), VulkanError> {
        self.idle()
    }

    fn idle(&self) -> Result<(), VulkanError> {
        let device = &self.recording.engine.device;
        // SAFETY: the fence is of this device.
        unsafe { device.wait_for_fences(&[self.recording.objects.fence], true, NANOSECONDS) }
            .map_err(failed("vkWaitForFences"))
    }
}

impl Drop for SubmittedWork {
    fn drop(&mut self) {
        // The error is ignored: if the work has not ended, the validation layer reports that when its objects are destroyed.
        let _ = self.idle();
    }
}

impl Recording {
    pub(crate) fn begin(engine: &Arc<Engine>) -> Result<Self, VulkanError> {
        let device = &engine.device;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(engine.family);
        let mut recording = Self {
            engine: Arc::clone(engine),
            raw: vk::CommandBuffer::null(),
            objects: RecordingObjects::default(),
        };
        // SAFETY: the structure is complete and the family is the device's.
        recording.objects.pool = unsafe { device.create_command_pool(&info, None) }
            .map_err(failed("vkCreateCommandPool"))?;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(recording.objects.pool)
            .command_buffer_count(1);
        // SAFETY: the pool is of this device.
        let buffers = unsafe { device.allocate_command_buffers(&info) }
            .map_err(failed("vkAllocateCommandBuffers"))?;
        recording.raw = *buffers
            .first()
            .ok_or_else(|| engine_error("no command buffer"))?;
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: the command buffer is new.
        unsafe { device.begin_command_buffer(recording.raw, &info) }
            .map_err(failed("vkBeginCommandBuffer"))?;
        Ok(recording)
    }

    /// Records one ownership transfer.
    pub(crate) fn transfer(&self, gpu: &Gpu, transfer: &OwnershipTransfer) {
        // SAFETY: the command buffer is being recorded and is of the device's queue family. The image outlives the work.
        unsafe { transfer.record(gpu, self.raw) };
    }

    /// Records several ownership transfers in one barrier, as an engine that batches its barriers.
    pub(crate) fn transfers(&self, transfers: &[&OwnershipTransfer]) {
        let barriers: Vec<_> = transfers
            .iter()
            .flat_map(|one| one.barriers().iter().copied())
            .collect();
        let join = |stages: fn(&OwnershipTransfer) -> vk::PipelineStageFlags| {
            transfers
                .iter()
                .fold(vk::PipelineStageFlags::empty(), |all, one| {
                    all | stages(one)
                })
        };
        // SAFETY: the command buffer is being recorded. The images outlive the work.
        unsafe {
            self.engine.device.cmd_pipeline_barrier(
                self.raw,
                join(OwnershipTransfer::src_stages),
                join(OwnershipTransfer::dst_stages),
                vk::DependencyFlags::empty(),
                &[],
                &[],
                &barriers,
            );
        }
    }

    /// Fills the image with one colour, in a render pass that begins and ends in the layout COLOR_ATTACHMENT_OPTIMAL.
    pub(crate) fn fill(&mut self, image: &Image, colour: [f32; 4]) -> Result<(), VulkanError> {
        let device = &self.engine.device;
        let optimal = vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL;
        let attachments = [vk::AttachmentDescription::default()
            .format(image.format())
            .samples(vk::SampleCountFlags::TYPE_1)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .initial_layout(optimal)
            .final_layout(optimal)];
        let references = [vk::AttachmentReference::default().layout(optimal)];
        let subpasses = [vk::SubpassDescription::default().color_attachments(&references)];
        let info = vk::RenderPassCreateInfo::default()
            .attachments(&attachments)
            .subpasses(&subpasses);
        // SAFETY: the structures are complete and outlive the call.
        self.objects.pass = unsafe { device.create_render_pass(&info, None) }
            .map_err(failed("vkCreateRenderPass"))?;
        let info = vk::ImageViewCreateInfo::default()
            .image(image.handle())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(image.format())
            .subresource_range(WHOLE);
        // SAFETY: the image is of this device and is a render target.
        self.objects.view = unsafe { device.create_image_view(&info, None) }
            .map_err(failed("vkCreateImageView"))?;
        let extent = image.buffer().layout().extent();
        let views = [self.objects.view];
        let info = vk::FramebufferCreateInfo::default()
            .render_pass(self.objects.pass)
            .attachments(&views)
            .width(extent.width())
            .height(extent.height())
            .layers(1);
        // SAFETY: pass and view are of this device.
        self.objects.framebuffer = unsafe { device.create_framebuffer(&info, None) }
            .map_err(failed("vkCreateFramebuffer"))?;
        let clear = [vk::ClearValue {
            color: vk::ClearColorValue { float32: colour },
        }];
        let info = vk::RenderPassBeginInfo::default()
            .render_pass(self.objects.pass)
            .framebuffer(self.objects.framebuffer)
            .render_area(vk::Rect2D {
                offset: vk::Offset2D::default(),
                extent: vk::Extent2D {
                    width: extent.width(),
                    height: extent.height(),
                },
            })
            .clear_values(&clear);
        // SAFETY: the command buffer is being recorded. The objects that it uses are destroyed after the work has ended.
        unsafe {
            device.cmd_begin_render_pass(self.raw, &info, vk::SubpassContents::INLINE);
            device.cmd_end_render_pass(self.raw);
        }
        Ok(())
    }

    /// Copies all pixels of one image to another one of the same format and size.
    pub(crate) fn copy(&self, from: &Image, to: &Image) {
        let layout = from.buffer().layout();
        let shapes = layout
            .format()
            .fourcc
            .info()
            .map_or(&[][..], |info| info.planes);
        let aspects = [
            vk::ImageAspectFlags::PLANE_0,
            vk::ImageAspectFlags::PLANE_1,
            vk::ImageAspectFlags::PLANE_2,
        ];
        let extent = layout.extent();
        let regions: Vec<_> = shapes
            .iter()
            .zip(aspects)
            .map(|(shape, aspect)| {
                let several = shapes.len() > 1;
                let layers = vk::ImageSubresourceLayers::default()
                    .aspect_mask(if several {
                        aspect
                    } else {
                        vk::ImageAspectFlags::COLOR
                    })
                    .layer_count(1);
                // Packed 4:2:2 has one plane, whose size is counted in pixels.
                let step = if several { shape.hsub } else { 1 };
                vk::ImageCopy::default()
                    .src_subresource(layers)
                    .dst_subresource(layers)
                    .extent(vk::Extent3D {
                        width: extent.width().div_ceil(step),
                        height: shape.rows(extent.height()),
                        depth: 1,
                    })
            })
            .collect();
        // SAFETY: the command buffer is being recorded. The images are in these layouts and outlive the work.
        unsafe {
            self.engine.device.cmd_copy_image(
                self.raw,
                from.handle(),
                vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
                to.handle(),
                vk::ImageLayout::TRANSFER_DST_OPTIMAL,
                &regions,
            );
        }
    }

    /// Ends the command buffer and submits it to the engine's queue, under the queue's lock. Each semaphore comes with a timeline
    /// value, which is ignored for a binary semaphore.
    pub(crate) fn submit(
        mut self,
        waits: &[(vk::Semaphore, u64)],
        signals: &[(vk::Semaphore, u64)],
    ) -> Result<SubmittedWork, VulkanError> {
        let device = &self.engine.device;
        // SAFETY: the command buffer is being recorded.
        unsafe { device.end_command_buffer(self.raw) }.map_err(failed("vkEndCommandBuffer"))?;
        // SAFETY: the structure is complete.
        self.objects.fence = unsafe { device.create_fence(&vk::FenceCreateInfo::default(), None) }
            .map_err(failed("vkCreateFence"))?;
        let commands = [self.raw];
        let (wait, wait_values): (Vec<_>, Vec<_>) = waits.iter().copied().unzip();
        let (signal, signal_values): (Vec<_>, Vec<_>) = signals.iter().copied().unzip();
        let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; wait.len()];
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let mut info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .wait_semaphores(&wait)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&signal);
        if waits.iter().chain(signals).any(|(_, value)| *value > 0) {
            info = info.push_next(&mut values);
        }
        let queue = self
            .engine
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the queue is used under its lock. The submitted objects are complete and outlive the work.
        unsafe { device.queue_submit(*queue, &[info], self.objects.fence) }
            .map_err(failed("vkQueueSubmit"))?;
        drop(queue);
        Ok(SubmittedWork { recording: self })
    }
}

/// Exports the fence of submitted work from a semaphore that the work signals; `None` if the work has ended.
pub(crate) fn exported(semaphore: &mut Semaphore) -> Result<Option<Fence>, VulkanError> {
    // SAFETY: the engine has just submitted work that signals the semaphore, and no other work waits for it.
    unsafe { semaphore.assume_signal_submitted() };
    semaphore.export()
}
