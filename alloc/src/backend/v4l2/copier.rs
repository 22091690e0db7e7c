//! The declaration of a memory-to-memory device that copies frames from its output queue to its capture queue.

use super::{Device, Direction, Error, Queue, sys};
use crate::backend::v4l2::queue_memory::QueueMemory;
use crate::constraint::{CopierKind, CopyDevice, ExtraFields, FormatSet};
use crate::model::{Extent, FormatModifier};

impl Device {
    /// Declares this device as a copier of frames of `extent`, in pixels, which reads the formats of its output queue and writes
    /// those of its capture queue. Returns `None` for a device that is not memory-to-memory, for a codec, and for a device whose
    /// queues do not import dma-bufs.
    ///
    /// A format is declared only if the driver accepts it with exactly this size, so a device that rounds the size up is not
    /// declared. A driver may refuse certain pairs of formats; VIDIOC_S_FMT then fails. A device that accesses its buffers with
    /// the CPU, as vim2m does, has the cost of a copy by the CPU; all other devices have [`CopyDevice::USUAL_COST`].
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`]; [`Error::Busy`] if another program streams and the device has one user at a time.
    ///
    /// # References
    /// Kernel documentation, "Video Memory-To-Memory Interface".
    pub fn copier(&self, extent: Extent) -> Result<Option<CopyDevice>, Error> {
        if self.capabilities() & (sys::CAP_M2M | sys::CAP_M2M_MPLANE) == 0 {
            return Ok(None);
        }
        let output = self.queue(Direction::Output)?;
        let capture = self.queue(Direction::Capture)?;
        let both = [&output, &capture];
        for queue in both {
            if queue.imports()? != Some(true) {
                return Ok(None);
            }
        }
        let (Some(reads), Some(writes)) =
            (output.raw_formats(extent)?, capture.raw_formats(extent)?)
        else {
            return Ok(None);
        };
        let mut cost = CopyDevice::USUAL_COST;
        for queue in both {
            if queue.memory()? == QueueMemory::Virtual {
                cost = CopyDevice::PROCESSOR_COST;
            }
        }
        Ok(Some(CopyDevice {
            name: self.driver().to_owned(),
            device: self.identity().clone(),
            kind: CopierKind::Engine,
            reads,
            writes,
            cost,
            extra_fields: ExtraFields::default(),
        }))
    }
}

impl Queue {
    /// Returns the uncompressed formats that the driver accepts with exactly this size; `None` if there are none, or if the queue
    /// has a coded format.
    fn raw_formats(&self, extent: Extent) -> Result<Option<FormatSet>, Error> {
        let mut pairs = Vec::new();
        for listed in self.formats()? {
            let pixel_format = listed.pixel_format;
            let tiled = pixel_format.tiled();
            if listed.is_compressed && tiled.is_none() {
                return Ok(None);
            }
            let rows = pixel_format.fourcc();
            let rows = rows.map(|(fourcc, _)| FormatModifier::linear(fourcc));
            let Some(pair) = rows.or(tiled.map(|(pair, _)| pair)) else {
                continue;
            };
            let negotiated = self.try_exactly(extent, pixel_format, 0)?;
            if negotiated.is_some_and(|negotiated| negotiated.extent == extent) {
                pairs.push(pair);
            }
        }
        Ok((!pairs.is_empty()).then(|| FormatSet::from(pairs)))
    }
}
