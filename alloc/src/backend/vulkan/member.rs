//! A Vulkan device as a member of a collection, for images with one purpose. An import creates an image of each buffer.

use super::{Gpu, Image, Purpose};
use crate::backend::{Allocated, BackendError, Member, MemberAllocator, MemberDeclaration, Owner};
use crate::buffer::Buffer;
use crate::model::{Extent, Fourcc};
use crate::solve::Plan;

/// A Vulkan device as a member of a collection, which uses its images for one purpose; see [`Gpu::for_purpose`].
#[derive(Clone, Debug)]
pub struct GpuMember {
    gpu: Gpu,
    purpose: Purpose,
}

impl Gpu {
    /// Returns the device as a member of a collection that uses its images for `purpose`: it samples them, renders to them or
    /// copies them.
    #[must_use]
    pub fn for_purpose(&self, purpose: Purpose) -> GpuMember {
        GpuMember {
            gpu: self.clone(),
            purpose,
        }
    }
}

impl Member for GpuMember {
    type Imported = Vec<Image>;

    fn join(
        &self,
        extent: Extent,
        fourcc: Option<Fourcc>,
    ) -> Result<MemberDeclaration, BackendError> {
        let memory = self.gpu.source_of_size(extent)?.map(|source| {
            let own: Box<dyn MemberAllocator> = Box::new(self.gpu.clone());
            (source, own)
        });
        Ok(MemberDeclaration {
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

impl MemberAllocator for Gpu {
    fn allocate(&self, plan: &Plan) -> Result<Allocated, BackendError> {
        Ok(Allocated::of(Gpu::allocate(self, plan)?))
    }
}
