//! Allocates buffers from the memory of a queue (V4L2_MEMORY_MMAP) and exports them as dma-bufs (VIDIOC_EXPBUF).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::negotiate::NegotiatedFormat;
use super::queue::Queue;
use super::stream::Stream;
use super::{Error, sys};
use crate::buffer::Buffer;
use crate::model::Layout;
use crate::solve::Plan;
use crate::trace::{self, Action};

impl Queue {
    /// Allocates the buffers of a plan from the queue's own memory (MMAP), and exports them as dma-bufs.
    ///
    /// The returned stream owns the buffers: other devices can import them while the stream exists. The stream queues them by
    /// index, without an import.
    ///
    /// # Errors
    /// [`Error::NotPlanned`] for a plan of another source; [`Error::Busy`], [`Error::Format`], [`Error::Visible`],
    /// [`Error::Count`], [`Error::Pool`]. After an error no buffer stays allocated.
    pub fn allocate(&self, plan: &Plan) -> Result<Stream, Error> {
        if *plan.source() != self.source_id() {
            return Err(Error::NotPlanned {
                device: self.device().path().to_owned(),
                planned: plan.source_name().to_owned(),
            });
        }
        let count = usize::try_from(plan.count()).unwrap_or(usize::MAX);
        let begun = trace::begin();
        let stream = self
            .allocate_layout(plan.layout(), count)
            .map_err(|error| self.exhausted(error, plan, count))?;
        trace::end(
            plan.source_name(),
            Action::Allocate,
            stream.buffers(),
            begun,
        );
        Ok(stream)
    }

    /// Returns [`Error::Pool`], which names the pool of the plan, if `error` means that the driver had too little memory;
    /// otherwise returns `error`.
    fn exhausted(&self, error: Error, plan: &Plan, count: usize) -> Error {
        let fitting = match &error {
            Error::Count { granted, .. } => *granted,
            Error::Request { source, .. } | Error::CreateBuffers { source, .. }
                if source.errno() == Errno::NOMEM =>
            {
                0
            }
            _ => return error,
        };
        match plan.pools().iter().find(|own| own.bytes > 0) {
            Some(own) => Error::Pool {
                device: self.device().path().to_owned(),
                driver: self.device().driver().to_owned(),
                pool: own.name.clone(),
                fitting,
                count,
            },
            None => error,
        }
    }

    /// Sets the format of `layout`, requests `count` buffers from the driver and exports them.
    fn allocate_layout(&self, layout: &Layout, count: usize) -> Result<Stream, Error> {
        let negotiated = self.set(layout)?;
        let needed = layout.memory_sizes();
        let is_enough = negotiated
            .sizes_bytes
            .iter()
            .zip(needed)
            .all(|(size_image, needed)| u64::from(*size_image) >= *needed);
        if is_enough {
            self.request(sys::MEMORY_MMAP, count)?;
        } else {
            self.create(&negotiated, needed, count)?;
        }
        self.export_all(layout, &negotiated.sizes_bytes, count)
    }

    /// Exports the `count` buffers that the driver has allocated. `sizes_bytes` is the sizeimage of each memory plane. After an
    /// error the buffers are freed.
    pub(super) fn export_all(
        &self,
        layout: &Layout,
        sizes_bytes: &[u32],
        count: usize,
    ) -> Result<Stream, Error> {
        let dmabuf_count = sizes_bytes.len();
        let exported: Result<Vec<Buffer>, Error> = (0..count)
            .map(|index| self.export_buffer(layout, index, dmabuf_count))
            .collect();
        match exported {
            Ok(buffers) => Ok(Stream::new(
                self.clone(),
                sys::MEMORY_MMAP,
                sizes_bytes.to_vec(),
                buffers,
            )),
            Err(error) => {
                if let Err(error) = self.free_buffers(sys::MEMORY_MMAP) {
                    tracing::debug!(%error, "VIDIOC_REQBUFS failed to free buffers that could not be exported");
                }
                Err(error)
            }
        }
    }

    fn export_buffer(
        &self,
        layout: &Layout,
        index: usize,
        dmabuf_count: usize,
    ) -> Result<Buffer, Error> {
        let dmabufs = (0..dmabuf_count)
            .map(|plane| self.export(index, plane))
            .collect::<Result<Vec<OwnedFd>, Error>>()?;
        Buffer::assemble(layout, dmabufs, &self.source_name()).map_err(|error| Error::Unusable {
            device: self.device().path().to_owned(),
            driver: self.device().driver().to_owned(),
            why: error.to_string(),
        })
    }

    /// Calls VIDIOC_CREATE_BUFS for buffers that are larger than the sizeimage of the format, because another participant needs
    /// more bytes.
    ///
    /// # References
    /// Linux, `Documentation/userspace-api/media/v4l/vidioc-create-bufs.rst`: the size may be larger than the format's sizeimage.
    fn create(
        &self,
        negotiated: &NegotiatedFormat,
        needed: &[u64],
        count: usize,
    ) -> Result<(), Error> {
        let sizes_bytes: Vec<u32> = negotiated
            .sizes_bytes
            .iter()
            .zip(needed)
            .map(|(size_image, needed)| u32::try_from(*needed).unwrap_or(u32::MAX).max(*size_image))
            .collect();
        let larger = NegotiatedFormat {
            sizes_bytes,
            ..negotiated.clone()
        };
        let requested = u32::try_from(count).unwrap_or(u32::MAX);
        let mut request =
            sys::CreateBuffers::new(sys::MEMORY_MMAP, requested, larger.to_request(self.kind()));
        sys::create_buffers(self.device().as_fd(), &mut request).map_err(|source| {
            match self.device().failed("VIDIOC_CREATE_BUFS", source) {
                Error::Request { device, driver, .. } => Error::CreateBuffers {
                    device,
                    driver,
                    size_image: negotiated.sizes_bytes.clone(),
                    needed: needed.to_vec(),
                    source: source.into(),
                },
                other => other,
            }
        })?;
        self.check_count(sys::MEMORY_MMAP, count, request.count)
    }

    pub(super) fn export(&self, index: usize, plane: usize) -> Result<OwnedFd, Error> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        // Without O_RDWR the exported fd would be read-only.
        let flags = OFlags::CLOEXEC | OFlags::RDWR;
        let mut request = sys::ExportBuffer {
            kind: self.kind(),
            index: number(index),
            plane: number(plane),
            flags: flags.bits(),
            fd: -1,
            ..Default::default()
        };
        sys::export_buffer(self.device().as_fd(), &mut request)
            .and_then(|()| sys::take_fd(request.fd))
            .map_err(|source| self.device().failed("VIDIOC_EXPBUF", source))
    }
}
