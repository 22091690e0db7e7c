//! Replaces the buffers of a running stream when the compositor's dma-buf feedback has changed, for example because the window
//! became fullscreen.
//!
//! The stream runs with its buffers until the compositor has imported the next ones. Then the frames that are captured already are
//! shown, the queue gets the next buffers, and the stream starts again. The last frame stays on the screen meanwhile, and is not
//! committed again. The camera's queue can have one set of buffers only, so the camera drops the frames of this moment.
//!
//! A stream whose frames are converted keeps its buffers, because the thread that converts them has mapped these.

use std::time::Instant;

use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::backend::v4l2::{Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Source, SourceKind};
use covalent_alloc::sync::Accessor;
use covalent_client_demo::buffers::{Buffers, Holder};
use covalent_client_demo::camera_stream::CameraStream;
use covalent_client_demo::exit::Failure;
use covalent_client_demo::exit_code;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::frame_interval::FrameInterval;
use covalent_client_demo::frame_trace::FrameTrace;
use covalent_client_demo::negotiation::{Negotiation, REFUSED};
use covalent_client_demo::planning::Planning;
use covalent_client_demo::replanning::{CurrentBuffers, Replacement, Replanning, replan};
use covalent_client_demo::wl_buffers::create_wl_buffer;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::camera_buffers::CameraBuffers;
use crate::options::Options;
use crate::setup::{explain, import_and_queue, set_frame_rate};
use crate::stream::{Session, begin_capture};

/// The negotiation of a stream that can replace its buffers.
pub(crate) struct Replanner {
    queue: Queue,
    negotiation: Negotiation,
    planning: Planning,
    /// The compositor sends new feedback as long as these exist.
    _subscriptions: Vec<Subscription>,
    /// Whether feedback has arrived for which no plan was made yet.
    is_requested: bool,
    next: Option<NextBuffers>,
    replaced: u64,
}

/// Buffers that the compositor is importing.
struct NextBuffers {
    replacement: Replacement,
    buffers: Vec<Buffer>,
    copies: Option<HostTransfer>,
}

impl Replanner {
    /// Returns the replanner of a stream; `None` if other consumers have its buffers too: an encoder has imported them, other
    /// processes have mapped them, and a recording has one format.
    pub(crate) fn new(
        options: &Options,
        queue: &Queue,
        negotiation: Negotiation,
        subscriptions: Vec<Subscription>,
    ) -> Option<Self> {
        let is_fixed =
            options.encode.is_some() || options.share.is_some() || options.record.is_some();
        (!is_fixed).then(|| Self {
            queue: queue.clone(),
            negotiation,
            planning: Planning::open(),
            _subscriptions: subscriptions,
            is_requested: false,
            next: None,
            replaced: 0,
        })
    }

    /// Requests a plan for feedback that has arrived.
    pub(crate) fn request(&mut self) {
        self.is_requested = true;
    }

    /// Returns how often the buffers were replaced.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Excludes the source of buffers that cannot be used. Returns whether another plan may be tried.
    fn refuse(&mut self, replacement: &Replacement, why: &str) -> bool {
        let label = &replacement.usage_label;
        match self.negotiation.refuse(label, &replacement.plan, why) {
            Ok(()) => true,
            Err(failure) => {
                tracing::warn!("the stream keeps its buffers: {failure}");
                false
            }
        }
    }

    /// Allocates the buffers of a plan.
    fn allocate(&mut self, replacement: Replacement) -> Result<NextBuffers, (Replacement, String)> {
        let allocated = self.negotiation.collection().allocate(&replacement.plan);
        let buffers = match allocated {
            Ok(buffers) => buffers,
            Err(error) => return Err((replacement, error.to_string())),
        };
        match HostTransfer::of(&replacement.plan, &buffers) {
            Ok(copies) => Ok(NextBuffers {
                replacement,
                buffers,
                copies,
            }),
            Err(error) => Err((replacement, error.to_string())),
        }
    }
}

/// Returns whether buffers of a source can be allocated while the camera streams. The memory of a V4L2 queue is allocated by the
/// queue itself, which the stream uses.
fn is_available(source: &Source) -> bool {
    SourceKind::of(&source.id) != SourceKind::Queue
}

