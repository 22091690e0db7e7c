//! The compositor's output buffers on a card, each with a framebuffer.

use std::rc::Rc;

use covalent_alloc::backend::drm::{Card, DrmError, Framebuffer};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Role};
use covalent_alloc::model::{DeviceIdentity, Extent, ExtentError, FormatModifier, Fourcc};
use covalent_alloc::solve::{Request, Solution, solve};
use drm::control::{framebuffer, plane};

use crate::render::Target;
use crate::render::gles::GpuOutputBuffer;
use crate::swapchain::Swapchain;

/// The number of output buffers in a swapchain: one is on the display while the other is drawn into.
pub(crate) const BUFFER_COUNT: usize = 2;

/// The output buffers of one mode.
#[derive(Debug)]
pub struct OutputBuffers {
    swapchain: Swapchain,
    framebuffers: Vec<Rc<Framebuffer>>,
    blank: Rc<Framebuffer>,
    /// Framebuffers of the previous mode, which the display may still show.
    retired: Vec<Rc<Framebuffer>>,
}

/// The reason why no output buffers can be allocated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputBufferError {
    /// The size of the mode is not a valid buffer size.
    #[error("output buffers of the mode cannot be allocated: {0}")]
    Extent(#[from] ExtentError),
    /// The card has no dumb buffers, or cannot export them as dma-bufs.
    #[error(
        "{0} cannot allocate output buffers: it has no dumb buffers, or cannot export them as dma-bufs"
    )]
    NoSource(String),
    /// The plane cannot show the card's dumb buffers.
    #[error("output buffers cannot be allocated: {0}")]
    NoPlan(String),
    /// The card allocated fewer buffers than planned.
    #[error("{0} allocated fewer output buffers than planned")]
    Missing(String),
    /// The card rejected an allocation or a framebuffer.
    #[error(transparent)]
    Card(#[from] DrmError),
}

impl OutputBuffers {
    /// Allocates output buffers for a mode of that size.
    ///
    /// # Errors
    ///
    /// When the card cannot allocate the buffers, or cannot show them.
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
        // The kernel clears dumb buffers, so this one is black, and it is never drawn to.
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

    /// Adds output buffers that the GPU draws to.
    ///
    /// # Errors
    ///
    /// When the card rejects a framebuffer. Nothing changes then.
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

    /// Replaces the output buffers. The next frame is drawn into one of the new output buffers.
    pub fn replace(&mut self, other: Self) {
        let old = std::mem::replace(self, other);
        self.retired = old.retired;
        self.retired.extend(old.framebuffers);
        self.retired.push(old.blank);
    }

    /// Returns the swapchain of these output buffers.
    pub fn swapchain(&mut self) -> &mut Swapchain {
        &mut self.swapchain
    }

    /// Returns the framebuffer of the output buffer at `index` of the swapchain.
    pub fn framebuffer(&self, index: usize) -> Option<Rc<Framebuffer>> {
        self.framebuffers.get(index).cloned()
    }

    /// Returns the framebuffer of one output buffer for a test commit. It is one of the buffers that were added last, because
    /// frames are drawn into these buffers.
    pub fn any_framebuffer(&self) -> framebuffer::Handle {
        self.framebuffers.last().unwrap_or(&self.blank).handle()
    }

    /// Returns the framebuffer of the black output buffer.
    pub fn blank(&self) -> Rc<Framebuffer> {
        self.blank.clone()
    }

    /// Handles the page flip of the frame that was submitted last.
    pub fn flipped(&mut self) {
        self.swapchain.flipped();
        self.retired.clear();
    }
}

/// Declares the CPU access of the software renderer or of the writeback as a participant.
pub(crate) fn cpu_participant(role: Role) -> Participant {
    cpu_participant_for(role, FormatModifier::linear(Fourcc::XRGB8888))
}

/// Declares CPU access to buffers of a format as a participant.
pub(crate) fn cpu_participant_for(role: Role, format: FormatModifier) -> Participant {
    let device = DeviceIdentity {
        driver: "processor".to_owned(),
        location: String::new(),
        node: String::new(),
    };
    let mut participant = Participant::new("software composition", device, role);
    participant.for_each_choice(|own| own.formats = Some(vec![format].into()));
    participant
}

/// Allocates dumb buffers that all participants can use.
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
