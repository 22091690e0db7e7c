//! A GBM device in a collection: an import is a GBM buffer object for each buffer.

use super::{Gbm, Imported};
use crate::backend::{Allocated, BackendError, Joined, Member, OwnMemory, Owner};
use crate::buffer::Buffer;
use crate::constraint::FormatSet;
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// A GBM device with the pairs of format and modifier that it is asked for; see [`Gbm::with_formats`].
#[derive(Clone, Debug)]
pub struct GbmUse {
    gbm: Gbm,
    candidates: FormatSet,
}

impl Gbm {
    /// Returns the device as a member of a collection that imports buffers in any of `candidates` that it knows.
    ///
    /// GBM lists nothing by itself: name what a display shows ([`Card::listed_formats`](crate::backend::drm::Card::listed_formats)),
    /// or [`Gbm::linear_candidates`].
    #[must_use]
    pub fn with_formats(&self, candidates: FormatSet) -> GbmUse {
        GbmUse {
            gbm: self.clone(),
            candidates,
        }
    }
}

impl Member for GbmUse {
    type Imported = Vec<Imported>;

    fn join(&self, extent: Extent, _: Option<Fourcc>) -> Result<Joined, BackendError> {
        let formats = self.gbm.formats(&self.candidates);
        let memory = self.gbm.source_of_size(&formats, extent).map(|source| {
            let own: Box<dyn OwnMemory> = Box::new(self.gbm.clone());
            (source, own)
        });
        Ok(Joined {
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

impl OwnMemory for Gbm {
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError> {
        Ok(Allocated::of(Gbm::allocate(self, plan)?))
    }
}
