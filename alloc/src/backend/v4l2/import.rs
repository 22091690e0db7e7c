//! Buffers of others, handed to a queue: everything is checked before the kernel sees one.

use super::negotiate::NegotiatedFormat;
use super::queue::Queue;
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::Layout;
use crate::trace::{self, Action};

impl Queue {
    /// Sets the queue to `layout` and hands it `buffers` to stream with, each at its index for good.
    ///
    /// Everything is checked before the kernel sees a buffer: what it set is what was asked for, and every memory is as large
    /// as it writes.
    ///
    /// # Errors
    /// [`Error::Busy`] when another file owns the queue, [`Error::Format`] when the driver wants another layout,
    /// [`Error::TooSmall`], [`Error::Memories`], [`Error::Count`].
    pub fn import(&self, layout: &Layout, buffers: &[Buffer]) -> Result<Stream, Error> {
        let begun = trace::begin();
        let answered = self.set(layout)?;
        let stream = self.stream_into(answered, buffers)?;
        let node = self.device().path().display().to_string();
        trace::end(&node, Action::Import, buffers, begun);
        Ok(stream)
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
