//! A GBM device as a member of a collection. An import makes a GBM buffer object (`gbm_bo`) of each buffer.

use super::{Gbm, Imported};
use crate::backend::{Allocated, BackendError, Member, MemberAllocator, MemberDeclaration, Owner};
use crate::buffer::Buffer;
use crate::constraint::FormatSet;
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// A GBM device with the formats and modifiers to query, as a member of a collection; see [`Gbm::with_formats`].
#[derive(Clone, Debug)]
pub struct GbmMember {
    gbm: Gbm,
    candidates: FormatSet,
}

impl Gbm {
    /// Returns the device as a member of a collection that imports buffers in the `candidates` that it supports.
    ///
    /// GBM has no list of formats and modifiers. Pass those of a display
    /// ([`Card::listed_formats`](crate::backend::drm::Card::listed_formats)), or [`Gbm::linear_candidates`].
    #[must_use]
    pub fn with_formats(&self, candidates: FormatSet) -> GbmMember {
        GbmMember {
            gbm: self.clone(),
            candidates,
        }
    }
}

impl Member for GbmMember {
    type Imported = Vec<Imported>;

    fn join(&self, extent: Extent, _: Option<Fourcc>) -> Result<MemberDeclaration, BackendError> {
        let formats = self.gbm.formats(&self.candidates);
        let memory = self.gbm.source_of_size(&formats, extent).map(|source| {
            let own: Box<dyn MemberAllocator> = Box::new(self.gbm.clone());
            (source, own)
        });
        Ok(MemberDeclaration {
            participant: self.gbm.participant(&self.gbm.imports(&self.candidates)),
            memory,
        })
    }

    fn import(
        &self,
        buffers: &[Buffer],
        _: &mut Option<Box<dyn Owner>>,
    ) -> Result<Vec<Imported>, BackendError> {
        let imported = buffers.iter().map(|buffer| self.gbm.import(buffer));
        Ok(imported.collect::<Result<_, _>>()?)
    }
}

impl MemberAllocator for Gbm {
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError> {
        Ok(Allocated::of(Gbm::allocate(self, plan)?))
    }
}
