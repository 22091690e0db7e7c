//! The import of dma-bufs into a queue. Every buffer is checked before it is passed to the kernel.

use super::negotiate::NegotiatedFormat;
use super::queue::Queue;
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::{Layout, Modifier, PlaneLayout};
use crate::trace::{self, Action};

impl Queue {
    /// Sets the format and the visible rectangle of the queue to the layout of `buffers`, and makes a stream with these buffers.
    /// Each buffer keeps its index.
    ///
    /// Before any VIDIOC_QBUF, the function checks that all buffers have the same layout, that the driver set exactly the
    /// requested format, that the planes of a linear layout are where V4L2 places them, and that every dma-buf is at least as
    /// large as sizeimage. The sizes of the dma-bufs may differ between buffers.
    ///
    /// # Errors
    /// [`Error::NoBuffers`], [`Error::Layouts`] if the layouts differ, [`Error::Busy`] if another file owns the queue,
    /// [`Error::Format`] if the driver sets another format or places a plane elsewhere, [`Error::Visible`] if it sets another
    /// visible rectangle than that of cropped buffers, [`Error::OutsideFrame`], [`Error::TooSmall`], [`Error::TooManyDmabufs`],
    /// [`Error::Count`].
    pub fn import(&self, buffers: &[Buffer]) -> Result<Stream, Error> {
        let begun = trace::begin();
        let layout = self.common_layout(buffers)?;
        let negotiated = self.set(layout)?;
        self.check_planes(&negotiated, layout)?;
        let stream = self.stream_with(negotiated, buffers)?;
        let node = self.device().path().display().to_string();
        trace::end(&node, Action::Import, buffers, begun);
        Ok(stream)
    }

    /// Returns the layout that all buffers have, or an error if their layouts differ.
    fn common_layout<'buffers>(
        &self,
        buffers: &'buffers [Buffer],
    ) -> Result<&'buffers Layout, Error> {
        let Some(first) = buffers.first() else {
            return Err(self.no_buffers());
        };
        let other = buffers
            .iter()
            .enumerate()
            .find(|(_, buffer)| !is_same_layout(first.layout(), buffer.layout()));
        match other {
            None => Ok(first.layout()),
            Some((index, buffer)) => Err(Error::Layouts {
                device: self.device().path().to_owned(),
                driver: self.device().driver().to_owned(),
                index,
                identity: buffer.identity(),
                expected: summary(first.layout()),
                found: summary(buffer.layout()),
            }),
        }
    }

    /// Checks that the driver accesses the planes where a linear layout has them. V4L2 has no parameters for the offsets of
    /// planes and for the strides of chroma planes: they follow from the format, and the driver would access other bytes without
    /// an error.
    fn check_planes(&self, negotiated: &NegotiatedFormat, layout: &Layout) -> Result<(), Error> {
        let (true, Some(Ok(own))) = (
            layout.format().modifier == Modifier::LINEAR,
            negotiated.layout(),
        ) else {
            return Ok(());
        };
        let place = |plane: &PlaneLayout| (plane.memory, plane.offset_bytes, plane.stride_bytes);
        let (wanted, set) = (layout.planes().iter(), own.planes().iter());
        if wanted.map(place).eq(set.map(place)) {
            return Ok(());
        }
        Err(Error::Format {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
            requested: summary(layout),
            set: summary(&own),
        })
    }

    pub(super) fn no_buffers(&self) -> Error {
        Error::NoBuffers {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
        }
    }

    /// Makes a stream with buffers, after a check that they fit the format that the driver has set. Each buffer keeps its index.
    pub(super) fn stream_with(
        &self,
        negotiated: NegotiatedFormat,
        buffers: &[Buffer],
    ) -> Result<Stream, Error> {
        for buffer in buffers {
            self.check_sizes(&negotiated, buffer)?;
        }
        self.request(sys::MEMORY_DMABUF, buffers.len())?;
        Ok(Stream::new(
            self.clone(),
            sys::MEMORY_DMABUF,
            negotiated.sizes_bytes,
            buffers.to_vec(),
        ))
    }

    /// Checks that a buffer has as many dma-bufs as the format has planes, each at least as large as sizeimage.
    fn check_sizes(&self, negotiated: &NegotiatedFormat, buffer: &Buffer) -> Result<(), Error> {
        let sizes = buffer.layout().memory_sizes();
        for (memory, needed) in negotiated.sizes_bytes.iter().enumerate() {
            let needed_bytes = u64::from(*needed);
            let found_bytes = sizes.get(memory).copied().unwrap_or(0);
            if found_bytes < needed_bytes {
                return Err(Error::TooSmall {
                    device: self.device().path().to_owned(),
                    driver: self.device().driver().to_owned(),
                    memory,
                    identity: buffer
                        .identities()
                        .nth(memory)
                        .unwrap_or_else(|| buffer.identity()),
                    needed_bytes,
                    found_bytes,
                });
            }
        }
        if sizes.len() > negotiated.sizes_bytes.len() {
            return Err(Error::TooManyDmabufs {
                device: self.device().path().to_owned(),
                driver: self.device().driver().to_owned(),
                identity: buffer.identity(),
                planes: negotiated.sizes_bytes.len(),
                found: sizes.len(),
            });
        }
        Ok(())
    }
}

