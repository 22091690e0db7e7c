//! The kind of memory that a queue allocates and imports, which follows from the exporter of its own buffers.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::{Error, sys};
use crate::buffer::exporter;
use crate::model::Extent;

/// The videobuf2 memory allocator of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum QueueMemory {
    /// vb2-vmalloc: the CPU reads or writes the buffer, so any pages can be imported.
    Virtual,
    /// vb2-dma-sg: the device reads or writes a scatter list of pages.
    Scattered,
    /// vb2-dma-contig: the device reads or writes one contiguous range of DMA addresses.
    Contiguous,
    /// Another exporter, with its name.
    Other(String),
    /// The exporter could not be determined, with the reason.
    Unknown(String),
}

impl Queue {
    /// Determines the videobuf2 memory allocator of the queue: one buffer is allocated and exported, and the fdinfo of its
    /// dma-buf names the exporter.
    ///
    /// The queue must be idle. Afterwards it is idle again, with its previous format.
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is not idle; [`Error::Gone`].
    ///
    /// # References
    /// Linux, `drivers/media/common/videobuf2/`: the exporter has the name of each allocator's module.
    pub fn memory(&self) -> Result<QueueMemory, Error> {
        let probed = match self.probe_memory()? {
            // ENOMEM means that a buffer of the current format is larger than the free memory, so the smallest frame size is
            // tried.
            Err(Errno::NOMEM) => self.probe_memory_with_smallest_format()?,
            probed => probed,
        };
        Ok(probed.unwrap_or_else(|error| {
            QueueMemory::Unknown(format!("VIDIOC_REQBUFS for MMAP returned {error}"))
        }))
    }

    /// Allocates and exports one buffer of the current format, and returns its exporter. The inner error is that of
    /// VIDIOC_REQBUFS.
    fn probe_memory(&self) -> Result<Result<QueueMemory, Errno>, Error> {
        let device = self.device();
        let mut request = sys::RequestBuffers {
            count: 1,
            kind: self.kind(),
            memory: sys::MEMORY_MMAP,
            ..Default::default()
        };
        match sys::request_buffers(device.as_fd(), &mut request) {
            Ok(()) => {}
            Err(source @ (Errno::BUSY | Errno::NODEV)) => {
                return Err(device.failed("VIDIOC_REQBUFS", source));
            }
            Err(error) => return Ok(Err(error)),
        }
        let exported = self.export(0, 0);
        let memory = match &exported {
            Ok(fd) => exporter(fd).map_or_else(
                || QueueMemory::Unknown("fdinfo does not name the exporter".to_owned()),
                |name| match name.as_str() {
                    "videobuf2_vmalloc" => QueueMemory::Virtual,
                    "videobuf2_dma_sg" => QueueMemory::Scattered,
                    "videobuf2_dma_contig" => QueueMemory::Contiguous,
                    _ => QueueMemory::Other(name),
                },
            ),
            Err(error) => QueueMemory::Unknown(error.to_string()),
        };
        drop(exported);
        self.free_buffers(sys::MEMORY_MMAP)?;
        Ok(Ok(memory))
    }

    /// Allocates and exports one buffer of the smallest frame size for the current pixel format, restores the current format, and
    /// returns the exporter as [`Queue::probe_memory`] does.
    fn probe_memory_with_smallest_format(&self) -> Result<Result<QueueMemory, Errno>, Error> {
        let fd = self.device().as_fd();
        let mut previous = self.raw_format()?;
        let (Ok(set), Ok(smallest)) = (self.current_format(), Extent::new(1, 1)) else {
            return Ok(Err(Errno::NOMEM));
        };
        let small = self.try_format(smallest, set.pixel_format, 0)?;
        let probed = match sys::set_format(fd, &mut small.to_request(self.kind())) {
            Ok(()) => self.probe_memory(),
            Err(_) => Ok(Err(Errno::NOMEM)),
        };
        sys::set_format(fd, &mut previous)
            .map_err(|source| self.device().failed("VIDIOC_S_FMT", source))?;
        probed
    }

    /// Returns whether the device is behind an IOMMU, which maps scattered pages to contiguous DMA addresses.
    #[must_use]
    pub fn has_iommu(&self) -> bool {
        self.ancestors()
            .any(|folder| folder.join("iommu_group").exists())
    }

    /// Returns the number of address bits of the device's DMA mask.
    ///
    /// sysfs reports the DMA mask of PCI devices. For other devices 32 bits are returned, which is the kernel's default, because
    /// a mask that the driver has set is not visible to userspace.
    #[must_use]
    pub fn dma_mask_bits(&self) -> u32 {
        const PLATFORM_BITS: u32 = 32;
        self.ancestors()
            .find_map(|folder| {
                std::fs::read_to_string(folder.join("dma_mask_bits"))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(PLATFORM_BITS)
    }

    /// Returns the device's directory in sysfs and its parents, up to the bus.
    fn ancestors(&self) -> impl Iterator<Item = PathBuf> {
        // The path can be a symbolic link, as those in /dev/v4l/by-id are.
        let node = std::fs::canonicalize(self.device().path()).unwrap_or_default();
        let name = node.file_name().unwrap_or_default();
        let device = Path::new("/sys/class/video4linux")
            .join(name)
            .join("device");
        let folder = std::fs::canonicalize(device).unwrap_or_default();
        let above: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|folder| {
                folder.starts_with("/sys/devices/") && *folder != Path::new("/sys/devices")
            })
            .map(Path::to_owned)
            .collect();
        above.into_iter()
    }
}
