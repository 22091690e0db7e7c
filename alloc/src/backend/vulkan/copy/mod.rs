//! Pixels in and out of an image, by the device: what proves that both sides mean the same bytes.

mod sys;

use ash::vk;

use super::image::Image;
use super::{Gpu, VulkanError};
use sys::{Region, Staging, Way};

/// Where a plane begins in the memory between: a multiple of every texel's size that begins there.
///
/// # References
/// VUID-vkCmdCopyBufferToImage-dstImage-07975 and -07978: multiples of the texel block and of 4.
const PLANE_STEP: u64 = 16;

impl Image {
    /// Writes every pixel: for each plane its rows, one after another without padding.
    ///
    /// Returns when the device is done.
    ///
    /// # Errors
    /// [`VulkanError::Pixels`] for planes of another size, [`VulkanError::Unsuitable`] where the device writes no such images,
    /// [`VulkanError::Call`].
    pub fn write(&self, planes: &[Vec<u8>]) -> Result<(), VulkanError> {
        self.needs(
            vk::ImageUsageFlags::TRANSFER_DST,
            "it writes no such images",
        )?;
        let regions = self.regions()?;
        for (plane, region) in regions.iter().enumerate() {
            let given = planes.get(plane).map_or(0, Vec::len);
            let found_bytes = u64::try_from(given).unwrap_or(u64::MAX);
            if found_bytes != region.size_bytes {
                return Err(self.wrong_size(plane, region.size_bytes, found_bytes));
            }
        }
        let staging = self.staging(&regions)?;
        for (pixels, region) in planes.iter().zip(&regions) {
            staging.write(region.offset_bytes, pixels);
        }
        self.copy(&staging, &regions, Way::IntoImage)
    }

    /// Reads every pixel: for each plane its rows, one after another without padding.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn read(&self) -> Result<Vec<Vec<u8>>, VulkanError> {
        self.needs(vk::ImageUsageFlags::TRANSFER_SRC, "it reads no such images")?;
        let regions = self.regions()?;
        let staging = self.staging(&regions)?;
        self.copy(&staging, &regions, Way::OutOfImage)?;
        let planes = regions.iter().map(|region| {
            let mut pixels = vec![0; usize::try_from(region.size_bytes).unwrap_or(0)];
            staging.read(region.offset_bytes, &mut pixels);
            pixels
        });
        Ok(planes.collect())
    }

    fn copy(&self, staging: &Staging, regions: &[Region], way: Way) -> Result<(), VulkanError> {
        let gpu: &Gpu = &self.gpu;
        sys::copy(&self.raw, staging, regions, way, gpu.outside())
            .map_err(gpu.failed("vkQueueSubmit of a copy"))
    }

    fn staging(&self, regions: &[Region]) -> Result<Staging, VulkanError> {
        let size = regions
            .last()
            .map_or(0, |last| last.offset_bytes.saturating_add(last.size_bytes));
        Staging::new(self.gpu.device(), size)
            .map_err(self.gpu.failed("vkAllocateMemory for a copy"))
    }

    fn regions(&self) -> Result<Vec<Region>, VulkanError> {
        let (extent, fourcc) = (self.layout.extent(), self.layout.format().fourcc);
        let info = fourcc
            .info()
            .ok_or_else(|| self.unsuitable("its layout is not known"))?;
        let several = info.planes.len() > 1;
        let mut offset_bytes = 0_u64;
        let mut regions = Vec::new();
        for (plane, shape) in info.planes.iter().enumerate() {
            let too_large = || self.wrong_size(plane, u64::MAX, 0);
            let row = shape.row_bytes(extent.width()).ok_or_else(too_large)?;
            let rows = shape.rows(extent.height());
            let size_bytes = u64::from(row)
                .checked_mul(rows.into())
                .ok_or_else(too_large)?;
            regions.push(Region {
                aspect: match (several, plane) {
                    (false, _) => vk::ImageAspectFlags::COLOR,
                    (true, 0) => vk::ImageAspectFlags::PLANE_0,
                    (true, 1) => vk::ImageAspectFlags::PLANE_1,
                    (true, _) => vk::ImageAspectFlags::PLANE_2,
                },
                offset_bytes,
                size_bytes,
                // Packed 4:2:2 is one plane of whole pixels, two of which are one block of texels.
                width: if several {
                    extent.width().div_ceil(shape.horizontal)
                } else {
                    extent.width()
                },
                height: rows,
            });
            offset_bytes = offset_bytes
                .checked_add(size_bytes)
                .and_then(|end| end.checked_next_multiple_of(PLANE_STEP))
                .ok_or_else(too_large)?;
        }
        Ok(regions)
    }

    fn needs(&self, usage: vk::ImageUsageFlags, why: &str) -> Result<(), VulkanError> {
        if self.usage.contains(usage) {
            Ok(())
        } else {
            Err(self.unsuitable(why))
        }
    }

    fn unsuitable(&self, why: &str) -> VulkanError {
        VulkanError::Unsuitable {
            device: self.gpu.name().to_owned(),
            extent: self.layout.extent(),
            format: self.layout.format(),
            why: why.to_owned(),
        }
    }

    fn wrong_size(&self, plane: usize, expected_bytes: u64, found_bytes: u64) -> VulkanError {
        VulkanError::Pixels {
            device: self.gpu.name().to_owned(),
            plane,
            expected_bytes,
            found_bytes,
        }
    }
}
