//! Ownership of an image between this device and everybody else, as barriers that an application records among its own.
//!
//! A dma-buf that is an image of several devices belongs to one of them at a time. A device *acquires* the image before it first
//! touches it and *releases* it after the last time. Between the two the image belongs to nobody of this Vulkan instance: the
//! queue family of the others is [`Gpu::outside_family`], VK_QUEUE_FAMILY_FOREIGN_EXT where the device has enabled
//! VK_EXT_queue_family_foreign, else VK_QUEUE_FAMILY_EXTERNAL. The layout between the two is GENERAL, on which all sides agree
//! because a dma-buf carries none.
//!
//! Who owns a buffer does not say when: the acquiring submission waits for the fence of whoever had the image before, and the
//! releasing one signals what the next one waits for ([`Submission`](super::Submission), [`Semaphore`](super::Semaphore)).
//!
//! | field | acquire | release |
//! | --- | --- | --- |
//! | queue families | outside to own | own to outside |
//! | layouts | GENERAL, or UNDEFINED to discard, to the application's | the application's to GENERAL |
//! | first scope | ALL_COMMANDS, no access: after the semaphores that the submission waits for | the application's stages and access |
//! | second scope | the application's stages and access | BOTTOM_OF_PIPE, no access |
//!
//! # References
//! Vulkan, "Queue Family Ownership Transfer" and "External Resource Sharing". The barriers keep
//! VUID-VkImageMemoryBarrier2-srcQueueFamilyIndex-04070 (one family is the device's own),
//! VUID-VkImageMemoryBarrier2-image-04072 (the image is of exclusive sharing, and the other family is a special one),
//! VUID-VkImageMemoryBarrier2-image-01671 and -01672 (COLOR for an image in one memory, planes for a disjoint one), and
//! [`Image::acquire`] and [`Image::release`] check VUID-VkImageMemoryBarrier2-newLayout-01198 and -oldLayout-01208 to -01213
//! (the layout suits the image's usage). That the old layout is the current one (-oldLayout-01197) is the application's part.
//! The same numbers stand under VUID-VkImageMemoryBarrier.

mod access;
mod sys;

use std::fmt;

use ash::vk;

use super::{Gpu, Image, VulkanError};
use access::refusal;
pub use access::{Contents, ImageAccess};

/// A transfer of ownership, to be recorded: one barrier, or one for each plane of a disjoint image.
///
/// An engine that batches its barriers takes [`OwnershipTransfer::barriers`] or [`OwnershipTransfer::barriers2`] into its own
/// vkCmdPipelineBarrier, with the stages that it joins; any other calls [`OwnershipTransfer::record`].
#[derive(Clone)]
pub struct OwnershipTransfer {
    barriers: Vec<vk::ImageMemoryBarrier<'static>>,
    first: vk::PipelineStageFlags,
    second: vk::PipelineStageFlags,
}

impl fmt::Debug for OwnershipTransfer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OwnershipTransfer")
            .field("barriers", &self.barriers.len())
            .field("src_stages", &self.first.as_raw())
            .field("dst_stages", &self.second.as_raw())
            .finish()
    }
}

impl OwnershipTransfer {
    /// The barriers, for vkCmdPipelineBarrier with [`OwnershipTransfer::src_stages`] and [`OwnershipTransfer::dst_stages`].
    ///
    /// The queue family in them is that of the device's queue ([`Gpu::queue_family`]). An application that records for another
    /// queue of its device puts that queue's family in its place.
    pub fn barriers(&self) -> &[vk::ImageMemoryBarrier<'static>] {
        &self.barriers
    }

    /// The same barriers for vkCmdPipelineBarrier2, whose stages are in them.
    #[must_use]
    pub fn barriers2(&self) -> Vec<vk::ImageMemoryBarrier2<'static>> {
        let stages = |of: vk::PipelineStageFlags| {
            // BOTTOM_OF_PIPE as a second scope is no stage at all.
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
                    .src_stage_mask(stages(self.first))
                    .src_access_mask(access(barrier.src_access_mask))
                    .dst_stage_mask(stages(self.second))
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

    /// The stages before the barriers.
    #[must_use]
    pub fn src_stages(&self) -> vk::PipelineStageFlags {
        self.first
    }

    /// The stages behind the barriers.
    #[must_use]
    pub fn dst_stages(&self) -> vk::PipelineStageFlags {
        self.second
    }
}

/// Who gives and who takes.
struct Families {
    own: u32,
    outside: u32,
}

const PLANES: [vk::ImageAspectFlags; 3] = [
    vk::ImageAspectFlags::PLANE_0,
    vk::ImageAspectFlags::PLANE_1,
    vk::ImageAspectFlags::PLANE_2,
];

/// One barrier for the whole image, or one for each plane of a disjoint one, with everything but scopes and families.
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

fn acquire(
    image: vk::Image,
    disjoint_planes: Option<usize>,
    families: &Families,
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
        .src_queue_family_index(families.outside)
        .dst_queue_family_index(families.own);
    OwnershipTransfer {
        barriers: barriers(image, disjoint_planes, template),
        // All stages, since the submission's semaphores may be waited for in any: with the top of the pipe alone the barrier
        // would not come after them.
        first: vk::PipelineStageFlags::ALL_COMMANDS,
        second: first.stages,
    }
}

fn release(
    image: vk::Image,
    disjoint_planes: Option<usize>,
    families: &Families,
    last: ImageAccess,
) -> OwnershipTransfer {
    let template = vk::ImageMemoryBarrier::default()
        .old_layout(last.layout)
        .new_layout(vk::ImageLayout::GENERAL)
        .src_access_mask(last.access)
        .src_queue_family_index(families.own)
        .dst_queue_family_index(families.outside);
    OwnershipTransfer {
        barriers: barriers(image, disjoint_planes, template),
        first: last.stages,
        second: vk::PipelineStageFlags::BOTTOM_OF_PIPE,
    }
}

impl Image {
    /// Takes the image over from whoever had it: the barriers that a command buffer records before it first uses the image as
    /// `first` says. The submission waits for the fence of whoever had it.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`] for a layout that the image's usage rules out.
    ///
    /// # References
    /// See [`OwnershipTransfer`] and VUID-VkImageMemoryBarrier2-oldLayout-01197: after a release the layout is GENERAL.
    pub fn acquire(
        &self,
        first: ImageAccess,
        contents: Contents,
    ) -> Result<OwnershipTransfer, VulkanError> {
        self.suits(first)?;
        Ok(acquire(
            self.raw.raw,
            self.disjoint_planes(),
            &self.gpu.families(),
            first,
            contents,
        ))
    }

