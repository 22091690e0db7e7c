//! A compute pipeline with an immutable sampler that converts from Y'CbCr.
#![allow(
    unsafe_code,
    reason = "an engine calls Vulkan functions through pointers that are loaded at run time"
)]

use std::sync::Arc;

use covalent_alloc::backend::vulkan::ash::vk;
use covalent_alloc::backend::vulkan::{
    Contents, Gpu, Image, ImageAccess, VulkanError, YcbcrConversion,
};

use super::super::super::shader::SAMPLE;
use super::super::super::{Engine, engine_error, failed};
use super::super::Recording;

/// The access of a compute shader that samples.
const COMPUTE: ImageAccess = ImageAccess {
    layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
    stages: vk::PipelineStageFlags::COMPUTE_SHADER,
    access: vk::AccessFlags::SHADER_READ,
};

/// The Vulkan objects of the pipeline. A handle is null if the object was not created.
#[derive(Default)]
struct PipelineObjects {
    view: vk::ImageView,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    module: vk::ShaderModule,
    pipeline: vk::Pipeline,
    pool: vk::DescriptorPool,
}

struct Sampling {
    engine: Arc<Engine>,
    objects: PipelineObjects,
    // The conversion is kept, because the descriptor set layout contains its sampler.
    _conversion: YcbcrConversion,
}

impl Drop for Sampling {
    fn drop(&mut self) {
        let (device, objects) = (&self.engine.device, &self.objects);
        // SAFETY: all objects are of this device or null, and the work that uses them has ended.
        unsafe {
            device.destroy_descriptor_pool(objects.pool, None);
            device.destroy_pipeline(objects.pipeline, None);
            device.destroy_shader_module(objects.module, None);
            device.destroy_pipeline_layout(objects.layout, None);
            device.destroy_descriptor_set_layout(objects.set_layout, None);
            device.destroy_buffer(objects.buffer, None);
            device.free_memory(objects.memory, None);
            device.destroy_image_view(objects.view, None);
        }
    }
}

/// Samples a picture at the centres of a grid of columns and rows, and returns the colours row by row.
pub(crate) fn sampled(
    engine: &Arc<Engine>,
    gpu: &Gpu,
    image: &Image,
    conversion: &YcbcrConversion,
    (columns, rows): (u32, u32),
) -> Result<Vec<[f32; 4]>, VulkanError> {
    let device = &engine.device;
    // If a later call fails, the drop of this value destroys the objects that were created before.
    let mut sampling = Sampling {
        engine: Arc::clone(engine),
        objects: PipelineObjects::default(),
        _conversion: conversion.clone(),
    };
    let objects = &mut sampling.objects;
    objects.view = conversion.view(image)?;
    let count = columns.saturating_mul(rows);
    let size_bytes = u64::from(count).saturating_mul(16);
    (objects.buffer, objects.memory) = storage(engine, size_bytes)?;
    let set = pipeline(engine, objects, conversion.sampler())?;
    let pictures = [vk::DescriptorImageInfo::default()
        .image_view(objects.view)
        .image_layout(COMPUTE.layout)];
    let colours = [vk::DescriptorBufferInfo::default()
        .buffer(objects.buffer)
        .range(vk::WHOLE_SIZE)];
    let writes = [
        vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(0)
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .image_info(&pictures),
        vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(1)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .buffer_info(&colours),
    ];
    // SAFETY: the set is new, and the objects in it live until the work has ended.
    unsafe { device.update_descriptor_sets(&writes, &[]) };
    let recording = Recording::begin(engine)?;
    recording.transfer(gpu, &image.acquire(COMPUTE, Contents::Keep)?);
    let point = vk::PipelineBindPoint::COMPUTE;
    let visible = [vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::SHADER_WRITE)
        .dst_access_mask(vk::AccessFlags::HOST_READ)];
    // SAFETY: the command buffer is being recorded. Pipeline, layout and set match.
    unsafe {
        device.cmd_bind_pipeline(recording.raw, point, objects.pipeline);
        device.cmd_bind_descriptor_sets(recording.raw, point, objects.layout, 0, &[set], &[]);
        device.cmd_dispatch(recording.raw, columns, rows, 1);
        device.cmd_pipeline_barrier(
            recording.raw,
            vk::PipelineStageFlags::COMPUTE_SHADER,
            vk::PipelineStageFlags::HOST,
            vk::DependencyFlags::empty(),
            &visible,
            &[],
            &[],
        );
    }
    recording.transfer(gpu, &image.release(COMPUTE)?);
    recording.submit(&[], &[])?.wait()?;
    let (all, flags) = (vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
    // SAFETY: the memory is host-visible and coherent, and is mapped once.
    let start = unsafe { device.map_memory(sampling.objects.memory, 0, all, flags) }
        .map_err(failed("vkMapMemory"))?
        .cast::<[f32; 4]>();
    let count = usize::try_from(count).map_err(|_| engine_error("too many colours"))?;
    // SAFETY: the mapping has this number of colours and is aligned for them. The device no longer uses it.
    let colours = unsafe { std::slice::from_raw_parts(start, count) }.to_vec();
    Ok(colours)
}

