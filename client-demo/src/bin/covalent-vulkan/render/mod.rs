//! Drawing: from buffers to targets and textures, and from both to commands that a device can be given.
//!
//! Whatever commands use is shared with them: it lives until they are over, whoever lets go of it before.

mod commands;
mod frame;
mod look;
mod picture;
mod pipes;

use std::sync::Arc;

use ash::vk;
use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::backend::vulkan::{Gpu, Purpose, VulkanError};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::FormatModifier;

pub(crate) use commands::Recorded;
pub(crate) use frame::Frame;

use look::{Look, Sampling};
use pipes::Pipes;

/// A Vulkan device that draws a scene, or a camera's pictures.
#[derive(Debug)]
pub(crate) struct Renderer {
    gpu: Gpu,
    look: Arc<Look>,
    /// For targets of one format.
    pipes: Option<Arc<Pipes>>,
    imports: u64,
}

/// A buffer that is drawn to.
#[derive(Clone, Debug)]
pub(crate) struct Target(Arc<picture::Target>);

/// A buffer that is sampled.
#[derive(Clone, Debug)]
pub(crate) struct Texture(Arc<picture::Texture>);

impl Renderer {
    /// Makes what draws on a device; `camera` is the format of the pictures that it samples, and what their numbers mean.
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
            look: Arc::new(Look::new(gpu, sampling.as_ref())?),
            pipes: None,
            imports: 0,
        })
    }

    /// How many buffers were imported so far.
    pub(crate) fn imports(&self) -> u64 {
        self.imports
    }

    /// Imports a buffer to draw to.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn target(&mut self, buffer: &Buffer) -> Result<Target, VulkanError> {
        let image = self.gpu.import_for(Purpose::Render, buffer)?;
        self.imports = self.imports.saturating_add(1);
        let pipes = self.pipes_for(image.format())?;
        Ok(Target(Arc::new(picture::Target::new(pipes, image)?)))
    }

    /// Imports a buffer to sample.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn texture(&mut self, buffer: &Buffer) -> Result<Texture, VulkanError> {
        let image = self.gpu.import_for(Purpose::Sample, buffer)?;
        self.imports = self.imports.saturating_add(1);
        let texture = picture::Texture::new(Arc::clone(&self.look), image)?;
        Ok(Texture(Arc::new(texture)))
    }

    /// Records what draws a frame; nothing is given to the device yet.
    ///
    /// # Errors
    /// [`VulkanError`].
    pub(crate) fn record(
        &self,
        target: &Target,
        frame: &Frame,
        texture: Option<&Texture>,
    ) -> Result<Recorded, VulkanError> {
        let texture = texture.map(|texture| Arc::clone(&texture.0));
        Recorded::new(Arc::clone(&target.0), frame, texture)
    }

    fn pipes_for(&mut self, format: vk::Format) -> Result<Arc<Pipes>, VulkanError> {
        let pipes = match self.pipes.take().filter(|pipes| pipes.format() == format) {
            Some(pipes) => pipes,
            None => Arc::new(Pipes::new(Arc::clone(&self.look), format)?),
        };
        Ok(Arc::clone(self.pipes.insert(pipes)))
    }
}
