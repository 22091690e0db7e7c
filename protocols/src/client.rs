//! The client's side of dma-buf feedback: collects the events of `zwp_linux_dmabuf_feedback_v1`.

use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_feedback_v1::Event;

use crate::feedback::{Collector, Feedback, FeedbackError};
use crate::table::{FormatTable, TableError};

/// Why feedback of a compositor cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The format table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The events are not consistent, or there are too many.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
}

impl Collector {
    /// Adds one event, and returns the complete feedback after the `done` event.
    ///
    /// # Errors
    ///
    /// [`CollectError`] if the compositor sends protocol data that is not valid. The collector stays usable for the next
    /// feedback.
    ///
    /// # References
    ///
    /// `zwp_linux_dmabuf_feedback_v1` of `linux-dmabuf`.
    pub fn event(&mut self, event: Event) -> Result<Option<Feedback>, CollectError> {
        match event {
            Event::FormatTable { fd, size } => self.format_table(FormatTable::receive(&fd, size)?),
            Event::MainDevice { device } => self.main_device(&device)?,
            Event::TrancheTargetDevice { device } => self.tranche_target_device(&device)?,
            Event::TrancheFormats { indices } => self.tranche_formats(&indices)?,
            Event::TrancheFlags { flags } => self.tranche_flags(u32::from(flags)),
            Event::TrancheDone => self.tranche_done()?,
            Event::Done => return Ok(Some(self.done()?)),
            // There are no other events in the versions of the interface that this client binds.
            _ => {}
        }
        Ok(None)
    }
}
