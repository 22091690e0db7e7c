//! Rendering: imports buffers as render targets and textures, and records command buffers.
//!
//! A command buffer holds an `Arc` of every object that it uses, so that the objects live until the device has completed it.

mod commands;
mod frame;
mod images;
mod layout;
mod pipelines;

use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::backend::vulkan::{Gpu, Purpose, VulkanError};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::FormatModifier;

pub(crate) use commands::RecordedFrame;
pub(crate) use frame::Frame;

use layout::{Sampling, SharedLayout};
use pipelines::Pipelines;

/// Renders a scene, or a camera's frames, with a Vulkan device.
#[derive(Debug)]
pub(crate) struct Renderer {
    gpu: Gpu,
    shared: Arc<SharedLayout>,
    /// The pipelines for the target format that was used last.
    pipelines: Option<Arc<Pipelines>>,
    imports: u64,
}

/// A buffer that is rendered to.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<images::Target>);

/// A buffer that is sampled.
#[derive(Clone, Debug)]
pub(crate) struct Texture(Arc<images::Texture>);

impl Renderer {
    /// Creates a renderer. `camera` is the format and the colour encoding of the camera's textures.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn new(
        gpu: &Gpu,
        camera: Option<(FormatModifier, Colours)>,
    ) -> Result<Self, VulkanError> {
        let sampling = camera
            .map(|(format, colours)| Sampling::new(gpu, format, colours))
            .transpose()?;
        Ok(Self {
            gpu: gpu.clone(),
            shared: Arc::new(SharedLayout::new(gpu, sampling.as_ref())?),
            pipelines: None,
            imports: 0,
        })
    }

    /// Returns the number of imports so far.
    pub(crate) fn imports(&self) -> u64 {
        self.imports
    }

    /// Imports a buffer as a render target.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn target(&mut self, buffer: &Buffer) -> Result<Target, VulkanError> {
        let image = self.gpu.import_for(Purpose::Render, buffer)?;
        self.imports = self.imports.saturating_add(1);
        let pipelines = self.pipelines_for(image.format())?;
        Ok(Target(Arc::new(images::Target::new(pipelines, image)?)))
    }

    /// Imports a buffer as a texture.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn texture(&mut self, buffer: &Buffer) -> Result<Texture, VulkanError> {
        let image = self.gpu.import_for(Purpose::Sample, buffer)?;
        self.imports = self.imports.saturating_add(1);
        let texture = images::Texture::new(Arc::clone(&self.shared), image)?;
        Ok(Texture(Arc::new(texture)))
    }

    /// Records the command buffer of a frame, without submitting it.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn record(
        &self,
        target: &Target,
        frame: &Frame,
        texture: Option<&Texture>,
    ) -> Result<RecordedFrame, VulkanError> {
        let texture = texture.map(|texture| Arc::clone(&texture.0));
        RecordedFrame::new(Arc::clone(&target.0), frame, texture)
    }

    /// Returns the pipelines that draw in this format. Pipelines of another format are dropped.
    fn pipelines_for(&mut self, format: vk::Format) -> Result<Arc<Pipelines>, VulkanError> {
        let pipelines = match self
            .pipelines
            .take()
            .filter(|pipelines| pipelines.format() == format)
        {
            Some(pipelines) => pipelines,
            None => Arc::new(Pipelines::new(Arc::clone(&self.shared), format)?),
        };
        Ok(Arc::clone(self.pipelines.insert(pipelines)))
    }
}
