//! Imports the buffers of a plan into the compositor as `wl_buffer`s: all of them, or none.

use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::compositor::{Compositor, Event};
use crate::dmabuf::{CreateBufferError, Image, Plane, request_wl_buffer};
use crate::events::{Events, EventsError};

/// How long the compositor may take to import all buffers.
const DEADLINE: Duration = Duration::from_secs(15);

/// Whether the compositor imported a set of buffers.
#[derive(Debug)]
pub enum ImportResult {
    /// The compositor created a `wl_buffer` of each dma-buf. They are in the order of the dma-bufs.
    Imported(Vec<WlBuffer>),
    /// The compositor failed to import one of the buffers (`zwp_linux_buffer_params_v1.failed`). The other `wl_buffer`s
    /// are destroyed.
    Refused,
}

/// Why the import did not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The connection failed, or the compositor did not answer in time.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The compositor sent protocol data that is not valid.
    #[error("the compositor at {socket} sent protocol data that is not valid: {what}")]
    InvalidData {
        /// The path of the compositor's socket.
        socket: String,
        /// What is not valid.
        what: String,
    },
    /// linux-dmabuf cannot describe the buffer.
    #[error(transparent)]
    Unrepresentable(#[from] CreateBufferError),
    /// The offset of a plane does not fit into the 32 bits of linux-dmabuf.
    #[error(
        "plane {plane} has an offset of {offset_bytes} bytes, which exceeds the 32 bits of linux-dmabuf; use another source or format"
    )]
    Offset {
        /// Index of the plane.
        plane: usize,
        /// The offset of the plane in the dma-buf, in bytes.
        offset_bytes: u64,
    },
}

/// Imports dma-bufs into the compositor, and waits until the compositor has imported all of them or has failed to import one.
///
/// # Errors
///
/// [`ImportError`].
pub fn import_wl_buffers(
    events: &mut Events,
    compositor: &mut Compositor,
    buffers: &[Buffer],
) -> Result<ImportResult, ImportError> {
    for (index, buffer) in buffers.iter().enumerate() {
        create_wl_buffer(compositor, &events.handle(), index, buffer)?;
    }
    let mut wl_buffers: Vec<Option<WlBuffer>> = vec![None; buffers.len()];
    let (mut answers, mut refused, mut invalid) = (0, false, None);
    events.dispatch_until(
        compositor,
        "create wl_buffers of the dma-bufs",
        DEADLINE,
        |compositor| {
            for event in compositor.take_events() {
                match event {
                    Event::Created(index, wl_buffer) => {
                        answers += 1;
                        if let Some(slot) = wl_buffers.get_mut(index) {
                            *slot = Some(wl_buffer);
                        }
                    }
                    Event::Refused(_) => {
                        answers += 1;
                        refused = true;
                    }
                    Event::InvalidData(what) => invalid = Some(what),
                    // The program handles them after the import.
                    event @ (Event::Closed | Event::Feedback) => compositor.push_event(event),
                    _ => {}
                }
            }
            invalid.is_some() || answers >= buffers.len()
        },
    )?;
    if let Some(what) = invalid {
        return Err(ImportError::InvalidData {
            socket: events.socket().to_owned(),
            what,
        });
    }
    let wl_buffers: Vec<WlBuffer> = wl_buffers.into_iter().flatten().collect();
    if refused || wl_buffers.len() != buffers.len() {
        for wl_buffer in wl_buffers {
            wl_buffer.destroy();
        }
        return Ok(ImportResult::Refused);
    }
    Ok(ImportResult::Imported(wl_buffers))
}

/// Requests a `wl_buffer` of one dma-buf. The compositor answers with [`Event::Created`] or [`Event::Refused`] and `index`.
///
/// # Errors
///
/// [`ImportError::Unrepresentable`], [`ImportError::Offset`].
pub fn create_wl_buffer(
    compositor: &Compositor,
    handle: &QueueHandle<Compositor>,
    index: usize,
    buffer: &Buffer,
) -> Result<(), ImportError> {
    let layout = buffer.layout();
    let mut planes = Vec::new();
    for (plane, plane_layout) in layout.planes().iter().enumerate() {
        let offset = ImportError::Offset {
            plane,
            offset_bytes: plane_layout.offset_bytes,
        };
        let (Some(fd), Ok(offset_bytes)) = (
            buffer.plane_fd(plane),
            u32::try_from(plane_layout.offset_bytes),
        ) else {
            return Err(offset);
        };
        planes.push(Plane {
            fd,
            offset_bytes,
            stride_bytes: plane_layout.stride_bytes,
        });
    }
    let image = Image {
        width: layout.extent().width(),
        height: layout.extent().height(),
        fourcc: layout.format().fourcc.0,
        modifier: layout.format().modifier.0,
        planes: &planes,
    };
    Ok(request_wl_buffer(compositor, handle, index, &image)?)
}
