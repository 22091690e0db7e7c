//! Queue family ownership transfers of an image between this device and all others, as barriers that an application records.
//!
//! A dma-buf that several devices use as an image is owned by one of them at a time. A device *acquires* the image before its
//! first use and *releases* it after its last use. Between release and acquire the image is owned by a queue family outside of
//! this Vulkan instance, [`Gpu::external_family`]: VK_QUEUE_FAMILY_FOREIGN_EXT if the device has enabled
//! VK_EXT_queue_family_foreign, otherwise VK_QUEUE_FAMILY_EXTERNAL. The image has the layout GENERAL in between, because a
//! dma-buf carries no layout and all devices must agree on one.
//!
//! An ownership transfer is not a wait. The submission that acquires the image waits for the fence of the previous owner, and the
//! submission that releases it signals a fence, for which the next owner waits ([`Submission`](super::Submission),
//! [`Semaphore`](super::Semaphore)).
//!
//! ```text
//! other device                     this device
//! release, signals fence ──fence─▶ submission waits: acquire barrier, commands, release barrier; signals fence ──▶ next owner
//! ```
//!
//! | field | acquire | release |
//! | --- | --- | --- |
//! | queue families | external to own | own to external |
//! | first scope | ALL_COMMANDS, no access: after the semaphores that the submission waits for | the application's stages and access |
//! | second scope | the application's stages and access | BOTTOM_OF_PIPE, no access |
//!
//! # References
//! Vulkan, "Queue Family Ownership Transfer" and "External Resource Sharing". The barriers comply with
//! VUID-VkImageMemoryBarrier2-srcQueueFamilyIndex-04070 (one family is the device's own), VUID-VkImageMemoryBarrier2-image-04072
//! (the image has exclusive sharing mode, and the other family is a special one) and VUID-VkImageMemoryBarrier2-image-01671 and
//! -01672 (COLOR for an image in one dma-buf, planes for a disjoint image). [`Image::acquire`] and [`Image::release`] check
//! VUID-VkImageMemoryBarrier2-newLayout-01198 and -oldLayout-01208 to -01213 (the layout is valid for the image's usage). The
//! application ensures that the old layout is the current one (-oldLayout-01197). VUID-VkImageMemoryBarrier has the same numbers.

mod access;
mod sys;

use std::fmt;

use ash::vk;

use super::{Gpu, Image, VulkanError};
use access::refusal;
pub use access::{Contents, ImageAccess};

/// A queue family ownership transfer of an image: one image memory barrier, or one for each plane of a disjoint image.
///
/// An engine that batches its barriers adds [`OwnershipTransfer::barriers`] or [`OwnershipTransfer::barriers2`] to its own
/// vkCmdPipelineBarrier and combines the stages; other applications call [`OwnershipTransfer::record`].
#[derive(Clone)]
pub struct OwnershipTransfer {
    barriers: Vec<vk::ImageMemoryBarrier<'static>>,
    src_stages: vk::PipelineStageFlags,
    dst_stages: vk::PipelineStageFlags,
}

impl fmt::Debug for OwnershipTransfer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OwnershipTransfer")
            .field("barriers", &self.barriers.len())
            .field("src_stages", &self.src_stages.as_raw())
            .field("dst_stages", &self.dst_stages.as_raw())
            .finish()
    }
}

impl OwnershipTransfer {
    /// Returns the barriers, for vkCmdPipelineBarrier with [`OwnershipTransfer::src_stages`] and
    /// [`OwnershipTransfer::dst_stages`].
    ///
    /// The barriers contain the queue family of the device's queue ([`Gpu::queue_family`]). An application that records for
    /// another queue of its device replaces it with that queue's family.
    pub fn barriers(&self) -> &[vk::ImageMemoryBarrier<'static>] {
        &self.barriers
    }

    /// Returns the same barriers for vkCmdPipelineBarrier2, with their stages.
    #[must_use]
    pub fn barriers2(&self) -> Vec<vk::ImageMemoryBarrier2<'static>> {
        let stages = |of: vk::PipelineStageFlags| {
            // As the second synchronization scope, BOTTOM_OF_PIPE is equivalent to NONE.
            if of == vk::PipelineStageFlags::BOTTOM_OF_PIPE {
                vk::PipelineStageFlags2::NONE
            } else {
                vk::PipelineStageFlags2::from_raw(of.as_raw().into())
            }
        };
        let access = |of: vk::AccessFlags| vk::AccessFlags2::from_raw(of.as_raw().into());
        self.barriers
            .iter()
            .map(|barrier| {
                vk::ImageMemoryBarrier2::default()
                    .src_stage_mask(stages(self.src_stages))
                    .src_access_mask(access(barrier.src_access_mask))
                    .dst_stage_mask(stages(self.dst_stages))
                    .dst_access_mask(access(barrier.dst_access_mask))
                    .old_layout(barrier.old_layout)
                    .new_layout(barrier.new_layout)
                    .src_queue_family_index(barrier.src_queue_family_index)
                    .dst_queue_family_index(barrier.dst_queue_family_index)
                    .image(barrier.image)
                    .subresource_range(barrier.subresource_range)
            })
            .collect()
    }

    /// Returns the source stages of the barriers.
    #[must_use]
    pub fn src_stages(&self) -> vk::PipelineStageFlags {
        self.src_stages
    }

    /// Returns the destination stages of the barriers.
    #[must_use]
    pub fn dst_stages(&self) -> vk::PipelineStageFlags {
        self.dst_stages
    }
}

