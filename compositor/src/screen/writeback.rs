//! Waiting for writebacks, and repeating those that the card loses.

use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, Mode as CalloopMode, PostAction};
use covalent_alloc::buffer::cpu_traffic;

use crate::state::State;
use crate::transient::FaultKind;

/// The time after which a writeback is requested again. vkms needs 20 ms in an emulated machine.
const WRITEBACK_TIMEOUT: Duration = Duration::from_millis(500);

/// The largest number of requests for one writeback.
const WRITEBACK_ATTEMPTS: u32 = 60;

impl State {
    /// Waits for the writeback of a frame that was submitted.
    pub(super) fn watch_writeback(&mut self, frame: Option<u64>) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        writeback.set_frame_number(frame);
        self.wait_for_writeback(1);
    }

    /// Waits for the pending writeback, which was requested `attempt` times so far.
    fn wait_for_writeback(&mut self, attempt: u32) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let Some(request) = writeback.pending_request() else {
            return;
        };
        let Some(fence) = writeback.take_fence() else {
            self.collect_writeback();
            return;
        };
        let source = Generic::new(fence, Interest::READ, CalloopMode::Level);
        let watched = self.handle.insert_source(source, move |_, _, state| {
            state.collect_writeback();
            Ok(PostAction::Remove)
        });
        let timer = Timer::from_duration(WRITEBACK_TIMEOUT);
        let timed = self
            .handle
            .insert_source(timer, move |_, (), state: &mut Self| {
                state.retry_writeback(request, attempt)
            });
        if watched.is_err() || timed.is_err() {
            self.fail(anyhow::anyhow!("the fence of a writeback cannot be polled"));
        }
    }

    fn collect_writeback(&mut self) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let before = cpu_traffic();
        let collected = writeback.try_collect();
        self.screen.copy_counter.exclude(before);
        match collected {
            Ok(false) => {}
            Ok(true) => {
                let timer = Timer::from_duration(self.screen.mode().period());
                let pause = self.handle.insert_source(timer, |_, (), state: &mut Self| {
                    if let Some(writeback) = state.screen.writeback() {
                        writeback.end_pause();
                    }
                    TimeoutAction::Drop
                });
                if let Err(error) = pause {
                    self.fail(anyhow::anyhow!(
                        "the pause after a writeback cannot be timed: {}",
                        error.error
                    ));
                }
            }
            // The timer checks the buffer again, and requests the writeback again if necessary.
            Err(error) if FaultKind::of_io(&error).is_transient() => {
                tracing::warn!(%error, "reading a writeback failed and is retried");
            }
            Err(error) => {
                self.fail(anyhow::Error::new(error).context("a writeback cannot be read"));
            }
        }
    }

    /// Requests a writeback again that did not arrive in time.
    fn retry_writeback(&mut self, request: u64, attempt: u32) -> TimeoutAction {
        let Some(kms) = self.screen.backend.kms() else {
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
        // The buffer may have been written when it could not be read.
        self.collect_writeback();
        let Some(kms) = self.screen.backend.kms() else {
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
        self.watch_flip();
        tracing::info!(
            attempt,
            "a writeback is requested again because the card lost it"
        );
        self.wait_for_writeback(attempt.saturating_add(1));
        TimeoutAction::Drop
    }
}
