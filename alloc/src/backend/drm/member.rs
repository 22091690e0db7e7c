//! Implements [`Member`] for a plane, and for a card as a display. An import makes a framebuffer of each buffer.

use super::{Card, CardPlane, Framebuffer};
use crate::backend::{BackendError, Member, MemberDeclaration, Owner};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc};

impl Member for CardPlane {
    type Imported = Vec<Framebuffer>;

    fn join(&self, _: Extent, _: Option<Fourcc>) -> Result<MemberDeclaration, BackendError> {
        Ok(MemberDeclaration {
            participant: self.participant()?,
            memory: None,
        })
    }

    fn import(
        &self,
        buffers: &[Buffer],
        _: &mut Option<Box<dyn Owner>>,
    ) -> Result<Vec<Framebuffer>, BackendError> {
        framebuffers(self.card(), buffers)
    }
}

/// A card as a member of a collection is a display: it declares its first primary plane, or its PRIME import if it has no planes.
impl Member for Card {
    type Imported = Vec<Framebuffer>;

    fn join(&self, _: Extent, _: Option<Fourcc>) -> Result<MemberDeclaration, BackendError> {
        Ok(MemberDeclaration {
            participant: self.display()?,
            memory: None,
        })
    }

    fn import(
        &self,
        buffers: &[Buffer],
        _: &mut Option<Box<dyn Owner>>,
    ) -> Result<Vec<Framebuffer>, BackendError> {
        framebuffers(self, buffers)
    }
}

fn framebuffers(card: &Card, buffers: &[Buffer]) -> Result<Vec<Framebuffer>, BackendError> {
    let made = buffers.iter().map(|buffer| card.framebuffer(buffer));
    Ok(made.collect::<Result<_, _>>()?)
}
