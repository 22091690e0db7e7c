//! Feedback as a client receives it.

use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_feedback_v1::Event;

use crate::feedback::{Collector, Feedback, FeedbackError};
use crate::table::{FormatTable, TableError};

/// Why feedback of a compositor cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Its format table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Its parts do not hold together.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
}

impl Collector {
    /// Takes one event; returns the feedback when the event was the last of it.
    ///
    /// # Errors
    ///
    /// [`CollectError`] when the compositor sends what cannot be true; the collector can be used again for what it sends next.
    pub fn event(&mut self, event: Event) -> Result<Option<Feedback>, CollectError> {
        match event {
            Event::FormatTable { fd, size } => self.format_table(FormatTable::receive(&fd, size)?),
            Event::MainDevice { device } => self.main_device(&device)?,
            Event::TrancheTargetDevice { device } => self.tranche_target_device(&device)?,
            Event::TrancheFormats { indices } => self.tranche_formats(&indices)?,
            Event::TrancheFlags { flags } => self.tranche_flags(u32::from(flags)),
            Event::TrancheDone => self.tranche_done()?,
            Event::Done => return Ok(Some(self.done()?)),
            // Events of later protocol versions, which this client did not ask for.
            _ => {}
        }
        Ok(None)
    }
}