/// Whether two layouts are equal except for the sizes of the dma-bufs, which allocators round up differently.
fn is_same_layout(one: &Layout, other: &Layout) -> bool {
    one.extent() == other.extent()
        && one.visible() == other.visible()
        && one.format() == other.format()
        && one.planes() == other.planes()
        && one.memory_sizes().len() == other.memory_sizes().len()
}

/// Formats a layout for a message: `640x480 in XR24 LINEAR, plane 0 at byte 0 of dma-buf 0 with 2560 bytes a row`.
fn summary(layout: &Layout) -> String {
    let mut text = format!("{} in {}", layout.extent(), layout.format());
    if layout.is_cropped() {
        text.push_str(&format!(" with the picture of {}", layout.visible()));
    }
    for (number, plane) in layout.planes().iter().enumerate() {
        text.push_str(&format!(
            ", plane {number} at byte {} of dma-buf {} with {} bytes a row",
            plane.offset_bytes, plane.memory, plane.stride_bytes
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Extent, Fourcc, Rect};

    fn layout(width: u32, fourcc: Fourcc, stride_alignment: u32) -> Layout {
        let extent = Extent::new(width, 480).unwrap();
        Layout::linear(extent, fourcc, stride_alignment, 0).unwrap()
    }

    #[test]
    fn layouts_that_differ_in_one_property_are_not_the_same() {
        let one = layout(642, Fourcc::XRGB8888, 1);
        assert!(is_same_layout(&one, &one));
        for other in [
            layout(640, Fourcc::XRGB8888, 1),
            layout(642, Fourcc::ARGB8888, 1),
            layout(642, Fourcc::XRGB8888, 64),
        ] {
            assert!(!is_same_layout(&one, &other), "{}", summary(&other));
        }
        let visible = Rect::whole(Extent::new(642, 472).unwrap());
        let cropped = one.clone().with_visible(visible).unwrap();
        assert!(!is_same_layout(&one, &cropped));
        assert!(summary(&cropped).contains("with the picture of 642x472 at (0, 0)"));
    }

    #[test]
    fn layouts_that_differ_only_in_dmabuf_sizes_are_the_same() {
        let one = layout(640, Fourcc::XRGB8888, 1);
        let rounded = one.with_memory_sizes(vec![1 << 21]).unwrap();
        assert!(is_same_layout(&one, &rounded));
        assert_ne!(one, rounded);
    }

    #[test]
    fn summary_names_each_plane() {
        assert_eq!(
            summary(&layout(640, Fourcc::NV12, 64)),
            "640x480 in NV12 LINEAR, plane 0 at byte 0 of dma-buf 0 with 640 bytes a row, \
             plane 1 at byte 307200 of dma-buf 0 with 640 bytes a row"
        );
    }
}
