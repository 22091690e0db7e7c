//! The headless backend: a virtual output driven by a timer, for tests and machines without a card.

use std::rc::Rc;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use covalent_protocols::FormatEntry;

use crate::backend::{Flip, Mode, SubmitError};
use crate::clock;
use crate::event_loop::LoopHandle;
use crate::faults::{SharedFaults, inject};
use crate::options::ModeRequest;
use crate::output_view::OutputId;
use crate::render::Target;
use crate::swapchain::Swapchain;
use crate::syncobj::TimelineDevice;

/// The headless backend.
#[derive(Debug)]
pub struct Headless {
    name: String,
    output: OutputId,
    mode: Mode,
    swapchain: Swapchain,
    in_flight: Option<Duration>,
    handle: LoopHandle,
    faults: Option<SharedFaults>,
    timelines: Option<Rc<dyn TimelineDevice>>,
    scanout: Vec<FormatEntry>,
}

impl Headless {
    /// Creates an output with the requested mode, or with 1280x720 at 60 Hz.
    pub fn new(handle: LoopHandle, mode: Option<ModeRequest>) -> Self {
        let mode = Mode {
            width: mode.map_or(1280, |mode| i32::from(mode.width)),
            height: mode.map_or(720, |mode| i32::from(mode.height)),
            refresh_millihertz: mode
                .and_then(|mode| mode.refresh_millihertz)
                .unwrap_or(60_000),
        };
        let pixels = |count: i32| usize::try_from(count).unwrap_or(0);
        let targets = (0..2)
            .map(|_| Target::memory(pixels(mode.width), pixels(mode.height)))
            .collect();
        Self {
            name: "HEADLESS-1".to_owned(),
            output: OutputId(0),
            mode,
            swapchain: Swapchain::new(targets),
            in_flight: None,
            handle,
            faults: None,
            timelines: None,
            scanout: Vec::new(),
        }
    }

    /// Sets the name of the output, which is `HEADLESS-1` otherwise.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(super) fn set_output(&mut self, output: OutputId) {
        self.output = output;
    }

    /// Enables explicit synchronisation with a test's timeline device, since there is no card.
    #[must_use]
    pub fn with_timelines(mut self, timelines: Rc<dyn TimelineDevice>) -> Self {
        self.timelines = Some(timelines);
        self
    }

    pub(super) fn timelines(&self) -> Option<Rc<dyn TimelineDevice>> {
        self.timelines.clone()
    }

    /// Advertises the formats of a test for scanout. No buffer is ever scanned out.
    #[must_use]
    pub fn with_scanout(mut self, scanout: Vec<FormatEntry>) -> Self {
        self.scanout = scanout;
        self
    }

    pub(super) fn scanout(&self) -> &[FormatEntry] {
        &self.scanout
    }

    /// Injects the faults that a test defines.
    #[must_use]
    pub fn with_faults(mut self, faults: SharedFaults) -> Self {
        self.faults = Some(faults);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    pub(super) fn swapchain(&mut self) -> &mut Swapchain {
        &mut self.swapchain
    }

    /// Submits a frame, which is shown at the next multiple of the refresh period.
    pub(super) fn submit(&mut self) -> Result<(), SubmitError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SubmitError::Card {
            device: self.name().to_owned(),
            source,
        };
        inject(self.faults.as_ref(), |faults| faults.commit())
            .map_err(|error| failed(error.into()))?;
        let flip_arrives = self
            .faults
            .as_ref()
            .is_none_or(|faults| faults.borrow_mut().flip_arrives());
        if !flip_arrives {
            self.in_flight = Some(clock::now());
            return Ok(());
        }
        let period = self.mode.period();
        let now = clock::now();
        let since = now.as_nanos() % period.as_nanos();
        let wait = period.saturating_sub(Duration::from_nanos(u64::try_from(since).unwrap_or(0)));
        let count = now.saturating_add(wait).as_nanos() / period.as_nanos();
        let sequence = u32::try_from(count & u128::from(u32::MAX)).unwrap_or(0);
        let output = self.output;
        self.handle.add_timer(wait, move |state| {
            let flip = Flip {
                time: clock::now(),
                sequence,
                synchronised: false,
                by_hardware: false,
            };
            state.flipped(output, flip);
            TimeoutAction::Drop
        });
        self.in_flight = Some(now);
        Ok(())
    }

    pub(super) fn flipped(&mut self) {
        if self.in_flight.take().is_some() {
            self.swapchain.flipped();
        }
    }

    /// Forgets the submitted frame. Its page flip will not be reported.
    pub(super) fn abandon(&mut self) {
        self.in_flight = None;
        self.swapchain.abandoned();
    }
}

/// Returns the main device for dma-buf feedback, as a `dev_t`.
///
/// The CPU reads the buffers, so no device imports them. The function returns the first render node, because clients open a
/// driver by the main device. Without a render node it returns `/dev/udmabuf` or the system dma-buf heap, and without these 0.
pub(super) fn device() -> u64 {
    let render_nodes = (128..192).map(|number| format!("/dev/dri/renderD{number}"));
    render_nodes
        .chain(["/dev/udmabuf".to_owned(), "/dev/dma_heap/system".to_owned()])
        .find_map(|path| rustix::fs::stat(path.as_str()).ok())
        .map_or(0, |status| status.st_rdev)
}
