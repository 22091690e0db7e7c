//! A plan's buffers given to the compositor, which takes all of them or none.

use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::compositor::{Compositor, Event};
use crate::dmabuf::{Image, OfferError, Plane, offer};
use crate::events::{Events, EventsError};

/// How long the compositor may take for its answer to all buffers.
const DEADLINE: Duration = Duration::from_secs(15);

/// The compositor's answer to a set of buffers.
#[derive(Debug)]
pub enum Answer {
    /// It made a buffer of each; they are in the order of the dma-bufs.
    Taken(Vec<WlBuffer>),
    /// It could not use one of them, so none is kept.
    Refused,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffersError {
    /// The compositor is gone, or silent.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// It sent protocol data that is not valid.
    #[error("the compositor at {place} sent protocol data that is not valid: {what}")]
    InvalidData {
        /// Its socket.
        place: String,
        /// What it sent.
        what: String,
    },
    /// The protocol has no words for the buffer.
    #[error(transparent)]
    Unsayable(#[from] OfferError),
    /// A plane begins too late for the protocol.
    #[error(
        "plane {plane} begins {offset_bytes} bytes into its memory; linux-dmabuf says offsets in 32 bits"
    )]
    Offset {
        /// Index of the plane.
        plane: usize,
        /// Where it begins.
        offset_bytes: u64,
    },
}

/// Offers buffers to the compositor and waits for its answer to all of them.
///
/// # Errors
///
/// [`OffersError`].
pub fn present(
    events: &mut Events,
    compositor: &mut Compositor,
    buffers: &[Buffer],
) -> Result<Answer, OffersError> {
    for (index, buffer) in buffers.iter().enumerate() {
        offer_one(compositor, &events.handle(), index, buffer)?;
    }
    let mut wires: Vec<Option<WlBuffer>> = vec![None; buffers.len()];
    let (mut answers, mut refused, mut invalid) = (0, false, None);
    events.until(
        compositor,
        "make buffers of the dma-bufs",
        DEADLINE,
        |compositor| {
            for event in compositor.take_events() {
                match event {
                    Event::Created(index, wire) => {
                        answers += 1;
                        if let Some(place) = wires.get_mut(index) {
                            *place = Some(wire);
                        }
                    }
                    Event::Refused(_) => {
                        answers += 1;
                        refused = true;
                    }
                    Event::InvalidData(what) => invalid = Some(what),
                    _ => {}
                }
            }
            invalid.is_some() || answers >= buffers.len()
        },
    )?;
    if let Some(what) = invalid {
        return Err(OffersError::InvalidData {
            place: events.place().to_owned(),
            what,
        });
    }
    let wires: Vec<WlBuffer> = wires.into_iter().flatten().collect();
    if refused || wires.len() != buffers.len() {
        for wire in wires {
            wire.destroy();
        }
        return Ok(Answer::Refused);
    }
    Ok(Answer::Taken(wires))
}

/// Offers one buffer to the compositor, which answers with [`Event::Created`] or [`Event::Refused`] and `index`.
///
/// # Errors
///
/// [`OffersError::Unsayable`], [`OffersError::Offset`].
pub fn offer_one(
    compositor: &Compositor,
    handle: &QueueHandle<Compositor>,
    index: usize,
    buffer: &Buffer,
) -> Result<(), OffersError> {
    let layout = buffer.layout();
    let mut planes = Vec::new();
    for (plane, place) in layout.planes().iter().enumerate() {
        let offset = OffersError::Offset {
            plane,
            offset_bytes: place.offset_bytes,
        };
        let (Some(fd), Ok(offset_bytes)) =
            (buffer.plane_fd(plane), u32::try_from(place.offset_bytes))
        else {
            return Err(offset);
        };
        planes.push(Plane {
            fd,
            offset_bytes,
            stride_bytes: place.stride_bytes,
        });
    }
    let image = Image {
        width: layout.extent().width(),
        height: layout.extent().height(),
        fourcc: layout.format().fourcc.0,
        modifier: layout.format().modifier.0,
        planes: &planes,
    };
    Ok(offer(compositor, handle, index, &image)?)
}