    /// Hands the image over to everybody else: the barriers that a command buffer records after it last used the image as
    /// `last` says. The submission signals what the next owner waits for.
    ///
    /// # Errors
    /// [`VulkanError::Unsuitable`] for a layout that the image's usage rules out.
    pub fn release(&self, last: ImageAccess) -> Result<OwnershipTransfer, VulkanError> {
        self.suits(last)?;
        Ok(release(
            self.raw.raw,
            self.disjoint_planes(),
            &self.gpu.families(),
            last,
        ))
    }

    /// The planes of a disjoint image, each of which lies in a dma-buf of its own; `None` for an image in one dma-buf.
    #[must_use]
    pub fn disjoint_planes(&self) -> Option<usize> {
        let memories = self.buffer().dmabuf_count();
        (memories > 1).then_some(memories)
    }

    fn suits(&self, access: ImageAccess) -> Result<(), VulkanError> {
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
    fn families(&self) -> Families {
        Families {
            own: self.queue_family(),
            outside: self.outside_family(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: Families = Families {
        own: 3,
        outside: vk::QUEUE_FAMILY_FOREIGN_EXT,
    };

    #[test]
    fn acquire_goes_from_outside_to_the_own_family_and_release_back() {
        let image = vk::Image::null();
        let taken = acquire(image, None, &FOREIGN, ImageAccess::SAMPLE, Contents::Keep);
        let [barrier] = taken.barriers() else {
            panic!("{taken:?}");
        };
        assert_eq!(barrier.src_queue_family_index, vk::QUEUE_FAMILY_FOREIGN_EXT);
        assert_eq!(barrier.dst_queue_family_index, 3);
        assert!(barrier.old_layout == vk::ImageLayout::GENERAL);
        assert!(barrier.new_layout == vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
        assert!(barrier.src_access_mask.is_empty());
        assert!(barrier.dst_access_mask == vk::AccessFlags::SHADER_READ);
        assert!(barrier.subresource_range.aspect_mask == vk::ImageAspectFlags::COLOR);
        assert!(taken.src_stages() == vk::PipelineStageFlags::ALL_COMMANDS);

        let given = release(image, None, &FOREIGN, ImageAccess::RENDER);
        let [barrier] = given.barriers() else {
            panic!("{given:?}");
        };
        assert_eq!(barrier.src_queue_family_index, 3);
        assert_eq!(barrier.dst_queue_family_index, vk::QUEUE_FAMILY_FOREIGN_EXT);
        assert!(barrier.old_layout == vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL);
        assert!(barrier.new_layout == vk::ImageLayout::GENERAL);
        assert!(barrier.dst_access_mask.is_empty());
        assert!(given.src_stages() == vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT);
    }

    #[test]
    fn contents_that_may_be_lost_begin_undefined() {
        let image = vk::Image::null();
        let taken = acquire(
            image,
            None,
            &FOREIGN,
            ImageAccess::RENDER,
            Contents::Discard,
        );
        assert!(taken.barriers()[0].old_layout == vk::ImageLayout::UNDEFINED);
        assert_eq!(taken.barriers()[0].dst_queue_family_index, 3);
    }

    #[test]
    fn disjoint_image_has_a_barrier_for_each_plane() {
        let given = release(vk::Image::null(), Some(2), &FOREIGN, ImageAccess::SAMPLE);
        let aspects: Vec<u32> = given
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
    fn second_form_of_a_barrier_says_the_same() {
        let given = release(vk::Image::null(), None, &FOREIGN, ImageAccess::COPY_IN);
        let [barrier] = given.barriers2()[..] else {
            panic!("{given:?}");
        };
        assert!(barrier.src_stage_mask == vk::PipelineStageFlags2::TRANSFER);
        assert!(barrier.src_access_mask == vk::AccessFlags2::TRANSFER_WRITE);
        assert!(barrier.dst_stage_mask == vk::PipelineStageFlags2::NONE);
        assert!(barrier.dst_access_mask.is_empty());
        assert!(barrier.old_layout == vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        assert_eq!(barrier.src_queue_family_index, 3);
        let taken = acquire(
            vk::Image::null(),
            None,
            &FOREIGN,
            ImageAccess::COPY_OUT,
            Contents::Keep,
        );
        assert!(taken.barriers2()[0].src_stage_mask == vk::PipelineStageFlags2::ALL_COMMANDS);
    }
}
