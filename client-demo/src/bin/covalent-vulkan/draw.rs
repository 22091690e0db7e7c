//! One frame: drawn into a buffer that nobody has, shown, and given back by device and compositor.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncLanguage;
use covalent_alloc::sync::{Behind, Fence, Past, Point, Told, tell};
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{HandOverError, Produce};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit::ExplicitError;
use covalent_client_demo::pattern::NUMBERS;

use crate::camera::Camera;
use crate::render::Frame;
use crate::show::Show;
use crate::turns::{Completion, Given};

/// Frames that a GPU is given at a time.
const AHEAD: usize = 2;
/// A frame between its drawing and its end.
pub(crate) struct Turn {
    /// Of the buffer.
    number: usize,
    /// What is committed when it is drawn; nothing where it is committed already.
    is_late: bool,
    /// The camera's buffer that it is drawn from.
    picture: Option<usize>,
    timestamp: Option<Duration>,
    begun: Duration,
}

impl Show<'_> {
    /// The number that the next frame shows.
    pub(crate) fn frame_number(&self) -> u32 {
        let drawn = u32::try_from(self.drawn % u64::from(NUMBERS)).unwrap_or_default();
        self.options.first.wrapping_add(drawn) % NUMBERS
    }

    /// Draws the next frame, where it is time, there is something to draw, and somewhere to draw it.
    pub(crate) fn draw(&mut self) -> Result<(), Failure> {
        let ahead = match self.turns.completion() {
            Completion::HelperThread => 1,
            Completion::SyncFile => AHEAD,
        };
        let has_picture = self.camera.as_ref().is_none_or(Camera::has_picture);
        let is_time = self.wanted && has_picture && self.may_draw();
        if !is_time || self.turns.under_way() >= ahead {
            return Ok(());
        }
        let shown = self.frame_number();
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let Some(place) = chain.free() else {
            return Ok(());
        };
        let number = chain.number(place);
        let buffer = chain.buffer(place).cloned();
        let buffer = buffer.context("a buffer").map_err(lost)?;
        let after = match chain.draw(place).map_err(kept)? {
            Produce::Now(after) => told(&buffer, &after)?,
            Produce::Wait(wait) => {
                // The compositor's GPU still reads it.
                chain.frame_trace.wait_started(place, now());
                return self
                    .events
                    .idle(wait, number)
                    .map_err(exit_code::compositor_failure);
            }
        };
        let picture = self.camera.as_mut().and_then(Camera::take_picture);
        let frame = match &self.camera {
            Some(camera) => Frame::of_camera(shown, chain.size(), camera.size()),
            None => Frame::of_scene(shown, chain.size()),
        };
        let target = chain.target(place).context("a target").map_err(lost)?;
        let texture = picture.as_ref().map(|(_, texture)| texture);
        let recorded = self
            .renderer
            .record(target, &frame, texture)
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        // A driver that hands out no fence leaves nothing that a reader of the dma-buf would wait for, and what has to be copied
        // to the host has to be there first.
        let has_no_fence = self.turns.completion() == Completion::HelperThread;
        let is_late = chain.copies.is_some() || has_no_fence && self.explicit.is_none();
        let captured = picture.map(|(frame, _)| frame);
        let turn = self.drawn;
        self.drawn = self.drawn.saturating_add(1);
        self.wanted = self.camera.is_some();
        self.under_way.insert(
            turn,
            Turn {
                number,
                is_late,
                picture: captured.map(|frame| frame.index),
                timestamp: captured
                    .filter(|frame| frame.is_monotonic)
                    .map(|frame| frame.timestamp),
                begun: now(),
            },
        );
        let (acquire, back) = if is_late {
            (None, None)
        } else {
            self.stamp(number)?
        };
        let given = Given {
            recorded,
            number: turn,
            after,
            acquire,
            buffer: &buffer,
        };
        let drawn = self.turns.give(&mut self.events, given)?;
        if is_late {
            return Ok(());
        }
        self.commit(turn, drawn, back)
    }

    /// Gives the surface the points of its next commit: the first is still to be signalled, and the buffer comes back behind the
    /// second.
    fn stamp(&mut self, number: usize) -> Result<(Option<Point>, Option<Behind>), Failure> {
        let Some(explicit) = &mut self.explicit else {
            return Ok((None, None));
        };
        let (acquire, release) = explicit.stamp_ahead(number).map_err(unstamped)?;
        let back = release.point().clone();
        self.events
            .release(release, number)
            .map_err(exit_code::compositor_failure)?;
        Ok((Some(acquire), Some(back.into())))
    }

    /// Shows what is drawn by now, or is when a moment is over.
    fn commit(
        &mut self,
        turn: u64,
        drawn: Option<Behind>,
        back: Option<Behind>,
    ) -> Result<(), Failure> {
        let Some(turn) = self.under_way.get(&turn) else {
            return Ok(());
        };
        let handle = self.events.handle();
        let configure = self.compositor.configure.unwrap_or_default();
        let mut chains = self.chain.iter_mut().chain(&mut self.retired);
        let (chain, place) = chains
            .find_map(|chain| Some((chain.place(turn.number)?, chain)))
            .map(|(place, chain)| (chain, place))
            .context("a chain of this buffer")
            .map_err(lost)?;
        if !chain.was_shown {
            chain.was_shown = true;
            self.window.fit(chain.size(), configure);
            self.imports_at_first_frame = self.renderer.imports();
        }
        chain.show(place, drawn, back).map_err(kept)?;
        let wl_buffer = chain
            .wl_buffer(place)
            .context("a wl_buffer")
            .map_err(lost)?;
        self.window.ask_frame(&handle);
        let frame = self.window.show(wl_buffer, &handle);
        let now = now();
        let from = turn.timestamp.unwrap_or(turn.begun);
        self.stats.committed(frame, Some(from), now);
        chain.frame_trace.committed(frame, place, Some(from), now);
        self.committed = self.committed.saturating_add(1);
        Ok(())
    }

    /// Hears that the device is done with a frame.
    pub(crate) fn over(&mut self, turn: u64) -> Result<(), Failure> {
        if !self.turns.over(turn)? {
            return Ok(());
        }
        let Some(done) = self.under_way.get(&turn) else {
            return Ok(());
        };
        let (number, is_late, picture) = (done.number, done.is_late, done.picture);
        if let (Some(index), Some(camera)) = (picture, &mut self.camera) {
            camera.give_back(index)?;
        }
        for chain in self.chain.iter().chain(&self.retired) {
            let Some(place) = chain.place(number) else {
                continue;
            };
            chain.frame_trace.signalled(place, now());
            if let Some(copies) = &chain.copies {
                copies
                    .update(place)
                    .map_err(|error| Failure::new(Exit::Unexpected, error))?;
            }
        }
        if is_late {
            let (acquire, back) = self.stamp(number)?;
            if let Some(acquire) = acquire {
                acquire
                    .signal()
                    .map_err(|error| Failure::new(Exit::Unexpected, error))?;
            }
            self.commit(turn, None, back)?;
        }
        self.under_way.remove(&turn);
        Ok(())
    }

    /// What the frames that were asked for leave to be drawn: the last one must not be replaced before it is seen.
    pub(crate) fn may_draw(&self) -> bool {
        let Some(frames) = self.options.frames else {
            return true;
        };
        let late = self.under_way.values().filter(|turn| turn.is_late).count();
        let coming = u64::try_from(late)
            .unwrap_or(u64::MAX)
            .saturating_add(self.stats.in_flight());
        if self.window.is_timed() {
            self.shown().saturating_add(coming) < frames
        } else {
            self.drawn < frames
        }
    }

    /// Hears that what a buffer was waited for is over.
    pub(crate) fn idle(&mut self, number: usize) {
        for chain in self.chains() {
            if let Some(place) = chain.place(number) {
                chain.idle(place);
                chain.frame_trace.wait_ended(place, now());
            }
        }
    }

    /// Hears that the compositor gave a buffer back.
    pub(crate) fn released(&mut self, number: usize) {
        for chain in self.chains() {
            let Some(place) = chain.place(number) else {
                continue;
            };
            chain.frame_trace.released(place, now());
            if let Err(error) = chain.released(place) {
                tracing::warn!("the compositor released what it did not hold: {error}");
            }
        }
    }
}

/// Makes one fence of what a GPU has to wait for before it draws to a buffer.
fn told(buffer: &Buffer, after: &[Past<Behind>]) -> Result<Option<Fence>, Failure> {
    let unexpected = |error| Failure::new(Exit::Unexpected, error);
    match tell(buffer, after, SyncLanguage::SyncFile, None).map_err(unexpected)? {
        Told::Nothing => Ok(None),
        Told::Fence(fence) => Ok(Some(fence)),
        // Only points that nobody has submitted are told later, and the compositor's were waited for.
        other => Err(Failure::new(
            Exit::Unexpected,
            anyhow!("a GPU cannot be told to wait for {other:?}"),
        )),
    }
}

fn kept(error: HandOverError) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context("a buffer is not where it should be"),
    )
}

fn lost(error: anyhow::Error) -> Failure {
    Failure::new(Exit::Unexpected, error.context("a swapchain lacks a part"))
}

/// Ends because a point cannot be had.
pub(crate) fn unstamped(error: ExplicitError) -> Failure {
    Failure::new(Exit::Unexpected, error)
}
