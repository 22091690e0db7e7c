//! Renders frames into free buffers and commits them, and handles completed renderings and released buffers.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{Acquire, Fence, Point, PriorAccess, SyncPoint, export_wait};
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{BeginWrite, HandOverError};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit_sync::ExplicitSyncError;
use covalent_client_demo::pattern::NUMBERS;

use crate::camera::Camera;
use crate::render::Frame;
use crate::show::App;
use crate::submission_tracker::{Completion, FrameSubmission};

/// The maximum number of frames whose rendering was submitted to a GPU and is not complete.
const MAX_PENDING: usize = 2;

/// A frame whose rendering was submitted and is not complete.
pub(crate) struct PendingFrame {
    /// The number of the buffer, see [`Swapchain`](crate::swapchain::Swapchain).
    number: usize,
    /// Whether the frame is committed when its rendering is complete. Otherwise it was committed at submission.
    is_deferred: bool,
    /// The index of the camera's buffer that the frame samples.
    picture: Option<usize>,
    timestamp: Option<Duration>,
    draw_start: Duration,
}

impl App<'_> {
    /// Returns the number that the next frame displays.
    pub(crate) fn frame_number(&self) -> u32 {
        let drawn = u32::try_from(self.drawn % u64::from(NUMBERS)).unwrap_or_default();
        self.options.first.wrapping_add(drawn) % NUMBERS
    }

    /// Renders the next frame if a buffer is free, and the compositor has sent a frame callback. With a camera it does not wait
    /// for the frame callback, but for a new frame of the camera.
    pub(crate) fn draw(&mut self) -> Result<(), Failure> {
        let max_pending = match self.submissions.completion() {
            Completion::HelperThread => 1,
            Completion::SyncFile => MAX_PENDING,
        };
        let has_picture = self.camera.as_ref().is_none_or(Camera::has_picture);
        let is_time = self.frame_requested && has_picture && self.may_draw();
        if !is_time || self.submissions.pending() >= max_pending {
            return Ok(());
        }
        let shown = self.frame_number();
        let Some(swapchain) = &mut self.swapchain else {
            return Ok(());
        };
        // A deferred frame of an earlier swapchain is committed first, so that it does not replace a newer one.
        let waits_for_earlier_frame = self
            .pending_frames
            .values()
            .any(|frame| frame.is_deferred && swapchain.index_of(frame.number).is_none());
        if waits_for_earlier_frame {
            return Ok(());
        }
        let Some(index) = swapchain.free_index() else {
            return Ok(());
        };
        let number = swapchain.number(index);
        let buffer = swapchain.buffer(index).cloned();
        let buffer = buffer
            .context("the swapchain has no buffer at this index")
            .map_err(incomplete_swapchain)?;
        let wait_fence = match swapchain.begin_render(index).map_err(handover_failure)? {
            BeginWrite::Ready(prior_accesses) => merged_wait_fence(&buffer, &prior_accesses)?,
            BeginWrite::Wait(wait) => {
                // The compositor has released the buffer, but its GPU still reads it.
                swapchain.frame_trace.wait_started(index, now());
                return self
                    .events
                    .watch_fence(wait, number)
                    .map_err(exit_code::compositor_failure);
            }
        };
        let picture = self.camera.as_mut().and_then(Camera::take_picture);
        let frame = match &self.camera {
            Some(camera) => Frame::of_camera(shown, swapchain.size(), camera.size())
                .sampled_from(camera.layout()),
            None => Frame::of_scene(shown, swapchain.size()),
        }
        .drawn_to(swapchain.layout());
        let target = swapchain
            .target(index)
            .context("the swapchain has no render target for this buffer")
            .map_err(incomplete_swapchain)?;
        let texture = picture.as_ref().map(|(_, texture)| texture);
        let recorded = self
            .renderer
            .record(target, &frame, texture)
            .map_err(Failure::unexpected)?;
        // A frame is committed after its rendering is complete in three cases. First, without explicit synchronisation and
        // without a fence on the dma-buf, the compositor would read the buffer too early. Second, the transfer to a virtual GPU's
        // copy on the host needs the rendered pixels. Third, the copy to shared memory needs them.
        let has_no_fence = self.submissions.completion() == Completion::HelperThread;
        let is_deferred = swapchain.copies.is_some()
            || swapchain.is_copied()
            || has_no_fence && self.explicit.is_none();
        let captured = picture.map(|(frame, _)| frame);
        let frame_id = self.drawn;
        self.drawn = self.drawn.saturating_add(1);
        self.frame_requested = self.camera.is_some();
        self.pending_frames.insert(
            frame_id,
            PendingFrame {
                number,
                is_deferred,
                picture: captured.map(|frame| frame.index),
                timestamp: captured
                    .filter(|frame| frame.is_monotonic)
                    .map(|frame| frame.timestamp),
                draw_start: now(),
            },
        );
        let (acquire, release_point) = if is_deferred {
            (None, None)
        } else {
            self.set_points(number)?
        };
        let submission = FrameSubmission {
            recorded,
            number: frame_id,
            wait_fence,
            acquire,
            buffer: &buffer,
        };
        let drawn = self.submissions.submit(&mut self.events, submission)?;
        if is_deferred {
            return Ok(());
        }
        self.commit(frame_id, drawn, release_point)
    }

    /// Sets the acquire and release points of the surface's next commit. The caller has to signal the acquire point. The
    /// compositor signals the release point when it no longer uses the buffer. A commit of shared memory has no points.
    fn set_points(&mut self, number: usize) -> Result<(Option<Point>, Option<SyncPoint>), Failure> {
        let is_copied = self
            .all_swapchains()
            .any(|swapchain| swapchain.is_copied() && swapchain.index_of(number).is_some());
        let Some(explicit) = &mut self.explicit else {
            return Ok((None, None));
        };
        if is_copied {
            explicit.suspend();
            return Ok((None, None));
        }
        let (acquire, release) = explicit.set_pending_points(number).map_err(sync_failure)?;
        Ok((Some(acquire), Some(release.into())))
    }

    /// Commits a frame. `drawn` is signalled when the frame's rendering is complete; `None` means that it is complete already.
    fn commit(
        &mut self,
        frame_id: u64,
        drawn: Option<SyncPoint>,
        release_point: Option<SyncPoint>,
    ) -> Result<(), Failure> {
        let Some(pending) = self.pending_frames.get(&frame_id) else {
            return Ok(());
        };
        let handle = self.events.handle();
        let configure = self.compositor.configure.unwrap_or_default();
        let mut all = self.swapchain.iter_mut().chain(&mut self.retired);
        let (swapchain, index) = all
            .find_map(|swapchain| Some((swapchain.index_of(pending.number)?, swapchain)))
            .map(|(index, swapchain)| (swapchain, index))
            .context("no swapchain has this buffer")
            .map_err(incomplete_swapchain)?;
        if !swapchain.was_shown {
            swapchain.was_shown = true;
            match swapchain.is_copied() {
                true => self.window.show_whole(),
                false => self.window.crop(swapchain.layout()),
            }
            self.window.fit(swapchain.size(), configure);
            self.imports_at_first_frame = self.renderer.imports();
        }
        swapchain
            .commit(index, drawn, release_point)
            .map_err(handover_failure)?;
        let wl_buffer = swapchain
            .wl_buffer(index)
            .context("a wl_buffer")
            .map_err(incomplete_swapchain)?;
        self.window.request_frame_callback(&handle);
        let frame = self.window.show(wl_buffer, &handle);
        let now = now();
        let from = pending.timestamp.unwrap_or(pending.draw_start);
        self.stats.committed(frame, Some(from), now);
        swapchain
            .frame_trace
            .committed(frame, index, Some(from), now);
        if !self.window.is_timed() {
            self.stats.without_feedback(frame);
            swapchain.frame_trace.discarded(frame);
        }
        self.committed = self.committed.saturating_add(1);
        Ok(())
    }

    /// Handles the completion of a frame's rendering.
    pub(crate) fn handle_frame_completed(&mut self, frame_id: u64) -> Result<(), Failure> {
        if !self.submissions.complete(frame_id)? {
            return Ok(());
        }
        let Some(done) = self.pending_frames.get(&frame_id) else {
            return Ok(());
        };
        let (number, is_deferred, picture) = (done.number, done.is_deferred, done.picture);
        if let (Some(index), Some(camera)) = (picture, &mut self.camera) {
            camera.requeue(index)?;
        }
        for swapchain in self.swapchain.iter_mut().chain(&mut self.retired) {
            let Some(index) = swapchain.index_of(number) else {
                continue;
            };
            swapchain.frame_trace.signalled(index, now());
            let written = swapchain.copy_to_shm(index).map_err(Failure::unexpected)?;
            self.shm_bytes = self.shm_bytes.saturating_add(written);
            if let Some(copies) = &swapchain.copies {
                copies.update(index).map_err(Failure::unexpected)?;
            }
        }
        if is_deferred {
            let (acquire, release_point) = self.set_points(number)?;
            if let Some(acquire) = acquire {
                acquire.signal().map_err(Failure::unexpected)?;
            }
            self.commit(frame_id, None, release_point)?;
        }
        self.pending_frames.remove(&frame_id);
        Ok(())
    }

    /// Returns whether another frame may be drawn according to `--frames`. Frames that are not presented yet count as shown, so
    /// that no further frame replaces the last one before it is presented.
    pub(crate) fn may_draw(&self) -> bool {
        let Some(frames) = self.options.frames else {
            return true;
        };
        let deferred = self
            .pending_frames
            .values()
            .filter(|frame| frame.is_deferred)
            .count();
        let unpresented = u64::try_from(deferred)
            .unwrap_or(u64::MAX)
            .saturating_add(self.stats.in_flight());
        if self.window.is_timed() {
            self.shown().saturating_add(unpresented) < frames
        } else {
            self.drawn < frames
        }
    }

    /// Handles the event that all fences of a released buffer have signalled.
    pub(crate) fn handle_buffer_idle(&mut self, number: usize) {
        for swapchain in self.all_swapchains() {
            if let Some(index) = swapchain.index_of(number) {
                swapchain.wait_finished(index);
                swapchain.frame_trace.wait_ended(index, now());
            }
        }
    }

    /// Handles the release of a buffer by the compositor.
    pub(crate) fn handle_buffer_released(&mut self, number: usize) -> Result<(), Failure> {
        for swapchain in self.all_swapchains() {
            let Some(index) = swapchain.index_of(number) else {
                continue;
            };
            swapchain.frame_trace.released(index, now());
            match swapchain.released(index) {
                Ok(()) => {}
                Err(error @ HandOverError::Held { .. }) => {
                    tracing::warn!("the compositor released a buffer that it did not hold: {error}")
                }
                // Without its fences the buffer could never be rendered to again.
                Err(error) => return Err(Failure::unexpected(error)),
            }
        }
        Ok(())
    }
}

