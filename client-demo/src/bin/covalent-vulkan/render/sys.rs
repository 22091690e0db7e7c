//! The objects of Vulkan that draw, and the commands.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::vulkan::{Gpu, Image, Submission, Submitted, VulkanError};

use super::frame::Frame;
use super::look::Sampling;

/// `shaders.wgsl`, compiled by the build script.
const SHADERS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shaders.spv"));

/// Corners of the cube's triangles.
const CUBE: u32 = 36;
/// Corners of the triangle that covers everything.
const EVERYTHING: u32 = 3;
/// Descriptors that one picture can need: one for each of its planes.
const DESCRIPTORS: u32 = 3;

/// The whole of a picture.
const WHOLE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// What is the same for pictures of every format that is drawn to: how the camera's are sampled, and what shaders are told.
pub(super) struct Look {
    gpu: Gpu,
    conversion: vk::SamplerYcbcrConversion,
    sampler: vk::Sampler,
    set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
}

impl fmt::Debug for Look {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Look").finish_non_exhaustive()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let raw = self.gpu.handle();
        // SAFETY: all are of this device or null; what was made of them, and work with it, holds an Arc of this and is gone.
        unsafe {
            raw.destroy_pipeline_layout(self.layout, None);
            raw.destroy_descriptor_set_layout(self.set_layout, None);
            raw.destroy_sampler(self.sampler, None);
            raw.destroy_sampler_ycbcr_conversion(self.conversion, None);
        }
    }
}

