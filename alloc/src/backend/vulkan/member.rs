//! A Vulkan device in a collection, for one purpose: an import is an image for each buffer.

use super::{Gpu, Image, Purpose};
use crate::backend::{Allocated, BackendError, Joined, Member, OwnMemory, Owner};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// A Vulkan device that does one thing with its images; see [`Gpu::for_purpose`].
#[derive(Clone, Debug)]
pub struct GpuUse {
    gpu: Gpu,
    purpose: Purpose,
}

impl Gpu {
    /// Returns the device as a member of a collection that samples, draws or copies the images.
    #[must_use]
    pub fn for_purpose(&self, purpose: Purpose) -> GpuUse {
        GpuUse {
            gpu: self.clone(),
            purpose,
        }
    }
}

impl Member for GpuUse {
    type Imported = Vec<Image>;

    fn join(&self, extent: Extent, fourcc: Option<Fourcc>) -> Result<Joined, BackendError> {
        let memory = self.gpu.source_of_size(extent)?.map(|source| {
            let own: Box<dyn OwnMemory> = Box::new(self.gpu.clone());
            (source, own)
        });
        Ok(Joined {
            participant: self.gpu.participant_for(self.purpose, extent, fourcc)?,
            memory,
        })
    }

    fn import(
        &self,
        buffers: &[Buffer],
        _: &mut Option<Box<dyn Owner>>,
    ) -> Result<Vec<Image>, BackendError> {
        let images = buffers
            .iter()
            .map(|buffer| self.gpu.import_for(self.purpose, buffer));
        Ok(images.collect::<Result<_, _>>()?)
    }
}

impl OwnMemory for Gpu {
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError> {
        Ok(Allocated::of(Gpu::allocate(self, plan)?))
    }
}
