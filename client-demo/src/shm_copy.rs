//! Copies frames into `wl_shm` buffers, for compositors that cannot import the buffers of the camera or the Vulkan device.
//!
//! A frame is read once and written once: a few rows at a time are converted in memory that stays in the CPU's cache. The buffers
//! are planned with the CPU as a reader ([`frame_reader`]).

use anyhow::Context as _;
use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::{Buffer, Mapping};
use covalent_alloc::constraint::{CpuUse, Crop, Participant, Role};
use covalent_alloc::model::{FormatModifier, Fourcc, Layout};
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::compositor::Compositor;
use crate::exit::Failure;
use crate::print;
use crate::shm::{Pool, PoolError};
use crate::xrgb;
use crate::xrgb_reader::{ReadError, XrgbReader};

/// What this process does with frames that the compositor cannot read, as a phrase for messages.
pub const COPIED: &str = "copied into shared memory";

/// Returns the participant of a plan that reads every frame by the CPU, in the formats that can be converted to XRGB8888.
#[must_use]
pub fn frame_reader() -> Participant {
    let mut processor = Participant::processor(Role::CpuRead);
    processor.for_each_choice(|own| {
        let formats = xrgb::FORMATS.map(FormatModifier::linear);
        own.formats = Some(formats.into());
        own.memory.cpu = CpuUse::Often;
        own.image.crop = Crop::Anywhere;
    });
    processor
}

/// Why a frame cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The shared memory cannot be created or written.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The frame cannot be mapped, read or converted.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no buffer of this index.
    #[error("there is no frame buffer {0}")]
    Index(usize),
}

/// `wl_shm` buffers, and the mappings of the buffers that are copied into them.
#[derive(Debug)]
pub struct ShmCopy {
    pool: Pool,
    mappings: Vec<Mapping>,
    reader: XrgbReader,
    /// The number of `wl_shm` buffers.
    count: usize,
    written_bytes: u64,
}

impl ShmCopy {
    /// Maps `buffers`, and creates `count` `wl_shm` buffers of the size of their picture. The releases of the `wl_shm` buffers are
    /// reported with their index plus `first_number`. `colours` has no meaning for RGB formats.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn new(
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        buffers: &[Buffer],
        colours: Colours,
        (first_number, count): (usize, u32),
    ) -> Result<Self, CopyError> {
        let layout = buffers.first().ok_or(CopyError::Index(0))?.layout();
        let extent = layout.visible().extent();
        let size = (extent.width(), extent.height());
        let mappings: Result<Vec<_>, _> = buffers.iter().map(Buffer::map).collect();
        Ok(Self {
            pool: Pool::numbered_from(first_number, compositor, handle, size, count)?,
            mappings: mappings.map_err(ReadError::from)?,
            reader: XrgbReader::new(layout, colours)?,
            count: usize::try_from(count).unwrap_or(usize::MAX),
            written_bytes: 0,
        })
    }

    /// Returns the number of `wl_shm` buffers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the `wl_shm` buffer at `index`.
    #[must_use]
    pub fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        self.pool.buffer(index)
    }

    /// Returns the size of a frame in shared memory in bytes.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.pool.frame_bytes()
    }

    /// Returns the number of bytes that were written to shared memory.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Copies the frame in the buffer `from` to the `wl_shm` buffer `to`, which the compositor must not hold.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), CopyError> {
        let mapping = self.mappings.get(from).ok_or(CopyError::Index(from))?;
        let pool = &self.pool;
        let mut offset_bytes = 0_u64;
        self.reader.read::<CopyError>(mapping, |rows| {
            pool.write(to, offset_bytes, rows)?;
            let bytes = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            offset_bytes = offset_bytes.saturating_add(bytes);
            Ok(())
        })?;
        self.written_bytes = self.written_bytes.saturating_add(offset_bytes);
        Ok(())
    }
}

/// Why frames are copied, and how many bytes are copied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CopyReport {
    /// The reason in one line.
    pub reason: String,
    /// The number of bytes per frame that are written to shared memory.
    pub bytes_per_frame: u64,
    /// The format of the frames that are copied.
    pub from: String,
    /// The format in shared memory.
    pub to: String,
}

impl CopyReport {
    /// Creates the report of a copy of frames with this layout. `reason` is one line.
    #[must_use]
    pub fn new(reason: String, copy: &ShmCopy, layout: &Layout) -> Self {
        Self {
            reason,
            bytes_per_frame: copy.frame_bytes(),
            from: layout.format().fourcc.to_string(),
            to: Fourcc::XRGB8888.to_string(),
        }
    }

    /// Prints on stderr why the program copies every frame, in one line.
    ///
    /// # Errors
    ///
    /// Stderr cannot be written.
    pub fn print(&self, program: &str) -> Result<(), Failure> {
        print::text(&format!("{program}: {}\n", self.line()), true)
            .context("printing why frames are copied")
            .map_err(Failure::unexpected)
    }

    /// Returns the line that the program prints on stderr.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "every frame is copied into wl_shm, {} bytes from {} to {}: {}; --no-copy makes this an error",
            self.bytes_per_frame, self.from, self.to, self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::{FormatSet, Source, SourceId};
    use covalent_alloc::model::{DeviceIdentity, Extent, Modifier};
    use covalent_alloc::solve::{Request, Solution, solve};

    use super::*;

    fn renderer(modifiers: &[Modifier]) -> Participant {
        let identity = DeviceIdentity {
            driver: "gpu".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        let mut renderer = Participant::new("gpu", identity, Role::Render);
        let formats: FormatSet = modifiers
            .iter()
            .map(|modifier| FormatModifier {
                fourcc: Fourcc::XRGB8888,
                modifier: *modifier,
            })
            .collect::<Vec<_>>()
            .into();
        renderer.for_each_choice(|own| own.formats = Some(formats.clone()));
        renderer
    }

    fn solved(modifiers: &[Modifier]) -> Solution {
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        request.participants = vec![renderer(modifiers), frame_reader()];
        request.sources = vec![Source::new(SourceId::new("heap:system"), "dma-heap system")];
        solve(&request)
    }

    #[test]
    fn buffer_that_a_gpu_renders_to_and_the_cpu_copies_is_linear() {
        let tiled = Modifier(0x0100_0000_0000_0002);
        let Solution::Share(plan) = solved(&[tiled, Modifier::LINEAR]) else {
            panic!("a plan");
        };
        assert_eq!(
            plan.layout().format(),
            FormatModifier::linear(Fourcc::XRGB8888)
        );
        assert!(!matches!(solved(&[tiled]), Solution::Share(_)));
    }

    #[test]
    fn line_of_a_report_has_the_bytes_and_the_reason() {
        let report = CopyReport {
            reason: "no dma-bufs".to_owned(),
            bytes_per_frame: 4096,
            from: "NV12".to_owned(),
            to: "XR24".to_owned(),
        };
        let line = report.line();
        assert!(line.contains("4096 bytes from NV12 to XR24: no dma-bufs"));
        assert!(line.ends_with("--no-copy makes this an error"));
        assert_eq!(line.lines().count(), 1);
    }
}
