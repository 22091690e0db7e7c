//! Waits for writebacks, and requests each writeback again that the card has lost.

use std::io;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::TimeoutAction;
use calloop::{Interest, Mode as CalloopMode, PostAction};
use covalent_alloc::buffer::cpu_traffic;

use crate::backend::kms::Kms;
use crate::clock;
use crate::event_loop::EventLoop;
use crate::output_view::OutputId;
use crate::state::State;
use crate::transient::FaultKind;
use crate::writeback::Writeback;

/// The time after which a writeback is requested again. vkms needs 20 ms in an emulated machine.
const WRITEBACK_TIMEOUT: Duration = Duration::from_millis(500);

/// The maximum number of requests for one writeback.
const WRITEBACK_ATTEMPTS: u32 = 60;

/// How long the pending writebacks may take after the event loop was stopped.
const LAST_WRITEBACK_LIMIT: Duration = Duration::from_secs(10);

/// Waits for the writebacks that are still pending after the event loop was stopped. So the writeback of every presented frame is
/// recorded, even if the card has lost it and it is requested again.
///
/// # Errors
///
/// The errors of [`EventLoop::dispatch`].
pub fn finish_writebacks(event_loop: &mut EventLoop, state: &mut State) -> io::Result<()> {
    let deadline = Instant::now() + LAST_WRITEBACK_LIMIT;
    for id in state.outputs.ids() {
        let pending = |state: &mut State| state.writeback(id)?.pending_index();
        // The loop waits only for the writeback that is pending now, and not for the writebacks of later frames.
        let Some(number) = pending(state) else {
            continue;
        };
        while state.failure.is_none() && pending(state) == Some(number) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!("the writeback of the last frame is missing in the report");
                break;
            }
            event_loop.dispatch(Some(left), state)?;
            state.after_dispatch();
        }
    }
    Ok(())
}

impl State {
    /// Returns the KMS display of an output.
    fn kms(&mut self, id: OutputId) -> Option<&mut Kms> {
        self.outputs.get_mut(id)?.backend.kms()
    }

    /// Returns the writeback of an output, if one was requested.
    fn writeback(&mut self, id: OutputId) -> Option<&mut Writeback> {
        self.kms(id)?.writeback()
    }

    /// Starts to wait for the writeback of a submitted frame.
    pub(super) fn watch_writeback(&mut self, id: OutputId, frame: Option<u64>) {
        let Some(writeback) = self.writeback(id) else {
            return;
        };
        writeback.set_frame_number(frame);
        self.wait_for_writeback(id, 1);
    }

    /// Starts to wait for the pending writeback, which was requested `attempt` times so far.
    fn wait_for_writeback(&mut self, id: OutputId, attempt: u32) {
        let Some(writeback) = self.writeback(id) else {
            return;
        };
        let Some(request) = writeback.pending_request() else {
            return;
        };
        let Some(fence) = writeback.take_fence() else {
            self.collect_writeback(id);
            return;
        };
        let source = Generic::new(fence, Interest::READ, CalloopMode::Level);
        let watched = self.handle.insert_source(source, move |_, _, state| {
            state.collect_writeback(id);
            Ok(PostAction::Remove)
        });
        self.handle.add_timer(WRITEBACK_TIMEOUT, move |state| {
            state.retry_writeback(id, request, attempt)
        });
        if watched.is_err() {
            self.fail(anyhow::anyhow!("the fence of a writeback cannot be polled"));
        }
    }

    /// Writes the pixels of a completed writeback to the file. The next writeback is requested after a pause of one refresh.
    fn collect_writeback(&mut self, id: OutputId) {
        let Some(writeback) = self.writeback(id) else {
            return;
        };
        let before = cpu_traffic();
        let collected = writeback.try_collect();
        self.outputs.copy_counter.exclude(before);
        match collected {
            Ok(false) => {}
            Ok(true) => {
                let period = self.outputs.get(id).map(|screen| screen.mode().period());
                self.handle
                    .add_timer(period.unwrap_or_default(), move |state| {
                        if let Some(writeback) = state.writeback(id) {
                            writeback.end_pause();
                        }
                        TimeoutAction::Drop
                    });
            }
            // When the timer expires, the buffer is checked again, and the writeback is requested again if necessary.
            Err(error) if FaultKind::of_io(&error).is_transient() => {
                tracing::warn!(%error, "reading a writeback failed and is retried");
            }
            Err(error) => {
                self.fail(anyhow::Error::new(error).context("a writeback cannot be read"));
            }
        }
    }

    /// Requests a writeback again that was not completed in time.
    fn retry_writeback(&mut self, id: OutputId, request: u64, attempt: u32) -> TimeoutAction {
        let Some(kms) = self.kms(id) else {
            return TimeoutAction::Drop;
        };
        if kms
            .writeback()
            .and_then(|writeback| writeback.pending_request())
            != Some(request)
        {
            return TimeoutAction::Drop;
        }
        if attempt >= WRITEBACK_ATTEMPTS {
            self.fail(anyhow::anyhow!(
                "the card did not complete a writeback that was requested {attempt} times"
            ));
            return TimeoutAction::Drop;
        }
        // The card may have written the buffer after the last attempt to read it.
        self.collect_writeback(id);
        let Some(kms) = self.kms(id) else {
            return TimeoutAction::Drop;
        };
        if kms
            .writeback()
            .is_none_or(|writeback| writeback.pending_request().is_none())
        {
            return TimeoutAction::Drop;
        }
        if !kms.resubmit_for_writeback() {
            return TimeoutAction::ToDuration(WRITEBACK_TIMEOUT);
        }
        self.wait_for_flip(id, None, clock::now());
        tracing::info!(
            attempt,
            "a writeback is requested again because the card lost it"
        );
        self.wait_for_writeback(id, attempt.saturating_add(1));
        TimeoutAction::Drop
    }
}
