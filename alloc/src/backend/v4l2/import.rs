//! Buffers of others, handed to a queue: everything is checked before the kernel sees one.

use super::negotiate::NegotiatedFormat;
use super::queue::Queue;
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::Layout;
use crate::trace::{self, Action};

impl Queue {
    /// Sets the queue to the layout of `buffers` and hands them to it to stream with, each at its index for good.
    ///
    /// Everything is checked before the kernel sees a buffer: all have one layout, what the driver set is what was asked for,
    /// and every memory is as large as the driver writes. How large the memories are may differ from buffer to buffer.
    ///
    /// # Errors
    /// [`Error::NoBuffers`], [`Error::Layouts`] when the layouts differ, [`Error::Busy`] when another file owns the queue,
    /// [`Error::Format`] when the driver wants another layout, [`Error::TooSmall`], [`Error::Memories`], [`Error::Count`].
    pub fn import(&self, buffers: &[Buffer]) -> Result<Stream, Error> {
        let begun = trace::begin();
        let layout = self.common_layout(buffers)?;
        let answered = self.set(layout)?;
        let stream = self.stream_into(answered, buffers)?;
        let node = self.device().path().display().to_string();
        trace::end(&node, Action::Import, buffers, begun);
        Ok(stream)
    }

    /// The layout that all buffers have.
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
            .find(|(_, buffer)| !is_alike(first.layout(), buffer.layout()));
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

    pub(super) fn no_buffers(&self) -> Error {
        Error::NoBuffers {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
        }
    }

    /// Makes a stream of a format that is set and of buffers that hold what it takes, each at its index for good.
    pub(super) fn stream_into(
        &self,
        answered: NegotiatedFormat,
        buffers: &[Buffer],
    ) -> Result<Stream, Error> {
        for buffer in buffers {
            self.check_sizes(&answered, buffer)?;
        }
        self.request(sys::MEMORY_DMABUF, buffers.len())?;
        Ok(Stream::new(
            self.clone(),
            sys::MEMORY_DMABUF,
            answered.sizes_bytes,
            buffers.to_vec(),
        ))
    }

    /// Fails where a buffer's memories are not as many, or not as large, as the driver writes.
    fn check_sizes(&self, answered: &NegotiatedFormat, buffer: &Buffer) -> Result<(), Error> {
        let sizes = buffer.layout().memory_sizes();
        for (memory, needed) in answered.sizes_bytes.iter().enumerate() {
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
        if sizes.len() > answered.sizes_bytes.len() {
            return Err(Error::Memories {
                device: self.device().path().to_owned(),
                driver: self.device().driver().to_owned(),
                identity: buffer.identity(),
                taken: answered.sizes_bytes.len(),
                found: sizes.len(),
            });
        }
        Ok(())
    }
}

/// Whether two buffers hold a picture at the same places. An allocator may round up the memory of one further than another's.
fn is_alike(one: &Layout, other: &Layout) -> bool {
    one.extent() == other.extent()
        && one.format() == other.format()
        && one.planes() == other.planes()
        && one.memory_sizes().len() == other.memory_sizes().len()
}

/// A layout for a message: `640x480 in XR24 LINEAR, plane 0 at byte 0 of memory 0 with 2560 bytes a row`.
fn summary(layout: &Layout) -> String {
    let mut words = format!("{} in {}", layout.extent(), layout.format());
    for (number, plane) in layout.planes().iter().enumerate() {
        words.push_str(&format!(
            ", plane {number} at byte {} of memory {} with {} bytes a row",
            plane.offset_bytes, plane.memory, plane.stride_bytes
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Extent, Fourcc};

    fn layout(width: u32, fourcc: Fourcc, stride_alignment: u32) -> Layout {
        let extent = Extent::new(width, 480).unwrap();
        Layout::linear(extent, fourcc, stride_alignment, 0).unwrap()
    }

    #[test]
    fn layouts_that_differ_in_one_thing_are_not_alike() {
        let one = layout(642, Fourcc::XRGB8888, 1);
        assert!(is_alike(&one, &one));
        for other in [
            layout(640, Fourcc::XRGB8888, 1),
            layout(642, Fourcc::ARGB8888, 1),
            layout(642, Fourcc::XRGB8888, 64),
        ] {
            assert!(!is_alike(&one, &other), "{}", summary(&other));
        }
    }

    #[test]
    fn layouts_in_memories_of_other_sizes_are_alike() {
        let one = layout(640, Fourcc::XRGB8888, 1);
        let rounded = one.with_memory_sizes(vec![1 << 21]).unwrap();
        assert!(is_alike(&one, &rounded));
        assert_ne!(one, rounded);
    }

    #[test]
    fn summary_names_each_plane() {
        assert_eq!(
            summary(&layout(640, Fourcc::NV12, 64)),
            "640x480 in NV12 LINEAR, plane 0 at byte 0 of memory 0 with 640 bytes a row, \
             plane 1 at byte 307200 of memory 0 with 640 bytes a row"
        );
    }
}