/// The two queue families of an ownership transfer.
struct QueueFamilies {
    own: u32,
    external: u32,
}

const PLANES: [vk::ImageAspectFlags; 3] = [
    vk::ImageAspectFlags::PLANE_0,
    vk::ImageAspectFlags::PLANE_1,
    vk::ImageAspectFlags::PLANE_2,
];

/// Returns one barrier for the whole image, or one for each plane of a disjoint image. `template` has the layouts, the access
/// masks and the queue families.
fn barriers(
    image: vk::Image,
    disjoint_planes: Option<usize>,
    template: vk::ImageMemoryBarrier<'static>,
) -> Vec<vk::ImageMemoryBarrier<'static>> {
    let whole = [vk::ImageAspectFlags::COLOR];
    let aspects =
        disjoint_planes.map_or(&whole[..], |count| PLANES.get(..count).unwrap_or(&PLANES));
    aspects
        .iter()
        .map(|aspect| {
            template.image(image).subresource_range(
                vk::ImageSubresourceRange::default()
                    .aspect_mask(*aspect)
                    .level_count(1)
                    .layer_count(1),
            )
        })
        .collect()
}

/// Makes the barriers that acquire the image from the external queue family, before the access `first`.
fn acquire(
    image: vk::Image,
    disjoint_planes: Option<usize>,
    families: &QueueFamilies,
    first: ImageAccess,
    contents: Contents,
) -> OwnershipTransfer {
    let template = vk::ImageMemoryBarrier::default()
        .old_layout(match contents {
            Contents::Keep => vk::ImageLayout::GENERAL,
            Contents::Discard => vk::ImageLayout::UNDEFINED,
        })
        .new_layout(first.layout)
        .dst_access_mask(first.access)
        .src_queue_family_index(families.external)
        .dst_queue_family_index(families.own);
    OwnershipTransfer {
        barriers: barriers(image, disjoint_planes, template),
        // The source stage is ALL_COMMANDS, because a submission can wait for its semaphores in any stage: with TOP_OF_PIPE the
        // barrier could be executed before the wait.
        src_stages: vk::PipelineStageFlags::ALL_COMMANDS,
        dst_stages: first.stages,
    }
}

/// Makes the barriers that release the image to the external queue family, after the access `last`.
fn release(
    image: vk::Image,
    disjoint_planes: Option<usize>,
    families: &QueueFamilies,
    last: ImageAccess,
) -> OwnershipTransfer {
    let template = vk::ImageMemoryBarrier::default()
        .old_layout(last.layout)
        .new_layout(vk::ImageLayout::GENERAL)
        .src_access_mask(last.access)
        .src_queue_family_index(families.own)
        .dst_queue_family_index(families.external);
    OwnershipTransfer {
        barriers: barriers(image, disjoint_planes, template),
        src_stages: last.stages,
        dst_stages: vk::PipelineStageFlags::BOTTOM_OF_PIPE,
    }
}

impl Image {
    /// Returns the barriers that acquire the image. `first` is the command buffer's first use of the image, before which the
    /// barriers are recorded. The submission must wait for the fence of the previous owner.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`] for a layout that the image's usage does not allow.
    ///
    /// # References
    /// [`OwnershipTransfer`]; VUID-VkImageMemoryBarrier2-oldLayout-01197 (after a release the image has the layout GENERAL).
    pub fn acquire(
        &self,
        first: ImageAccess,
        contents: Contents,
    ) -> Result<OwnershipTransfer, VulkanError> {
        self.check_access(first)?;
        Ok(acquire(
            self.raw.raw,
            self.disjoint_planes(),
            &self.gpu.families(),
            first,
            contents,
        ))
    }

    /// Returns the barriers that release the image. `last` is the command buffer's last use of the image, after which the
    /// barriers are recorded. The submission must signal the fence for which the next owner waits.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`] for a layout that the image's usage does not allow.
    pub fn release(&self, last: ImageAccess) -> Result<OwnershipTransfer, VulkanError> {
        self.check_access(last)?;
        Ok(release(
            self.raw.raw,
            self.disjoint_planes(),
            &self.gpu.families(),
            last,
        ))
    }

