//! Waiting for the pictures that a card writes back, and asking again for those that it loses.

use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, Mode as CalloopMode, PostAction};
use covalent_alloc::buffer::cpu_traffic;

use crate::state::State;
use crate::transient::FaultKind;

/// How long a picture that is written back may take before it is asked for again: vkms needs 20 ms on an emulated machine.
const WRITEBACK_PATIENCE: Duration = Duration::from_millis(500);

/// How often a picture is asked for.
const WRITEBACK_ATTEMPTS: u32 = 60;

impl State {
    /// Puts the picture of a frame down when the card has written it back.
    pub(super) fn watch_writeback(&mut self, frame: Option<u64>) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        writeback.number(frame);
        self.await_writeback(1);
    }

    /// Waits for the picture that was asked for last, `attempt` times until now.
    fn await_writeback(&mut self, attempt: u32) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let Some(request) = writeback.outstanding() else {
            return;
        };
        let Some(fence) = writeback.take_fence() else {
            self.look_at_writeback();
            return;
        };
        let source = Generic::new(fence, Interest::READ, CalloopMode::Level);
        let watched = self.handle.insert_source(source, move |_, _, state| {
            state.look_at_writeback();
            Ok(PostAction::Remove)
        });
        let timer = Timer::from_duration(WRITEBACK_PATIENCE);
        let timed = self
            .handle
            .insert_source(timer, move |_, (), state: &mut Self| {
                state.writeback_is_late(request, attempt)
            });
        if watched.is_err() || timed.is_err() {
            self.fail(anyhow::anyhow!(
                "a picture that is written back cannot be waited for"
            ));
        }
    }

    fn look_at_writeback(&mut self) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let before = cpu_traffic();
        let looked = writeback.look();
        self.screen.copy_counter.exclude(before);
        match looked {
            Ok(false) => {}
            Ok(true) => {
                let timer = Timer::from_duration(self.screen.mode().period());
                let rest = self.handle.insert_source(timer, |_, (), state: &mut Self| {
                    if let Some(writeback) = state.screen.writeback() {
                        writeback.rested();
                    }
                    TimeoutAction::Drop
                });
                if let Err(error) = rest {
                    self.fail(anyhow::anyhow!("the card cannot rest: {}", error.error));
                }
            }
            // It is looked at again, and asked for again if need be, when it is late.
            Err(error) if FaultKind::of_io(&error).is_transient() => {
                tracing::warn!(%error, "a picture that was written back is read later");
            }
            Err(error) => {
                self.fail(anyhow::Error::new(error).context("a picture cannot be written back"));
            }
        }
    }

    /// Asks again for a picture that did not come.
    fn writeback_is_late(&mut self, request: u64, attempt: u32) -> TimeoutAction {
        let Some(kms) = self.screen.backend.kms() else {
            return TimeoutAction::Drop;
        };
        if kms
            .writeback()
            .and_then(|writeback| writeback.outstanding())
            != Some(request)
        {
            return TimeoutAction::Drop;
        }
        if attempt >= WRITEBACK_ATTEMPTS {
            self.fail(anyhow::anyhow!(
                "the card writes no picture back, asked {attempt} times"
            ));
            return TimeoutAction::Drop;
        }
        // It may have been written, and not been readable then.
        self.look_at_writeback();
        let Some(kms) = self.screen.backend.kms() else {
            return TimeoutAction::Drop;
        };
        if kms
            .writeback()
            .is_none_or(|writeback| writeback.outstanding().is_none())
        {
            return TimeoutAction::Drop;
        }
        if !kms.resubmit_for_writeback() {
            return TimeoutAction::ToDuration(WRITEBACK_PATIENCE);
        }
        self.watch_flip();
        tracing::info!(attempt, "a picture is asked for again: the card lost it");
        self.await_writeback(attempt.saturating_add(1));
        TimeoutAction::Drop
    }
}