impl Look {
    pub(super) fn new(gpu: &Gpu, sampling: Option<&Sampling>) -> Result<Self, VulkanError> {
        // From here on a drop gives back what was made.
        let mut look = Self {
            gpu: gpu.clone(),
            conversion: vk::SamplerYcbcrConversion::null(),
            sampler: vk::Sampler::null(),
            set_layout: vk::DescriptorSetLayout::null(),
            layout: vk::PipelineLayout::null(),
        };
        if let Some(sampling) = sampling {
            look.sample(sampling)?;
        }
        let sets = [look.set_layout];
        let told = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT)
            .size(u32::try_from(Frame::BYTES).unwrap_or(u32::MAX))];
        let mut info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&told);
        if sampling.is_some() {
            info = info.set_layouts(&sets);
        }
        // SAFETY: the structures are complete and outlive the call; every device takes 128 bytes of push constants.
        look.layout = unsafe { gpu.handle().create_pipeline_layout(&info, None) }
            .map_err(|answer| gpu.answered("vkCreatePipelineLayout", answer))?;
        Ok(look)
    }

    fn sample(&mut self, sampling: &Sampling) -> Result<(), VulkanError> {
        let gpu = &self.gpu;
        let raw = gpu.handle();
        let mut converted = vk::SamplerYcbcrConversionInfo::default();
        let mut info = vk::SamplerCreateInfo::default()
            .mag_filter(sampling.filter)
            .min_filter(sampling.filter)
            .mipmap_mode(vk::SamplerMipmapMode::NEAREST)
            .address_mode_u(vk::SamplerAddressMode::CLAMP_TO_EDGE)
            .address_mode_v(vk::SamplerAddressMode::CLAMP_TO_EDGE)
            .address_mode_w(vk::SamplerAddressMode::CLAMP_TO_EDGE);
        if let Some(conversion) = sampling.conversion {
            let mut components = vk::ComponentMapping::default();
            if conversion.is_swapped {
                components.r = vk::ComponentSwizzle::B;
                components.b = vk::ComponentSwizzle::R;
            }
            let [horizontal, vertical] = conversion.chroma;
            let wanted = vk::SamplerYcbcrConversionCreateInfo::default()
                .format(conversion.format)
                .ycbcr_model(conversion.model)
                .ycbcr_range(conversion.range)
                .components(components)
                .x_chroma_offset(horizontal)
                .y_chroma_offset(vertical)
                .chroma_filter(sampling.filter);
            // SAFETY: the structure is complete; format, places and filter are what the device says that it has, and it has the
            // feature, which is switched on where it is there.
            self.conversion = unsafe { raw.create_sampler_ycbcr_conversion(&wanted, None) }
                .map_err(|answer| gpu.answered("vkCreateSamplerYcbcrConversion", answer))?;
            converted = converted.conversion(self.conversion);
            info = info.push_next(&mut converted);
        }
        // SAFETY: the chain is complete and outlives the call.
        self.sampler = unsafe { raw.create_sampler(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateSampler", answer))?;
        let samplers = [self.sampler];
        // A sampler that converts has to be part of the layout.
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::FRAGMENT)
            .immutable_samplers(&samplers)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the structures are complete and outlive the call; the sampler lives as long as the layout.
        self.set_layout = unsafe { raw.create_descriptor_set_layout(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateDescriptorSetLayout", answer))?;
        Ok(())
    }

    fn is_sampling(&self) -> bool {
        self.sampler != vk::Sampler::null()
    }
}

/// What draws to pictures of one format.
pub(super) struct Pipes {
    look: Arc<Look>,
    format: vk::Format,
    pass: vk::RenderPass,
    /// In the order in which they draw, each with the corners that it is given.
    pipelines: Vec<(vk::Pipeline, u32)>,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pipes").finish_non_exhaustive()
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let raw = self.look.gpu.handle();
        // SAFETY: as for `Look`.
        unsafe {
            for (pipeline, _) in &self.pipelines {
                raw.destroy_pipeline(*pipeline, None);
            }
            raw.destroy_render_pass(self.pass, None);
        }
    }
}

impl Pipes {
    pub(super) fn new(look: Arc<Look>, format: vk::Format) -> Result<Self, VulkanError> {
        let pass = pass(&look.gpu, format)?;
        // From here on a drop gives back what was made.
        let mut pipes = Self {
            look,
            format,
            pass,
            pipelines: Vec::new(),
        };
        let gpu = pipes.look.gpu.clone();
        let words = ash::util::read_spv(&mut Cursor::new(SHADERS))
            .map_err(|_| gpu.answered("reading the shaders", vk::Result::ERROR_UNKNOWN))?;
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: the words are a module that naga has validated.
        let module = unsafe { gpu.handle().create_shader_module(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateShaderModule", answer))?;
        let wanted: &[_] = if pipes.look.is_sampling() {
            &[(c"everything", c"camera", EVERYTHING)]
        } else {
            &[
                (c"everything", c"rings", EVERYTHING),
                (c"cube", c"face", CUBE),
            ]
        };
        let made = wanted.iter().try_for_each(|(vertex, fragment, corners)| {
            let pipeline = pipes.pipeline(module, vertex, fragment)?;
            pipes.pipelines.push((pipeline, *corners));
            Ok(())
        });
        // SAFETY: pipelines do not need their module once they are made.
        unsafe { gpu.handle().destroy_shader_module(module, None) };
        made.map(|()| pipes)
    }

    pub(super) fn format(&self) -> vk::Format {
        self.format
    }

    fn pipeline(
        &self,
        module: vk::ShaderModule,
        vertex: &std::ffi::CStr,
        fragment: &std::ffi::CStr,
    ) -> Result<vk::Pipeline, VulkanError> {
        let stage = |stage, name| {
            vk::PipelineShaderStageCreateInfo::default()
                .stage(stage)
                .module(module)
                .name(name)
        };
        let stages = [
            stage(vk::ShaderStageFlags::VERTEX, vertex),
            stage(vk::ShaderStageFlags::FRAGMENT, fragment),
        ];
        let input = vk::PipelineVertexInputStateCreateInfo::default();
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
            .topology(vk::PrimitiveTopology::TRIANGLE_LIST);
        let viewport = vk::PipelineViewportStateCreateInfo::default()
            .viewport_count(1)
            .scissor_count(1);
        let raster = vk::PipelineRasterizationStateCreateInfo::default()
            .polygon_mode(vk::PolygonMode::FILL)
            .cull_mode(vk::CullModeFlags::NONE)
            .line_width(1.0);
        let samples = vk::PipelineMultisampleStateCreateInfo::default()
            .rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let written = [vk::PipelineColorBlendAttachmentState::default()
            .color_write_mask(vk::ColorComponentFlags::RGBA)];
        let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&written);
        let states = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&states);
        let info = vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&input)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&raster)
            .multisample_state(&samples)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(self.look.layout)
            .render_pass(self.pass);
        let gpu = &self.look.gpu;
        // SAFETY: the structures are complete and outlive the call; layout, pass and module are of this device, and the shaders
        // use what the layout has.
        let made = unsafe {
            gpu.handle()
                .create_graphics_pipelines(vk::PipelineCache::null(), &[info], None)
        };
        made.map_err(|(_, answer)| answer)
            .and_then(|made| made.first().copied().ok_or(vk::Result::ERROR_UNKNOWN))
            .map_err(|answer| gpu.answered("vkCreateGraphicsPipelines", answer))
    }
}