impl Session<'_> {
    /// Plans for feedback that has arrived, unless a change of buffers is not complete.
    pub(crate) fn replan_if_needed(&mut self) -> Result<(), Failure> {
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        if !replanner.is_requested || self.display.is_changing() {
            return Ok(());
        }
        replanner.is_requested = false;
        replanner.negotiation.forget_refusals();
        self.request_replacement()
    }

    /// Plans, allocates, and requests the `wl_buffer`s of the next buffers, where the current ones do not serve.
    fn request_replacement(&mut self) -> Result<(), Failure> {
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        loop {
            let current = CurrentBuffers {
                plan: self.camera_buffers.plan(),
                layout: self.camera_buffers.layout(),
            };
            let replacement = match replan(
                &mut replanner.planning,
                &mut replanner.negotiation,
                &self.compositor,
                current,
                is_available,
            )? {
                Replanning::Keep(usage_label) => {
                    tracing::info!("after new dma-buf feedback the buffers are {usage_label}");
                    return Ok(());
                }
                Replanning::NoPlan => {
                    tracing::info!("no other buffers suit the new dma-buf feedback");
                    return Ok(());
                }
                Replanning::Replace(replacement) => replacement,
            };
            let next = match replanner.allocate(replacement) {
                Ok(next) => next,
                Err((replacement, why)) => match replanner.refuse(&replacement, &why) {
                    true => continue,
                    false => return Ok(()),
                },
            };
            let numbers = self.display.begin_next(next.buffers.len());
            let handle = self.events.handle();
            let mut requested = numbers.zip(&next.buffers).map(|(number, buffer)| {
                create_wl_buffer(&self.compositor, &handle, number, buffer)
            });
            match requested.find_map(Result::err) {
                None => {
                    replanner.next = Some(next);
                    return Ok(());
                }
                Some(error) => {
                    self.display.cancel_next();
                    if !replanner.refuse(&next.replacement, &error.to_string()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Handles a `wl_buffer` of the next buffers. Replaces the current buffers when it was the last one.
    pub(crate) fn handle_buffer_created(
        &mut self,
        number: usize,
        wl_buffer: WlBuffer,
    ) -> Result<(), Failure> {
        match self.display.created(number, wl_buffer) {
            true => self.replace_buffers(),
            false => Ok(()),
        }
    }

    /// Handles the answer that the compositor cannot import one of the next buffers. Plans again without their source.
    pub(crate) fn handle_buffer_refused(&mut self, number: usize) -> Result<(), Failure> {
        if !self.display.refused(number) {
            return Ok(());
        }
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        match replanner.next.take() {
            Some(next) if replanner.refuse(&next.replacement, REFUSED) => {
                self.request_replacement()
            }
            _ => Ok(()),
        }
    }

    /// Shows the frames that are captured already, and starts the stream again with the next buffers.
    fn replace_buffers(&mut self) -> Result<(), Failure> {
        self.capture()?;
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        let Some(next) = replanner.next.take() else {
            self.display.cancel_next();
            return Ok(());
        };
        // The queue frees its buffers with the stream. It can have one set of buffers only.
        drop(self.stream.take());
        let collection = replanner.negotiation.collection();
        match import_and_queue(collection, &replanner.queue, &next.buffers) {
            Ok(stream) => self.start_with(stream, next),
            Err(error) => {
                let may_try_again = replanner.refuse(&next.replacement, &error.to_string());
                self.display.cancel_next();
                self.resume()?;
                match may_try_again {
                    true => self.request_replacement(),
                    false => Ok(()),
                }
            }
        }
    }

    /// Gives the current buffers to the queue again, except those that the compositor holds, and starts the stream.
    fn resume(&mut self) -> Result<(), Failure> {
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        let buffers = self.camera_buffers.buffers();
        let mut stream = replanner
            .negotiation
            .collection()
            .import(&replanner.queue, buffers)
            .map_err(exit_code::backend_failure)?;
        for index in 0..buffers.len() {
            if self.buffers.holder(index) == Some(Holder::Producer) {
                stream.queue(index).map_err(exit_code::camera_failure)?;
            }
        }
        // Setting the format may have reset the rate.
        set_frame_rate(self.options, &replanner.queue, &self.compositor)?;
        stream.start().map_err(exit_code::camera_failure)?;
        self.stream = Some(CameraStream::Direct(stream));
        self.restart_timeouts();
        Ok(())
    }

    /// Makes the next buffers the current ones, and starts the stream, in which they are queued.
    fn start_with(&mut self, mut stream: Stream, next: NextBuffers) -> Result<(), Failure> {
        let Some(replanner) = &mut self.replanner else {
            return Ok(());
        };
        let queue = &replanner.queue;
        let held: Vec<bool> = (0..self.display.count())
            .map(|index| self.buffers.holder(index) == Some(Holder::Compositor))
            .collect();
        let is_held = |index: usize| held.get(index).copied().unwrap_or(false);
        if let Some(explicit) = &mut self.explicit {
            for index in (0..held.len()).filter(|index| !is_held(*index)) {
                explicit.remove(&mut self.events, self.display.number(index));
            }
        }
        self.display.switch(is_held);
        let count = self.display.count();
        if let Some(explicit) = &mut self.explicit {
            for index in 0..count {
                explicit
                    .add(&mut self.events, self.display.number(index))
                    .map_err(Failure::unexpected)?;
            }
        }
        let NextBuffers {
            replacement,
            buffers,
            copies,
        } = next;
        explain(self.options, &replacement.summary)?;
        self.camera_buffers = CameraBuffers::new(queue, *replacement.plan, buffers, copies)?;
        let camera = self.camera_buffers.camera_name();
        self.buffers = Buffers::new(count, Accessor::new(camera, []));
        begin_capture(&mut self.buffers, count)?;
        let traced = self.camera_buffers.buffers();
        let frame_trace = FrameTrace::new("covalent-camera", camera, traced);
        self.earlier_trace = Some(std::mem::replace(&mut self.frame_trace, frame_trace));
        self.frame_interval = FrameInterval::default();
        let layout = self.camera_buffers.layout();
        self.window.crop(layout);
        self.window.fit(
            self.camera_buffers.size(),
            self.compositor.configure.unwrap_or_default(),
        );
        // Setting the format may have changed the rate.
        set_frame_rate(self.options, queue, &self.compositor)?;
        stream.start().map_err(exit_code::camera_failure)?;
        self.stream = Some(CameraStream::Direct(stream));
        replanner.replaced = replanner.replaced.saturating_add(1);
        tracing::info!(
            "the buffers were replaced after new dma-buf feedback: {} from {}, {}",
            layout.format(),
            self.camera_buffers.source_name(),
            replacement.usage_label
        );
        self.restart_timeouts();
        self.set_colours();
        Ok(())
    }

    /// Records that the stream has just started, so that the camera is not reported as silent.
    fn restart_timeouts(&mut self) {
        self.last_frame = Instant::now();
        self.camera_waited = Instant::now();
    }
}