/// Merges the fences that the GPU has to wait for before it renders to a buffer into one sync file.
fn merged_wait_fence(
    buffer: &Buffer,
    prior_accesses: &[PriorAccess<SyncPoint>],
) -> Result<Option<Fence>, Failure> {
    let unexpected = |error| Failure::new(Exit::Unexpected, error);
    match export_wait(buffer, prior_accesses, SyncMechanism::SyncFile, None).map_err(unexpected)? {
        Acquire::NoWait => Ok(None),
        Acquire::Fence(fence) => Ok(Some(fence)),
        // Only a timeline point without a fence cannot be exported. A buffer is free only after its release point was signalled,
        // so this does not occur.
        other => Err(Failure::new(
            Exit::Unexpected,
            anyhow!("{other:?} cannot be exported as a sync file for the GPU"),
        )),
    }
}

/// Makes the failure for a buffer that cannot be handed over.
fn handover_failure(error: HandOverError) -> Failure {
    // A fence can fail without a bug of this program.
    if let HandOverError::Fence { .. } = error {
        return Failure::unexpected(error);
    }
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context(
            "the holder of a buffer is not the one that this program expects, which is a bug of this program",
        ),
    )
}

/// Makes the failure for a swapchain image that lacks its buffer or GPU image.
fn incomplete_swapchain(error: anyhow::Error) -> Failure {
    Failure::new(
        Exit::Unexpected,
        error.context(
            "a swapchain image has no buffer or no GPU image, which is a bug of this program",
        ),
    )
}

/// Maps an error of explicit synchronisation to the failure that the program ends with.
pub(crate) fn sync_failure(error: ExplicitSyncError) -> Failure {
    Failure::new(Exit::Unexpected, error)
}