    /// Returns the number of planes of a disjoint image, whose planes are in separate dma-bufs; `None` for an image in one
    /// dma-buf.
    #[must_use]
    pub fn disjoint_planes(&self) -> Option<usize> {
        let dmabufs = self.buffer().dmabuf_count();
        (dmabufs > 1).then_some(dmabufs)
    }

    fn check_access(&self, access: ImageAccess) -> Result<(), VulkanError> {
        match refusal(access, self.usage) {
            None => Ok(()),
            Some(why) => Err(VulkanError::Unsuitable {
                device: self.gpu.name().to_owned(),
                extent: self.layout.extent(),
                format: self.layout.format(),
                why: why.to_owned(),
            }),
        }
    }
}

impl Gpu {
    /// Returns the device's queue family, and the external queue family.
    fn families(&self) -> QueueFamilies {
        QueueFamilies {
            own: self.queue_family(),
            external: self.external_family(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: QueueFamilies = QueueFamilies {
        own: 3,
        external: vk::QUEUE_FAMILY_FOREIGN_EXT,
    };

    #[test]
    fn acquire_transfers_from_the_foreign_family_and_release_to_it() {
        let image = vk::Image::null();
        let acquired = acquire(image, None, &FOREIGN, ImageAccess::SAMPLE, Contents::Keep);
        let [barrier] = acquired.barriers() else {
            panic!("{acquired:?}");
        };
        assert_eq!(barrier.src_queue_family_index, vk::QUEUE_FAMILY_FOREIGN_EXT);
        assert_eq!(barrier.dst_queue_family_index, 3);
        assert!(barrier.old_layout == vk::ImageLayout::GENERAL);
        assert!(barrier.new_layout == vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
        assert!(barrier.src_access_mask.is_empty());
        assert!(barrier.dst_access_mask == vk::AccessFlags::SHADER_READ);
        assert!(barrier.subresource_range.aspect_mask == vk::ImageAspectFlags::COLOR);
        assert!(acquired.src_stages() == vk::PipelineStageFlags::ALL_COMMANDS);

        let released = release(image, None, &FOREIGN, ImageAccess::RENDER);
        let [barrier] = released.barriers() else {
            panic!("{released:?}");
        };
        assert_eq!(barrier.src_queue_family_index, 3);
        assert_eq!(barrier.dst_queue_family_index, vk::QUEUE_FAMILY_FOREIGN_EXT);
        assert!(barrier.old_layout == vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL);
        assert!(barrier.new_layout == vk::ImageLayout::GENERAL);
        assert!(barrier.dst_access_mask.is_empty());
        assert!(released.src_stages() == vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT);
    }

    #[test]
    fn acquire_that_discards_has_the_old_layout_undefined() {
        let image = vk::Image::null();
        let acquired = acquire(
            image,
            None,
            &FOREIGN,
            ImageAccess::RENDER,
            Contents::Discard,
        );
        assert!(acquired.barriers()[0].old_layout == vk::ImageLayout::UNDEFINED);
        assert_eq!(acquired.barriers()[0].dst_queue_family_index, 3);
    }

    #[test]
    fn disjoint_image_has_a_barrier_for_each_plane() {
        let released = release(vk::Image::null(), Some(2), &FOREIGN, ImageAccess::SAMPLE);
        let aspects: Vec<u32> = released
            .barriers()
            .iter()
            .map(|barrier| barrier.subresource_range.aspect_mask.as_raw())
            .collect();
        let (luma, chroma) = (
            vk::ImageAspectFlags::PLANE_0.as_raw(),
            vk::ImageAspectFlags::PLANE_1.as_raw(),
        );
        assert_eq!(aspects, [luma, chroma]);
    }

    #[test]
    fn barriers2_are_equivalent_to_barriers() {
        let released = release(vk::Image::null(), None, &FOREIGN, ImageAccess::COPY_IN);
        let [barrier] = released.barriers2()[..] else {
            panic!("{released:?}");
        };
        assert!(barrier.src_stage_mask == vk::PipelineStageFlags2::TRANSFER);
        assert!(barrier.src_access_mask == vk::AccessFlags2::TRANSFER_WRITE);
        assert!(barrier.dst_stage_mask == vk::PipelineStageFlags2::NONE);
        assert!(barrier.dst_access_mask.is_empty());
        assert!(barrier.old_layout == vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        assert_eq!(barrier.src_queue_family_index, 3);
        let acquired = acquire(
            vk::Image::null(),
            None,
            &FOREIGN,
            ImageAccess::COPY_OUT,
            Contents::Keep,
        );
        assert!(acquired.barriers2()[0].src_stage_mask == vk::PipelineStageFlags2::ALL_COMMANDS);
    }
}