/// A pass over one picture, every pixel of which is drawn.
fn pass(gpu: &Gpu, format: vk::Format) -> Result<vk::RenderPass, VulkanError> {
    // GENERAL all through, as others find the picture and leave it.
    let attachments = [vk::AttachmentDescription::default()
        .format(format)
        .samples(vk::SampleCountFlags::TYPE_1)
        .load_op(vk::AttachmentLoadOp::DONT_CARE)
        .store_op(vk::AttachmentStoreOp::STORE)
        .stencil_load_op(vk::AttachmentLoadOp::DONT_CARE)
        .stencil_store_op(vk::AttachmentStoreOp::DONT_CARE)
        .initial_layout(vk::ImageLayout::GENERAL)
        .final_layout(vk::ImageLayout::GENERAL)];
    let drawn = [vk::AttachmentReference::default().layout(vk::ImageLayout::GENERAL)];
    let subpasses = [vk::SubpassDescription::default()
        .pipeline_bind_point(vk::PipelineBindPoint::GRAPHICS)
        .color_attachments(&drawn)];
    let info = vk::RenderPassCreateInfo::default()
        .attachments(&attachments)
        .subpasses(&subpasses);
    // SAFETY: the structures are complete and outlive the call.
    unsafe { gpu.handle().create_render_pass(&info, None) }
        .map_err(|answer| gpu.answered("vkCreateRenderPass", answer))
}

/// A picture that is drawn to.
pub(super) struct Target {
    pipes: Arc<Pipes>,
    image: Image,
    view: vk::ImageView,
    framebuffer: vk::Framebuffer,
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Target").field(&self.image).finish()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let raw = self.image.gpu().handle();
        // SAFETY: both are of this device or null; work with them holds an Arc of this and is over.
        unsafe {
            raw.destroy_framebuffer(self.framebuffer, None);
            raw.destroy_image_view(self.view, None);
        }
    }
}

