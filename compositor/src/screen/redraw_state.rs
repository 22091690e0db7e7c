//! The redraw state of an output.
//!
//! ```text
//!             commit                  deadline: submitted              page flip
//!   Idle ───────────────▶ Queued ─────────────────────────▶ WaitingForFlip ──────▶ Idle, or Queued after a commit meanwhile
//!    ▲                      │ deadline: nothing has changed
//!    └── EstimatedVblank ◀────┘
//! ```
//!
//! A state that needs a timer stores the timer's token, so an idle output has no timer.

use std::time::Duration;

use super::Frame;
use super::feedback::Feedback;
use super::frame_clock::Slot;
use crate::event_loop::{LoopHandle, TimerToken};

/// The redraw state of an output.
#[derive(Debug, Default)]
pub(super) enum RedrawState {
    /// The display shows the current scene, and no redraw is needed.
    #[default]
    Idle,
    /// The scene has changed, or may have changed.
    Queued(Queued),
    /// A frame was submitted and is not on the display yet.
    WaitingForFlip(Box<Flight>),
    /// Nothing had changed at the deadline, so no frame was submitted. Clients that requested presentation feedback receive it at
    /// the time at which the frame would have been shown.
    EstimatedVblank(EstimatedVblank),
}

/// A redraw that is queued.
#[derive(Debug)]
pub(super) enum Queued {
    /// The deadline of the frame was not computed yet.
    New,
    /// A timer runs until the deadline, or until the next attempt to submit a rejected frame.
    Scheduled(TimerToken),
    /// The frame is drawn at the end of this event-loop iteration, for the refresh in the slot. With `None`, for example when a
    /// rejected frame is retried, it is drawn for the next refresh without a frame.
    Due(Option<Slot>),
}

/// A submitted frame whose page flip was not reported yet.
#[derive(Debug)]
pub(super) struct Flight {
    /// The frame; `None` if the frame on the display was submitted again for its writeback.
    pub(super) frame: Option<Frame>,
    /// The time of the refresh for which the frame was drawn.
    pub(super) target: Duration,
    /// The time at which the frame was submitted.
    pub(super) since: Duration,
    /// The timer for the page-flip timeout.
    pub(super) timeout: TimerToken,
    /// Whether the scene has changed since the frame was submitted.
    pub(super) redraw_needed: bool,
}

/// A refresh for which no frame was submitted.
#[derive(Debug)]
pub(super) struct EstimatedVblank {
    /// The presentation feedback of the commits that changed nothing.
    pub(super) feedback: Feedback,
    /// The predicted time of the refresh.
    pub(super) target: Duration,
    /// The timer that expires at the refresh and ends the state.
    pub(super) timer: TimerToken,
    /// Whether the scene has changed since the deadline.
    pub(super) redraw_needed: bool,
}

impl RedrawState {
    /// Queues a redraw. If a frame is in flight, the redraw follows after its page flip.
    pub(super) fn queue(&mut self) {
        match self {
            Self::Idle => *self = Self::Queued(Queued::New),
            Self::Queued(_) => {}
            Self::WaitingForFlip(flight) => flight.redraw_needed = true,
            Self::EstimatedVblank(flip) => flip.redraw_needed = true,
        }
    }

    /// Returns whether the scene may have changed since the last submitted frame.
    pub(super) fn needs_redraw(&self) -> bool {
        match self {
            Self::Idle => false,
            Self::Queued(_) => true,
            Self::WaitingForFlip(flight) => flight.redraw_needed,
            Self::EstimatedVblank(flip) => flip.redraw_needed,
        }
    }

    /// Returns the frame in flight, if there is one.
    pub(super) fn flight(&self) -> Option<&Flight> {
        match self {
            Self::WaitingForFlip(flight) => Some(flight),
            _ => None,
        }
    }

    /// Ends the wait for the page flip of the frame in flight, and removes its timer.
    pub(super) fn end_flight(&mut self, handle: &LoopHandle) -> Option<Box<Flight>> {
        self.flight()?;
        let Self::WaitingForFlip(flight) = std::mem::take(self) else {
            return None;
        };
        handle.remove_timer(flight.timeout);
        if flight.redraw_needed {
            self.queue();
        }
        Some(flight)
    }

    /// Ends the state [`EstimatedVblank`](Self::EstimatedVblank). The caller removes the timer, unless it has just expired.
    pub(super) fn end_estimated_vblank(&mut self) -> Option<EstimatedVblank> {
        let Self::EstimatedVblank(_) = self else {
            return None;
        };
        let Self::EstimatedVblank(flip) = std::mem::take(self) else {
            return None;
        };
        if flip.redraw_needed {
            self.queue();
        }
        Some(flip)
    }

    /// Changes to a state without timers. The timers of the previous state are removed.
    pub(super) fn replace(&mut self, handle: &LoopHandle, next: Self) -> Self {
        let before = std::mem::replace(self, next);
        let timer = match &before {
            Self::Queued(Queued::Scheduled(timer)) => Some(*timer),
            Self::WaitingForFlip(flight) => Some(flight.timeout),
            Self::EstimatedVblank(flip) => Some(flip.timer),
            _ => None,
        };
        if let Some(timer) = timer {
            handle.remove_timer(timer);
        }
        before
    }
}
