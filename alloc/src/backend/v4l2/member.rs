//! A queue as a member of a collection. It declares its own memory (MMAP) as a source too, and an import of the buffers returns a
//! [`Stream`].

use std::any::Any;

use super::{Queue, Stream};
use crate::backend::{Allocated, BackendError, Member, MemberAllocator, MemberDeclaration, Owner};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

impl Member for Queue {
    type Imported = Stream;

    fn join(
        &self,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<MemberDeclaration, BackendError> {
        let participant = self.participant(extent, fourcc)?;
        let memory = self
            .source(&participant)?
            .map(|source| (source, Box::new(self.clone()) as Box<dyn MemberAllocator>));
        Ok(MemberDeclaration {
            participant,
            memory,
        })
    }

    /// Returns a stream with the buffers. If the queue itself allocated the buffers, this is the stream that owns them.
    fn import(
        &self,
        buffers: &[Buffer],
        owner: &mut Option<Box<dyn Owner>>,
    ) -> Result<Stream, BackendError> {
        let is_own = |owner: &dyn Any| {
            owner.downcast_ref::<Stream>().is_some_and(|stream| {
                let (one, two) = (stream.as_queue(), self);
                one.device().path() == two.device().path() && one.direction() == two.direction()
            })
        };
        if owner.as_ref().is_some_and(|owner| is_own(owner.as_ref())) {
            let owner_value: Option<Box<dyn Any>> = owner.take().map(|owner| owner as Box<dyn Any>);
            if let Some(Ok(stream)) = owner_value.map(|owner| owner.downcast::<Stream>()) {
                return Ok(*stream);
            }
        }
        Ok(Queue::import(self, buffers)?)
    }
}

impl MemberAllocator for Queue {
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError> {
        let stream = Queue::allocate(self, plan)?;
        Ok(Allocated {
            buffers: stream.buffers().to_vec(),
            owner: Some(Box::new(stream)),
        })
    }
}
