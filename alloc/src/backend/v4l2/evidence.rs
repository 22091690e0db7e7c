//! Which memory a queue works with, judged by what it exports.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::queue::Queue;
use super::{Error, sys};
use crate::buffer::exporter;
use crate::model::Extent;

/// The allocator behind a queue, as far as it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum QueueMemory {
    /// The CPU does the work: any pages serve (vmalloc).
    Virtual,
    /// A device reads or writes pages in any order (dma-sg).
    Scattered,
    /// A device reads or writes one run of DMA addresses (dma-contig).
    Contiguous,
    /// The exporter is none that is known.
    Other(String),
    /// Nothing could be seen, for this reason.
    Unknown(String),
}

impl Queue {
    /// Which memory the queue works with: one buffer is made and exported, and its exporter read from fdinfo.
    ///
    /// The queue must be idle. It is idle afterwards, with the format that it had.
    ///
    /// # Errors
    /// [`Error::Busy`] when it is not idle; [`Error::Gone`].
    ///
    /// # References
    /// Linux, `drivers/media/common/videobuf2/`: each allocator exports under its module's name.
    pub fn memory(&self) -> Result<QueueMemory, Error> {
        let seen = match self.seen()? {
            // The picture that somebody has set may be larger than the memory that the device is given.
            Err(Errno::NOMEM) => self.seen_of_a_small_picture()?,
            seen => seen,
        };
        Ok(seen.unwrap_or_else(|error| {
            QueueMemory::Unknown(format!("VIDIOC_REQBUFS for MMAP answered {error}"))
        }))
    }

    /// Looks at a buffer for the picture that is set; the inner error is why the driver has made none.
    fn seen(&self) -> Result<Result<QueueMemory, Errno>, Error> {
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

    /// Looks at a buffer for the smallest picture that the driver has, and sets the format again that was set.
    fn seen_of_a_small_picture(&self) -> Result<Result<QueueMemory, Errno>, Error> {
        let fd = self.device().as_fd();
        let mut kept = self.raw_format()?;
        let (Ok(set), Ok(smallest)) = (self.current_format(), Extent::new(1, 1)) else {
            return Ok(Err(Errno::NOMEM));
        };
        let small = self.try_format(smallest, set.pixel_format, 0)?;
        let seen = match sys::set_format(fd, &mut small.to_request(self.kind())) {
            Ok(()) => self.seen(),
            Err(_) => Ok(Err(Errno::NOMEM)),
        };
        sys::set_format(fd, &mut kept)
            .map_err(|source| self.device().failed("VIDIOC_S_FMT", source))?;
        seen
    }

    /// Whether an IOMMU stands between the device and memory, so that scattered pages look contiguous to it.
    #[must_use]
    pub fn has_iommu(&self) -> bool {
        self.ancestors()
            .any(|folder| folder.join("iommu_group").exists())
    }

    /// How many address bits the device drives.
    ///
    /// PCI devices tell. For others the kernel starts with 32 bits, and whether the driver asked for more cannot be seen.
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

    /// The device's folder in sysfs and those above it, up to the bus.
    fn ancestors(&self) -> impl Iterator<Item = PathBuf> {
        // The path may be a link, as those of /dev/v4l/by-id are.
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
