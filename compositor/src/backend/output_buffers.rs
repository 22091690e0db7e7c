//! The compositor's own pictures on a card: memory that the card allocated, each with a framebuffer.

use std::rc::Rc;

use covalent_alloc::backend::drm::{Card, DrmError, Framebuffer};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Role};
use covalent_alloc::model::{DeviceIdentity, Extent, ExtentError, FormatModifier, Fourcc};
use covalent_alloc::solve::{Request, Solution, solve};
use drm::control::plane;

use crate::render::Target;
use crate::render::gles::GpuOutputBuffer;
use crate::swapchain::Swapchain;

/// Pictures that take turns; with one shown, another can be drawn.
pub(crate) const BUFFER_COUNT: usize = 2;

/// The pictures of one mode.
#[derive(Debug)]
pub struct OutputBuffers {
    swapchain: Swapchain,
    framebuffers: Vec<Rc<Framebuffer>>,
    blank: Rc<Framebuffer>,
    /// What the display may still show after the mode changed.
    retired: Vec<Rc<Framebuffer>>,
}

/// Why there is no memory for pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputBufferError {
    /// The size is none of a picture.
    #[error("pictures of the mode cannot be made: {0}")]
    Extent(#[from] ExtentError),
    /// The card has no dumb buffers, or cannot hand them out as dma-bufs.
    #[error("{0} has no memory of its own that could be shared")]
    NoSource(String),
    /// The card cannot show what it allocates.
    #[error("no memory for pictures: {0}")]
    NoPlan(String),
    /// The card gave fewer pictures than planned.
    #[error("{0} gave fewer pictures than were planned")]
    Missing(String),
    /// The card gives no memory, or makes no framebuffer of it.
    #[error(transparent)]
    Card(#[from] DrmError),
}

impl OutputBuffers {
    /// Allocates pictures for a mode of that size.
    ///
    /// # Errors
    ///
    /// When the card has no memory for them, or cannot show it.
    pub fn allocate(
        card: &Card,
        plane: plane::Handle,
        (width, height): (u16, u16),
    ) -> Result<Self, OutputBufferError> {
        let extent = Extent::new(u32::from(width), u32::from(height))?;
        let count = u32::try_from(BUFFER_COUNT + 1).unwrap_or(u32::MAX);
        let display = card.participant(plane)?;
        let mut buffers = allocate_dumb(
            card,
            extent,
            count,
            vec![display, cpu_participant(Role::CpuWrite)],
        )?;
        let missing = || OutputBufferError::Missing(card.path().display().to_string());
        // The kernel hands dumb buffers out cleared: this one is black, and stays so.
        let blank = Rc::new(card.framebuffer(&buffers.pop().ok_or_else(missing)?)?);
        buffers.truncate(BUFFER_COUNT);
        let framebuffers = buffers
            .iter()
            .map(|buffer| card.framebuffer(buffer).map(Rc::new))
            .collect::<Result<Vec<_>, _>>()?;
        if framebuffers.len() < BUFFER_COUNT {
            return Err(missing());
        }
        Ok(Self {
            swapchain: Swapchain::new(buffers.into_iter().map(Target::shared).collect()),
            framebuffers,
            blank,
            retired: Vec::new(),
        })
    }

    /// Takes pictures that the GPU draws to, beside those of the CPU.
    ///
    /// # Errors
    ///
    /// When the card makes no framebuffers of them; nothing changes then.
    pub fn add_gpu_buffers(
        &mut self,
        card: &Card,
        buffers: Vec<GpuOutputBuffer>,
    ) -> Result<(), DrmError> {
        let framebuffers = buffers
            .iter()
            .map(|buffer| card.framebuffer(&buffer.buffer).map(Rc::new))
            .collect::<Result<Vec<_>, _>>()?;
        self.framebuffers.extend(framebuffers);
        let targets = buffers.into_iter().map(|buffer| Target::gpu(buffer.dmabuf));
        self.swapchain.add(targets.collect());
        Ok(())
    }

    /// Takes other pictures from the next frame on.
    pub fn replace(&mut self, other: Self) {
        let old = std::mem::replace(self, other);
        self.retired = old.retired;
        self.retired.extend(old.framebuffers);
        self.retired.push(old.blank);
    }

    /// Returns the pictures that can be drawn.
    pub fn swapchain(&mut self) -> &mut Swapchain {
        &mut self.swapchain
    }

    /// Returns the framebuffer of a picture.
    pub fn framebuffer(&self, index: usize) -> Option<Rc<Framebuffer>> {
        self.framebuffers.get(index).cloned()
    }

    /// Returns a black picture that the CPU never touched.
    pub fn blank(&self) -> Rc<Framebuffer> {
        self.blank.clone()
    }

    /// Notes that the display shows the frame that was submitted last.
    pub fn flipped(&mut self) {
        self.swapchain.flipped();
        self.retired.clear();
    }
}

/// Declares what composition, or whoever checks pictures, does with them.
pub(crate) fn cpu_participant(role: Role) -> Participant {
    let device = DeviceIdentity {
        driver: "processor".to_owned(),
        location: String::new(),
        node: String::new(),
    };
    let mut participant = Participant::new("software composition", device, role);
    let format = FormatModifier::linear(Fourcc::XRGB8888);
    participant.for_each_choice(|own| own.formats = Some(vec![format].into()));
    participant
}

/// Allocates pictures from the card's own memory, for all participants.
pub(crate) fn allocate_dumb(
    card: &Card,
    extent: Extent,
    count: u32,
    participants: Vec<Participant>,
) -> Result<Vec<Buffer>, OutputBufferError> {
    let source = card
        .dumb_source()
        .ok_or_else(|| OutputBufferError::NoSource(card.path().display().to_string()))?;
    let mut request = Request::new(extent);
    request.count = count;
    request.participants = participants;
    request.sources = vec![source];
    match solve(&request) {
        Solution::Share(plan) => Ok(card.allocate(&plan)?),
        split => Err(OutputBufferError::NoPlan(split.explain())),
    }
}