impl Target {
    pub(super) fn new(pipes: Arc<Pipes>, image: Image) -> Result<Self, VulkanError> {
        // From here on a drop gives back what was made.
        let mut target = Self {
            pipes,
            image,
            view: vk::ImageView::null(),
            framebuffer: vk::Framebuffer::null(),
        };
        let gpu = target.image.gpu().clone();
        let info = vk::ImageViewCreateInfo::default()
            .image(target.image.handle())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(target.image.format())
            .subresource_range(WHOLE);
        // SAFETY: the image is of this device, has this format, and lives as long as the view.
        target.view = unsafe { gpu.handle().create_image_view(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateImageView", answer))?;
        let (width, height) = target.size();
        let views = [target.view];
        let info = vk::FramebufferCreateInfo::default()
            .render_pass(target.pipes.pass)
            .attachments(&views)
            .width(width)
            .height(height)
            .layers(1);
        // SAFETY: pass and view are of this device, and the view is of the pass's format and of this size.
        target.framebuffer = unsafe { gpu.handle().create_framebuffer(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateFramebuffer", answer))?;
        Ok(target)
    }

    fn size(&self) -> (u32, u32) {
        let extent = self.image.buffer().layout().extent();
        (extent.width(), extent.height())
    }
}

/// A picture that is sampled.
pub(super) struct Texture {
    look: Arc<Look>,
    image: Image,
    view: vk::ImageView,
    pool: vk::DescriptorPool,
    set: vk::DescriptorSet,
}

impl fmt::Debug for Texture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Texture").field(&self.image).finish()
    }
}

impl Drop for Texture {
    fn drop(&mut self) {
        let raw = self.look.gpu.handle();
        // SAFETY: as for `Target`; the set goes with its pool.
        unsafe {
            raw.destroy_descriptor_pool(self.pool, None);
            raw.destroy_image_view(self.view, None);
        }
    }
}

impl Texture {
    pub(super) fn new(look: Arc<Look>, image: Image) -> Result<Self, VulkanError> {
        // From here on a drop gives back what was made.
        let mut texture = Self {
            look,
            image,
            view: vk::ImageView::null(),
            pool: vk::DescriptorPool::null(),
            set: vk::DescriptorSet::null(),
        };
        let look = Arc::clone(&texture.look);
        let (gpu, raw) = (&look.gpu, look.gpu.handle());
        let mut converted = vk::SamplerYcbcrConversionInfo::default().conversion(look.conversion);
        let mut info = vk::ImageViewCreateInfo::default()
            .image(texture.image.handle())
            .view_type(vk::ImageViewType::TYPE_2D)
            .format(texture.image.format())
            .subresource_range(WHOLE);
        if look.conversion != vk::SamplerYcbcrConversion::null() {
            info = info.push_next(&mut converted);
        }
        // SAFETY: the chain is complete and outlives the call; the image is of this device and lives as long as the view; the
        // conversion is for its format.
        texture.view = unsafe { raw.create_image_view(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateImageView", answer))?;
        let sizes = [vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(DESCRIPTORS)];
        let info = vk::DescriptorPoolCreateInfo::default()
            .max_sets(1)
            .pool_sizes(&sizes);
        // SAFETY: the structures are complete and outlive the call.
        texture.pool = unsafe { raw.create_descriptor_pool(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateDescriptorPool", answer))?;
        let layouts = [look.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(texture.pool)
            .set_layouts(&layouts);
        // SAFETY: pool and layout are of this device, and the pool is new and used by nobody else.
        let sets = unsafe { raw.allocate_descriptor_sets(&info) }
            .map_err(|answer| gpu.answered("vkAllocateDescriptorSets", answer))?;
        texture.set = sets.first().copied().unwrap_or_default();
        let images = [vk::DescriptorImageInfo::default()
            .image_view(texture.view)
            .image_layout(vk::ImageLayout::GENERAL)];
        let writes = [vk::WriteDescriptorSet::default()
            .dst_set(texture.set)
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .image_info(&images)];
        // SAFETY: the set has one descriptor of this type, with a sampler of its layout's own, and no work uses it yet.
        unsafe { raw.update_descriptor_sets(&writes, &[]) };
        Ok(texture)
    }
}

/// The memory of one frame's commands.
struct Pool {
    gpu: Gpu,
    raw: vk::CommandPool,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: it is of this device, and work with its commands is over.
        unsafe { self.gpu.handle().destroy_command_pool(self.raw, None) };
    }
}

/// What commands use, in the order in which it may go.
struct Uses {
    pool: Pool,
    target: Arc<Target>,
    texture: Option<Arc<Texture>>,
}

/// Commands that draw a frame and that nobody was given yet.
pub(crate) struct Recorded {
    commands: vk::CommandBuffer,
    uses: Uses,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Recorded")
            .field(&self.uses.target)
            .finish()
    }
}

impl Recorded {
    pub(super) fn new(
        target: Arc<Target>,
        frame: &Frame,
        texture: Option<Arc<Texture>>,
    ) -> Result<Self, VulkanError> {
        let gpu = target.image.gpu().clone();
        if target.pipes.look.is_sampling() != texture.is_some() {
            return Err(VulkanError::Lacks {
                device: gpu.name().to_owned(),
                lacks: "picture to sample, or a shader that does".to_owned(),
            });
        }
        let raw = gpu.handle();
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(gpu.queue_family());
        // SAFETY: the structure is complete and the family is the device's.
        let pool = unsafe { raw.create_command_pool(&info, None) }
            .map_err(|answer| gpu.answered("vkCreateCommandPool", answer))?;
        let pool = Pool {
            gpu: gpu.clone(),
            raw: pool,
        };
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool.raw)
            .level(vk::CommandBufferLevel::PRIMARY)
            .command_buffer_count(1);
        // SAFETY: the pool is of this device; its commands go with it.
        let commands = unsafe { raw.allocate_command_buffers(&info) }
            .and_then(|all| all.first().copied().ok_or(vk::Result::ERROR_UNKNOWN))
            .map_err(|answer| gpu.answered("vkAllocateCommandBuffers", answer))?;
        let uses = Uses {
            pool,
            target,
            texture,
        };
        // SAFETY: the commands are new; what they use is of this device and is kept beside them.
        unsafe { record(commands, &uses, frame) }
            .map_err(|answer| gpu.answered("vkEndCommandBuffer", answer))?;
        Ok(Self { commands, uses })
    }

    /// Gives the commands to the device.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub(crate) fn submit(self, submission: Submission) -> Result<Submitted, VulkanError> {
        let gpu = self.uses.pool.gpu.clone();
        // SAFETY: the commands are complete, of this device and its family, and given to it once; they take over and hand back
        // what they use, which goes with them.
        unsafe { gpu.submit_commands(submission, self.commands, Box::new(self.uses)) }
    }
}

/// Records a frame between two hand-overs.
///
/// # Safety
/// The commands are not begun, and of the device of what they use, which lives until they are over.
unsafe fn record(
    commands: vk::CommandBuffer,
    uses: &Uses,
    frame: &Frame,
) -> Result<(), vk::Result> {
    let Uses {
        pool,
        target,
        texture,
    } = uses;
    let (gpu, raw) = (&pool.gpu, pool.gpu.handle());
    let (look, pipes) = (&target.pipes.look, &target.pipes);
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    let (width, height) = target.size();
    let area = vk::Rect2D {
        offset: vk::Offset2D::default(),
        extent: vk::Extent2D { width, height },
    };
    let viewport = vk::Viewport {
        width: side(width),
        height: side(height),
        max_depth: 1.0,
        ..vk::Viewport::default()
    };
    let pass = vk::RenderPassBeginInfo::default()
        .render_pass(pipes.pass)
        .framebuffer(target.framebuffer)
        .render_area(area);
    // GENERAL on both sides keeps the pixels; a layout of UNDEFINED would let the driver drop them.
    let barrier = |image: &Image| {
        vk::ImageMemoryBarrier::default()
            .old_layout(vk::ImageLayout::GENERAL)
            .new_layout(vk::ImageLayout::GENERAL)
            .image(image.handle())
            .subresource_range(WHOLE)
    };
    let (outside, inside) = (gpu.outside_family(), gpu.queue_family());
    let used = std::iter::once((&target.image, vk::AccessFlags::COLOR_ATTACHMENT_WRITE)).chain(
        texture
            .iter()
            .map(|texture| (&texture.image, vk::AccessFlags::SHADER_READ)),
    );
    let (mut acquire, mut release) = (Vec::new(), Vec::new());
    for (image, access) in used {
        acquire.push(
            barrier(image)
                .dst_access_mask(access)
                .src_queue_family_index(outside)
                .dst_queue_family_index(inside),
        );
        release.push(
            barrier(image)
                .src_access_mask(access)
                .src_queue_family_index(inside)
                .dst_queue_family_index(outside),
        );
    }
    let drawing =
        vk::PipelineStageFlags::FRAGMENT_SHADER | vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT;
    // All stages, as semaphores are waited for in: with the top of the pipe alone the barrier would not come after them.
    let before = vk::PipelineStageFlags::ALL_COMMANDS;
    let bottom = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
    let none = vk::DependencyFlags::empty();
    let stages = vk::ShaderStageFlags::VERTEX | vk::ShaderStageFlags::FRAGMENT;
    let graphics = vk::PipelineBindPoint::GRAPHICS;
    let bytes = frame.bytes();
    let sets: Vec<vk::DescriptorSet> = texture.iter().map(|texture| texture.set).collect();
    // SAFETY: by the caller; pipelines, pass and sets are of one layout, and dynamic state is set before it is used.
    unsafe {
        raw.begin_command_buffer(commands, &begin)?;
        raw.cmd_pipeline_barrier(commands, before, drawing, none, &[], &[], &acquire);
        raw.cmd_begin_render_pass(commands, &pass, vk::SubpassContents::INLINE);
        raw.cmd_set_viewport(commands, 0, &[viewport]);
        raw.cmd_set_scissor(commands, 0, &[area]);
        raw.cmd_push_constants(commands, look.layout, stages, 0, &bytes);
        if !sets.is_empty() {
            raw.cmd_bind_descriptor_sets(commands, graphics, look.layout, 0, &sets, &[]);
        }
        for (pipeline, corners) in &pipes.pipelines {
            raw.cmd_bind_pipeline(commands, graphics, *pipeline);
            raw.cmd_draw(commands, *corners, 1, 0, 0);
        }
        raw.cmd_end_render_pass(commands);
        raw.cmd_pipeline_barrier(commands, drawing, bottom, none, &[], &[], &release);
        raw.end_command_buffer(commands)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "pictures are far less than 2^24 pixels wide"
)]
fn side(pixels: u32) -> f32 {
    pixels as f32
}
