//! The command buffer of a frame, and the resources that it uses.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;
use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::vulkan::{
    Contents, Gpu, ImageAccess, Submission, Submitted, VulkanError,
};

use crate::render::Frame;
use crate::render::images::{Target, Texture};

/// The access to the render target, a colour attachment. GENERAL is the layout in which other devices use the image.
const TARGET_ACCESS: ImageAccess = ImageAccess {
    layout: vk::ImageLayout::GENERAL,
    stages: vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT,
    access: vk::AccessFlags::COLOR_ATTACHMENT_WRITE,
};

/// The access to the texture, which the fragment shader samples. GENERAL is the layout in which other devices use the image.
const TEXTURE_ACCESS: ImageAccess = ImageAccess {
    layout: vk::ImageLayout::GENERAL,
    ..ImageAccess::SAMPLE
};

/// The command pool of one frame.
struct Pool {
    gpu: Gpu,
    raw: vk::CommandPool,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the pool was created by this device, and the device has completed its command buffers.
        unsafe { self.gpu.handle().destroy_command_pool(self.raw, None) };
    }
}

/// The objects that a command buffer uses. The fields are dropped in this order.
struct Resources {
    pool: Pool,
    target: Arc<Target>,
    texture: Option<Arc<Texture>>,
}

/// A recorded command buffer that was not submitted yet.
pub(crate) struct RecordedFrame {
    commands: vk::CommandBuffer,
    resources: Resources,
}

impl fmt::Debug for RecordedFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("RecordedFrame")
            .field(&self.resources.target)
            .finish()
    }
}

impl RecordedFrame {
    pub(in crate::render) fn new(
        target: Arc<Target>,
        frame: &Frame,
        texture: Option<Arc<Texture>>,
    ) -> Result<Self, VulkanError> {
        let gpu = target.image.gpu().clone();
        if target.pipelines.shared.is_sampling() != texture.is_some() {
            return Err(VulkanError::Lacks {
                device: gpu.name().to_owned(),
                lacks: "camera texture, or a pipeline that samples one".to_owned(),
            });
        }
        let raw = gpu.handle();
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(gpu.queue_family());
        // SAFETY: the structure is valid, and the queue family is one of the device.
        let pool = unsafe { raw.create_command_pool(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateCommandPool", error))?;
        let pool = Pool {
            gpu: gpu.clone(),
            raw: pool,
        };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool.raw)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool was created by this device, and the command buffer is freed with it.
        let commands = unsafe { raw.allocate_command_buffers(&info) }
            .and_then(|all| all.first().copied().ok_or(vk::Result::ERROR_UNKNOWN))
            .map_err(|error| gpu.call_error("vkAllocateCommandBuffers", error))?;
        let resources = Resources {
            pool,
            target,
            texture,
        };
        // SAFETY: the command buffer is new. Its resources are of this device, and `RecordedFrame` keeps them alive.
        unsafe { record(commands, &resources, frame) }?;
        Ok(Self {
            commands,
            resources,
        })
    }

    /// Submits the command buffer.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub(crate) fn submit(self, submission: Submission) -> Result<Submitted, VulkanError> {
        let gpu = self.resources.pool.gpu.clone();
        // SAFETY: the command buffer is recorded, is of this device and its queue family, and is submitted once. It acquires and
        // releases the ownership of its images, and the submission keeps its resources alive.
        unsafe { gpu.submit_commands(submission, self.commands, Box::new(self.resources)) }
    }
}

/// Records the command buffer of a frame: a barrier that acquires the images from the other devices, the draws, and a barrier
/// that releases the images.
///
/// # Safety
/// The command buffer is in the initial state and is of the same device as the resources. The resources live until the device has
/// completed the command buffer.
unsafe fn record(
    commands: vk::CommandBuffer,
    resources: &Resources,
    frame: &Frame,
) -> Result<(), VulkanError> {
    let Resources {
        pool,
        target,
        texture,
    } = resources;
    let (gpu, raw) = (&pool.gpu, pool.gpu.handle());
    let (shared, pipelines) = (&target.pipelines.shared, &target.pipelines);
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let visible = target.visible();
    let area = vk::Rect2D {
        offset: vk::Offset2D {
            x: i32::try_from(visible.x()).unwrap_or(0),
            y: i32::try_from(visible.y()).unwrap_or(0),
        },
        extent: vk::Extent2D {
            width: visible.width(),
            height: visible.height(),
        },
    };
    let viewport = vk::Viewport {
        x: side(visible.x()),
        y: side(visible.y()),
        width: side(visible.width()),
        height: side(visible.height()),
        max_depth: 1.0,
        ..vk::Viewport::default()
    };
    let pass = vk::RenderPassBeginInfo::default()
        .render_pass(pipelines.pass)
        .framebuffer(target.framebuffer)
        .render_area(area);
    let used = std::iter::once((&target.image, TARGET_ACCESS)).chain(
        texture
            .iter()
            .map(|texture| (&texture.image, TEXTURE_ACCESS)),
    );
    let (mut acquire, mut release) = (Vec::new(), Vec::new());
    for (image, access) in used {
        acquire.push(image.acquire(access, Contents::Keep)?);
        release.push(image.release(access)?);
    }
    let stages = vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT;
    let graphics = vk::PipelineBindPoint::GRAPHICS;
    let bytes = frame.bytes();
    let sets: Vec<vk::DescriptorSet> = texture.iter().map(|texture| texture.set).collect();
    let failed = |operation| move |error| gpu.call_error(operation, error);
    // SAFETY: the caller guarantees the command buffer and the resources. Pipelines, render pass and descriptor sets are
    // compatible, and the dynamic state is set before the draws.
    unsafe {
        raw.begin_command_buffer(commands, &begin)
            .map_err(failed("vkBeginCommandBuffer"))?;
        for transfer in &acquire {
            transfer.record(gpu, commands);
        }
        raw.cmd_begin_render_pass(commands, &pass, vk::SubpassContents::INLINE);
        raw.cmd_set_viewport(commands, 0, &[viewport]);
        raw.cmd_set_scissor(commands, 0, &[area]);
        raw.cmd_push_constants(commands, shared.pipeline_layout, stages, 0, &bytes);
        if !sets.is_empty() {
            raw.cmd_bind_descriptor_sets(commands, graphics, shared.pipeline_layout, 0, &sets, &[]);
        }
        for (pipeline, corners) in &pipelines.all {
            raw.cmd_bind_pipeline(commands, graphics, *pipeline);
            raw.cmd_draw(commands, *corners, 1, 0, 0);
        }
        raw.cmd_end_render_pass(commands);
        for transfer in &release {
            transfer.record(gpu, commands);
        }
        raw.end_command_buffer(commands)
            .map_err(failed("vkEndCommandBuffer"))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures are far less than 2^24 pixels wide"
)]
fn side(pixels: u32) -> f32 {
    pixels as f32
}
