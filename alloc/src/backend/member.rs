//! Open devices as members of a [`BufferCollection`](crate::collection::BufferCollection).

use std::fmt;

use super::{Allocated, BackendError, Owner};
use crate::buffer::Buffer;
use crate::constraint::{Participant, Source};
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// A member of a collection, which uses the buffers of the collection: an open V4L2 queue, plane, card or GPU, or a
/// [`Participant`] as plain data.
pub trait Member {
    /// The result of an import of the buffers: a stream, framebuffers or images.
    type Imported;

    /// Declares the member's constraints for images of `extent`, in pixels. If the member can allocate memory itself, the memory
    /// is declared as a source.
    ///
    /// If `fourcc` is given, the declaration may be limited to that format.
    ///
    /// # Errors
    /// [`BackendError`] if a query of the device fails.
    fn join(
        &self,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<MemberDeclaration, BackendError>;

    /// Imports the buffers of a plan, each at its index. `owner` is the owner of their memory, if the buffers do not own it. A
    /// V4L2 queue that allocated the buffers takes its stream out of `owner` and returns it as its import.
    ///
    /// # Errors
    /// [`BackendError`] if the import of a buffer fails. After an error no buffer stays imported.
    fn import(
        &self,
        buffers: &[Buffer],
        owner: &mut Option<Box<dyn Owner>>,
    ) -> Result<Self::Imported, BackendError>;
}

/// The declaration of a member.
pub struct MemberDeclaration {
    /// The constraints of the member.
    pub participant: Participant,
    /// The memory that the member can allocate, with its allocator.
    pub memory: Option<(Source, Box<dyn MemberAllocator>)>,
}

impl fmt::Debug for MemberDeclaration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.as_ref().map(|(source, _)| source);
        out.debug_struct("MemberDeclaration")
            .field("participant", &self.participant)
            .field("memory", &memory)
            .finish()
    }
}

/// Allocates buffers from the memory of an open member, such as a V4L2 queue.
pub trait MemberAllocator {
    /// Allocates the buffers of a plan.
    ///
    /// # Errors
    /// [`BackendError`]. After an error nothing stays allocated.
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError>;
}

/// A [`Participant`] as plain data represents a compositor, or a device of another process, so it imports nothing in this
/// process.
impl Member for Participant {
    type Imported = ();

    fn join(&self, _: Extent, _: Option<Fourcc>) -> Result<MemberDeclaration, BackendError> {
        Ok(MemberDeclaration {
            participant: self.clone(),
            memory: None,
        })
    }

    fn import(&self, _: &[Buffer], _: &mut Option<Box<dyn Owner>>) -> Result<(), BackendError> {
        Ok(())
    }
}
