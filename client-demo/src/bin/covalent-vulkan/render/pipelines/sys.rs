//! The graphics pipelines and their render pass.
#![allow(
    unsafe_code,
    reason = "every call of Vulkan goes through a table of functions that was loaded"
)]

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::vulkan::{Gpu, VulkanError};

use crate::render::layout::SharedLayout;

/// `shaders.wgsl`, compiled by the build script.
const SHADERS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shaders.spv"));

/// The number of vertices of the cube's triangles.
const CUBE: u32 = 36;
/// The number of vertices of the triangle that covers the target.
const FULLSCREEN: u32 = 3;

/// The pipelines for targets of one format.
pub(in crate::render) struct Pipelines {
    pub(in crate::render) shared: Arc<SharedLayout>,
    format: vk::Format,
    pub(in crate::render) pass: vk::RenderPass,
    /// The pipelines in drawing order, each with its number of vertices.
    pub(in crate::render) all: Vec<(vk::Pipeline, u32)>,
}

impl fmt::Debug for Pipelines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pipelines").finish_non_exhaustive()
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        let raw = self.shared.gpu.handle();
        // SAFETY: all objects are of this device or null. Pending work holds an Arc of this value, so no work uses them.
        unsafe {
            for (pipeline, _) in &self.all {
                raw.destroy_pipeline(*pipeline, None);
            }
            raw.destroy_render_pass(self.pass, None);
        }
    }
}

impl Pipelines {
    pub(in crate::render) fn new(
        shared: Arc<SharedLayout>,
        format: vk::Format,
    ) -> Result<Self, VulkanError> {
        let pass = pass(&shared.gpu, format)?;
        // From here on `Drop` destroys the objects that were created.
        let mut pipelines = Self {
            shared,
            format,
            pass,
            all: Vec::new(),
        };
        let gpu = pipelines.shared.gpu.clone();
        let words = ash::util::read_spv(&mut Cursor::new(SHADERS))
            .map_err(|_| gpu.call_error("reading the shaders", vk::Result::ERROR_UNKNOWN))?;
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: the words are a SPIR-V module that naga has validated.
        let module = unsafe { gpu.handle().create_shader_module(&info, None) }
            .map_err(|error| gpu.call_error("vkCreateShaderModule", error))?;
        let wanted: &[_] = if pipelines.shared.is_sampling() {
            &[(c"fullscreen", c"camera", FULLSCREEN)]
        } else {
            &[
                (c"fullscreen", c"rings", FULLSCREEN),
                (c"cube", c"face", CUBE),
            ]
        };
        let result = wanted.iter().try_for_each(|(vertex, fragment, corners)| {
            let pipeline = pipelines.pipeline(module, vertex, fragment)?;
            pipelines.all.push((pipeline, *corners));
            Ok(())
        });
        // SAFETY: the shader module may be destroyed after its pipelines are created.
        unsafe { gpu.handle().destroy_shader_module(module, None) };
        result.map(|()| pipelines)
    }

    pub(in crate::render) fn format(&self) -> vk::Format {
        self.format
    }

    /// Creates one pipeline from the vertex and fragment shaders of these names.
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
            .layout(self.shared.pipeline_layout)
            .render_pass(self.pass);
        let gpu = &self.shared.gpu;
        // SAFETY: the structures are valid and outlive the call; the layout, the render pass and the module are of this device,
        // and the layout has the resources that the shaders use.
        let created = unsafe {
            gpu.handle()
                .create_graphics_pipelines(vk::PipelineCache::null(), &[info], None)
        };
        created
            .map_err(|(_, error)| error)
            .and_then(|created| created.first().copied().ok_or(vk::Result::ERROR_UNKNOWN))
            .map_err(|error| gpu.call_error("vkCreateGraphicsPipelines", error))
    }
}

/// Creates a render pass with one colour attachment, of which every pixel is written.
fn pass(gpu: &Gpu, format: vk::Format) -> Result<vk::RenderPass, VulkanError> {
    // Other devices use the image in the layout GENERAL, so the render pass keeps that layout.
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
    // SAFETY: the structures are valid and outlive the call.
    unsafe { gpu.handle().create_render_pass(&info, None) }
        .map_err(|error| gpu.call_error("vkCreateRenderPass", error))
}
