//! Imports buffers into GBM with their layout and an explicit modifier.

use std::fmt;

use gbm::{BufferObject, BufferObjectFlags};

use super::GbmError;
use super::device::Gbm;
use super::participant::format_of;
use crate::buffer::Buffer;
use crate::model::Modifier;

/// A buffer that a GBM device has imported; the import ends on drop.
pub struct Imported {
    object: Option<BufferObject<()>>,
    buffer: Buffer,
    // Declared after `object`, so that it is dropped after `object`, which uses its file description.
    gbm: Gbm,
}

impl fmt::Debug for Imported {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Imported")
            .field("gbm", &self.gbm)
            .field("buffer", &self.buffer)
            .finish_non_exhaustive()
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        let _device = self.gbm.lock();
        self.object = None;
    }
}

impl Imported {
    /// Returns the buffer that was imported.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Maps a buffer of one plane with `gbm_bo_map` and returns the pixels of its picture, row after row without padding.
    ///
    /// # Errors
    /// [`GbmError::Unsuitable`] for several planes and for YUV formats; [`GbmError::Map`].
    pub fn read(&self) -> Result<Vec<u8>, GbmError> {
        let layout = self.buffer.layout();
        let is_yuv = layout.format().fourcc.info().is_none_or(|info| info.is_yuv);
        let (Some(object), [_], Some(picture), false) = (
            &self.object,
            layout.planes(),
            layout.visible_bytes(0),
            is_yuv,
        ) else {
            return Err(GbmError::Unsuitable {
                node: self.gbm.path().to_owned(),
                format: layout.format(),
                why: "only RGB formats are mapped, because Mesa aborts the process when it maps packed YUV"
                    .to_owned(),
            });
        };
        let row = usize::try_from(picture.row_bytes).unwrap_or(usize::MAX);
        let visible = layout.visible();
        let (x, y) = (visible.x(), visible.y());
        let _device = self.gbm.lock();
        let mapped = object.map(x, y, visible.width(), visible.height(), |mapped| {
            let stride = usize::try_from(mapped.stride()).unwrap_or(0).max(1);
            // The pixels are copied row by row, because a copy byte by byte takes many times as long.
            let mut pixels = Vec::with_capacity(mapped.buffer().len());
            for bytes in mapped.buffer().chunks(stride) {
                pixels.extend_from_slice(bytes.get(..row).unwrap_or(bytes));
            }
            pixels
        });
        mapped.map_err(|source| GbmError::Map {
            node: self.gbm.path().to_owned(),
            driver: self.gbm.driver(),
            source,
        })
    }
}

impl Gbm {
    /// Imports a buffer.
    ///
    /// The driver can end the process during this call; try it in a child process first.
    ///
    /// # Errors
    /// [`GbmError::Unsuitable`] if GBM cannot express the layout; [`GbmError::Import`].
    pub fn import(&self, buffer: &Buffer) -> Result<Imported, GbmError> {
        let layout = buffer.layout();
        let unsuitable = |why: &str| GbmError::Unsuitable {
            node: self.path().to_owned(),
            format: layout.format(),
            why: why.to_owned(),
        };
        let format = format_of(layout.format().fourcc)
            .ok_or_else(|| unsuitable("GBM has no code for this format"))?;
        let modifier = layout.format().modifier;
        if modifier.is_implicit() {
            return Err(unsuitable(
                "the modifier of the layout is implicit, and an import needs an explicit one",
            ));
        }
        let (width, height) = (layout.extent().width(), layout.extent().height());
        let (mut fds, mut strides, mut offsets) = ([None; 4], [0_i32; 4], [0_i32; 4]);
        for (number, plane) in layout.planes().iter().enumerate() {
            let slots = (
                fds.get_mut(number),
                strides.get_mut(number),
                offsets.get_mut(number),
            );
            let (Some(fd), Some(stride), Some(offset)) = slots else {
                return Err(unsuitable("the layout has more than four planes"));
            };
            *fd = buffer.plane_fd(number);
            let signed = |value: u64| {
                i32::try_from(value)
                    .map_err(|_| unsuitable("the layout has an offset or stride of 2 GiB or more"))
            };
            *stride = signed(plane.stride_bytes.into())?;
            *offset = signed(plane.offset_bytes)?;
        }
        let count = u32::try_from(layout.planes().len()).unwrap_or(0);
        let device = self.lock();
        let explicit = device.import_buffer_object_from_dma_buf_with_modifiers::<()>(
            count,
            fds,
            width,
            height,
            format,
            BufferObjectFlags::RENDERING,
            strides,
            offsets,
            modifier.0.into(),
        );
        let [first_fd, ..] = fds;
        let imported = match (explicit, first_fd, layout.planes()) {
            // If the driver does not support modifiers, the import with a modifier fails. Such a driver can import a linear
            // buffer of one plane without a modifier.
            (Err(_), Some(fd), [plane])
                if modifier == Modifier::LINEAR && plane.offset_bytes == 0 =>
            {
                device.import_buffer_object_from_dma_buf(
                    fd,
                    width,
                    height,
                    plane.stride_bytes,
                    format,
                    BufferObjectFlags::LINEAR,
                )
            }
            (result, ..) => result,
        };
        let object = imported.map_err(|source| GbmError::Import {
            node: self.path().to_owned(),
            driver: self.driver(),
            origin: buffer.source_name().to_owned(),
            source,
        })?;
        Ok(Imported {
            object: Some(object),
            buffer: buffer.clone(),
            gbm: self.clone(),
        })
    }
}
