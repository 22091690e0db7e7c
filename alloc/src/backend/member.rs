//! An open device that takes part in a [`BufferCollection`](crate::collection::BufferCollection).

use std::fmt;

use super::{Allocated, BackendError, Owner};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// Who shares a buffer: an open queue, plane, card or GPU, or a [`Participant`] as plain data.
pub trait Member {
    /// What an import of the buffers is: a stream, framebuffers, images.
    type Imported;

    /// Declares what it takes for pictures of `extent`, in pixels, and the memory of its own that it can give.
    ///
    /// With `fourcc` it need only say what it takes in that format.
    ///
    /// # Errors
    /// [`BackendError`] where the device does not answer.
    fn join(&self, extent: Extent, fourcc: Option<Fourcc>) -> Result<Joined, BackendError>;

    /// Imports the buffers of a plan, each at its index. `owner` is what their memory belongs to where that is more than the
    /// buffers; an import that is the owner itself takes it.
    ///
    /// # Errors
    /// [`BackendError`] where the device refuses one of them. None stays imported then.
    fn import(
        &self,
        buffers: &[Buffer],
        owner: &mut Option<Box<dyn Owner>>,
    ) -> Result<Self::Imported, BackendError>;
}

/// What a member declares.
pub struct Joined {
    /// What it takes.
    pub participant: Participant,
    /// The memory of its own that it can give, with who allocates it.
    pub memory: Option<(Source, Box<dyn OwnMemory>)>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.as_ref().map(|(source, _)| source);
        out.debug_struct("Joined")
            .field("participant", &self.participant)
            .field("memory", &memory)
            .finish()
    }
}

/// Allocates from the memory of a member that is open.
pub trait OwnMemory {
    /// Allocates the buffers of a plan.
    ///
    /// # Errors
    /// [`BackendError`]. Nothing stays allocated then.
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError>;
}

/// A participant as plain data takes part and imports nothing here: a compositor, or a device of another process.
impl Member for Participant {
    type Imported = ();

    fn join(&self, _: Extent, _: Option<Fourcc>) -> Result<Joined, BackendError> {
        Ok(Joined {
            participant: self.clone(),
            memory: None,
        })
    }

    fn import(&self, _: &[Buffer], _: &mut Option<Box<dyn Owner>>) -> Result<(), BackendError> {
        Ok(())
    }
}