fn storage(
    engine: &Engine,
    size_bytes: u64,
) -> Result<(vk::Buffer, vk::DeviceMemory), VulkanError> {
    let device = &engine.device;
    let info = vk::BufferCreateInfo::default()
        .size(size_bytes)
        .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    // SAFETY: the structure is complete.
    let buffer = unsafe { device.create_buffer(&info, None) }.map_err(failed("vkCreateBuffer"))?;
    // SAFETY: the buffer and the physical device are of this engine.
    let (needed, kinds) = unsafe {
        (
            device.get_buffer_memory_requirements(buffer),
            engine
                .instance
                .get_physical_device_memory_properties(engine.physical),
        )
    };
    let visible = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let kind = kinds
        .memory_types_as_slice()
        .iter()
        .zip(0_u32..)
        .find(|(kind, number)| {
            needed.memory_type_bits >> number & 1 == 1 && kind.property_flags.contains(visible)
        })
        .map_or(0, |(_, number)| number);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needed.size)
        .memory_type_index(kind);
    // SAFETY: size and memory type are those that the buffer requires.
    let memory = unsafe { device.allocate_memory(&info, None) };
    let memory = memory.map_err(failed("vkAllocateMemory"))?;
    // SAFETY: the buffer has no memory yet.
    unsafe { device.bind_buffer_memory(buffer, memory, 0) }
        .map_err(failed("vkBindBufferMemory"))?;
    Ok((buffer, memory))
}

/// Creates the pipeline, and a descriptor set for it.
fn pipeline(
    engine: &Engine,
    objects: &mut PipelineObjects,
    sampler: vk::Sampler,
) -> Result<vk::DescriptorSet, VulkanError> {
    let device = &engine.device;
    let samplers = [sampler];
    let bindings = [
        vk::DescriptorSetLayoutBinding::default()
            .binding(0)
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .immutable_samplers(&samplers),
        vk::DescriptorSetLayoutBinding::default()
            .binding(1)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE),
    ];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: the structures are complete, and the sampler outlives the layout.
    objects.set_layout = unsafe { device.create_descriptor_set_layout(&info, None) }
        .map_err(failed("vkCreateDescriptorSetLayout"))?;
    let sets = [objects.set_layout];
    let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
    // SAFETY: the structure is complete.
    objects.layout = unsafe { device.create_pipeline_layout(&info, None) }
        .map_err(failed("vkCreatePipelineLayout"))?;
    let info = vk::ShaderModuleCreateInfo::default().code(&SAMPLE);
    // SAFETY: spirv-val has validated the shader after its compilation.
    objects.module = unsafe { device.create_shader_module(&info, None) }
        .map_err(failed("vkCreateShaderModule"))?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(objects.module)
        .name(c"main");
    let infos = [vk::ComputePipelineCreateInfo::default()
        .stage(stage)
        .layout(objects.layout)];
    // SAFETY: module and layout are of this device and match.
    let pipelines =
        unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &infos, None) };
    let pipelines = pipelines.map_err(|(_, answer)| failed("vkCreateComputePipelines")(answer))?;
    objects.pipeline = *pipelines
        .first()
        .ok_or_else(|| engine_error("no pipeline"))?;
    let sizes = [
        // A sampler with a conversion may need several descriptors, for the formats here at most three.
        vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .descriptor_count(3),
        vk::DescriptorPoolSize::default()
            .ty(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(1),
    ];
    let info = vk::DescriptorPoolCreateInfo::default()
        .max_sets(1)
        .pool_sizes(&sizes);
    // SAFETY: the structure is complete.
    objects.pool = unsafe { device.create_descriptor_pool(&info, None) }
        .map_err(failed("vkCreateDescriptorPool"))?;
    let info = vk::DescriptorSetAllocateInfo::default()
        .descriptor_pool(objects.pool)
        .set_layouts(&sets);
    // SAFETY: pool and layout are of this device.
    let found = unsafe { device.allocate_descriptor_sets(&info) }
        .map_err(failed("vkAllocateDescriptorSets"))?;
    found.first().copied().ok_or_else(|| engine_error("no set"))
}
