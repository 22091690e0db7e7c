//! `linux-dmabuf`: requests a `wl_buffer` of a dma-buf, which the compositor creates or refuses.

use std::os::fd::BorrowedFd;

use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, event_created_child};
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_buffer_params_v1::{
    self, EVT_CREATED_OPCODE, Flags, ZwpLinuxBufferParamsV1,
};

use crate::compositor::{Compositor, Event, MissingGlobal, require_global};
use crate::explicit_sync::split_u64;
use crate::shm::Slot;

/// The lowest version of linux-dmabuf that is used. It is the first with modifiers.
pub const LOWEST_VERSION: u32 = 3;

/// One plane of an image, as `zwp_linux_buffer_params_v1.add` takes it.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// The dma-buf.
    pub fd: BorrowedFd<'a>,
    /// Offset of the plane in the dma-buf.
    pub offset_bytes: u32,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

/// An image in dma-bufs.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// DRM fourcc code.
    pub fourcc: u32,
    /// DRM format modifier of all planes.
    pub modifier: u64,
    /// The planes, in the format's order.
    pub planes: &'a [Plane<'a>],
}

/// Why a `wl_buffer` of an image cannot be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateBufferError {
    /// The compositor does not support linux-dmabuf.
    #[error(transparent)]
    Missing(#[from] MissingGlobal),
    /// The image's size or its number of planes exceeds the range of the protocol's arguments.
    #[error(
        "an image of {width}x{height} with {planes} planes is larger than linux-dmabuf can describe"
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The number of planes.
        planes: usize,
    },
}

/// Requests a `wl_buffer` of an image.
///
/// The compositor answers with [`Event::Created`] or [`Event::Refused`], which have `index`; [`Event::Released`] of the buffer
/// has the same index. The request is `create`, not `create_immed`, so that a failed import does not end the connection.
///
/// # Errors
///
/// [`CreateBufferError`].
///
/// # References
///
/// `zwp_linux_buffer_params_v1.create` of `linux-dmabuf`.
pub fn request_wl_buffer(
    compositor: &Compositor,
    handle: &QueueHandle<Compositor>,
    index: usize,
    image: &Image<'_>,
) -> Result<(), CreateBufferError> {
    let dmabuf = require_global(compositor.globals.dmabuf.as_ref(), LOWEST_VERSION)?;
    let size = || CreateBufferError::Size {
        width: image.width,
        height: image.height,
        planes: image.planes.len(),
    };
    let width = i32::try_from(image.width).map_err(|_| size())?;
    let height = i32::try_from(image.height).map_err(|_| size())?;
    let count = u32::try_from(image.planes.len()).map_err(|_| size())?;
    let [high, low] = split_u64(image.modifier);
    let params = dmabuf.create_params(handle, index);
    for (number, plane) in (0..count).zip(image.planes) {
        params.add(
            plane.fd,
            number,
            plane.offset_bytes,
            plane.stride_bytes,
            high,
            low,
        );
    }
    params.create(width, height, image.fourcc, Flags::empty());
    Ok(())
}

impl Dispatch<ZwpLinuxBufferParamsV1, usize> for Compositor {
    fn event(
        state: &mut Self,
        params: &ZwpLinuxBufferParamsV1,
        event: zwp_linux_buffer_params_v1::Event,
        index: &usize,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            zwp_linux_buffer_params_v1::Event::Created { buffer } => {
                if let Some(slot) = buffer.data::<Slot>() {
                    slot.set(*index);
                }
                state.push_event(Event::Created(*index, buffer));
            }
            zwp_linux_buffer_params_v1::Event::Failed => state.push_event(Event::Refused(*index)),
            _ => return,
        }
        params.destroy();
    }

    event_created_child!(Compositor, ZwpLinuxBufferParamsV1, [
        EVT_CREATED_OPCODE => (WlBuffer, Slot::default()),
    ]);
}
