//! A client's description of a buffer, plane by plane, and the errors that a wrong one ends with.

use std::rc::Rc;
use std::sync::Mutex;

use covalent_alloc::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, LayoutError, Modifier};
use smithay::reexports::wayland_protocols::wp::linux_dmabuf::zv1::server::zwp_linux_buffer_params_v1::{
    Error, Flags, Request, ZwpLinuxBufferParamsV1,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_buffer::{self, WlBuffer};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, WEnum,
};

use super::ClientBuffer;
use crate::render::format::{self, PixelFormat};
use crate::state::State;

/// Planes that a description can have.
const PLANES_MAX: usize = 4;
/// The version from which on planes of different modifiers are an error rather than a failure.
const MODIFIERS_AGREE_SINCE: u32 = 5;

/// A description under way.
#[derive(Debug, Default)]
pub struct ParamsData(Mutex<Params>);

#[derive(Debug, Default)]
struct Params {
    used: bool,
    planes: [Option<PlaneDescriptor>; PLANES_MAX],
    modifier: Option<u64>,
    modifiers_differ: bool,
}

/// Marks buffers that were made here.
#[derive(Debug)]
pub struct DmabufMarker;

/// A protocol error with its message; the client that made it is disconnected.
type Wrong = (Error, String);

/// Why no buffer comes of a description.
#[derive(Debug)]
enum Refusal {
    /// The description is wrong.
    Wrong(Wrong),
    /// The description is right, and the buffer cannot be used all the same.
    Unusable(String),
}

impl Params {
    fn add(&mut self, index: u32, plane: PlaneDescriptor, modifier: u64) -> Result<(), Wrong> {
        if self.used {
            return Err(used());
        }
        let slot = usize::try_from(index)
            .ok()
            .and_then(|index| self.planes.get_mut(index))
            .ok_or_else(|| {
                let message = format!("plane index {index} is not one of 0 to {}", PLANES_MAX - 1);
                (Error::PlaneIdx, message)
            })?;
        if slot.is_some() {
            let message = format!("plane {index} was already added");
            return Err((Error::PlaneSet, message));
        }
        *slot = Some(plane);
        match self.modifier {
            None => self.modifier = Some(modifier),
            Some(first) if first != modifier => self.modifiers_differ = true,
            Some(_) => {}
        }
        Ok(())
    }

    /// Takes the description apart; it cannot be used again.
    fn take(
        &mut self,
        (width, height): (i32, i32),
        fourcc: u32,
        flags: WEnum<Flags>,
        advertised: impl Fn(u32, u64) -> bool,
    ) -> Result<(Descriptor, PixelFormat), Refusal> {
        if std::mem::replace(&mut self.used, true) {
            return Err(used().into());
        }
        let planes = std::mem::take(&mut self.planes);
        let extent = u32::try_from(width)
            .ok()
            .zip(u32::try_from(height).ok())
            .and_then(|(width, height)| Extent::new(width, height).ok())
            .ok_or_else(|| {
                let message = format!("{width}x{height} is no size of a picture");
                (Error::InvalidDimensions, message)
            })?;
        let modifier = self
            .modifier
            .ok_or_else(|| (Error::Incomplete, "no plane was added".to_owned()))?;
        let format = PixelFormat::from_fourcc(fourcc)
            .filter(|_| advertised(fourcc, modifier))
            .ok_or_else(|| {
                let message = format!(
                    "{} with modifier {modifier:#x} was not advertised",
                    format::name(fourcc)
                );
                (Error::InvalidFormat, message)
            })?;
        let given: Vec<bool> = planes.iter().map(Option::is_some).collect();
        let wanted = (0..PLANES_MAX).map(|plane| plane < format.planes());
        if !wanted.eq(given.iter().copied()) {
            let message = format!(
                "{} has planes 0 to {}, and the planes added are {:?}",
                format.name(),
                format.planes() - 1,
                (0..)
                    .zip(given)
                    .filter(|(_, there)| *there)
                    .map(|(plane, _)| plane)
                    .collect::<Vec<u32>>(),
            );
            return Err((Error::Incomplete, message).into());
        }
        if self.modifiers_differ {
            return Err(Refusal::Unusable(
                "the planes have different modifiers".to_owned(),
            ));
        }
        match flags {
            WEnum::Value(flags) if flags.is_empty() => {}
            flags => {
                return Err(Refusal::Unusable(format!(
                    "flags {flags:?}: pictures upside down or interlaced are not shown"
                )));
            }
        }
        let descriptor = Descriptor {
            extent,
            format: FormatModifier {
                fourcc: Fourcc(fourcc),
                modifier: Modifier(modifier),
            },
            planes: planes.into_iter().flatten().collect(),
        };
        Ok((descriptor, format))
    }
}

fn used() -> Wrong {
    let message = "a buffer was already asked of this object".to_owned();
    (Error::AlreadyUsed, message)
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<DescriptorError> for Refusal {
    fn from(error: DescriptorError) -> Self {
        let code = match &error {
            DescriptorError::Layout(layout) => match layout {
                LayoutError::PlaneCount { .. } => Error::Incomplete,
                LayoutError::UnknownFormat(_) => Error::InvalidFormat,
                // Strides that do not hold a row, and rows that end outside.
                _ => Error::OutOfBounds,
            },
            DescriptorError::Empty => Error::Incomplete,
            // An fd that is no dma-buf, or cannot be asked.
            _ => return Self::Unusable(error.to_string()),
        };
        Self::Wrong((code, error.to_string()))
    }
}

impl State {
    /// Makes a buffer of what a client described.
    fn import(
        &self,
        params: &mut Params,
        size: (i32, i32),
        fourcc: u32,
        flags: WEnum<Flags>,
    ) -> Result<ClientBuffer, Refusal> {
        let (descriptor, format) = params.take(size, fourcc, flags, |fourcc, modifier| {
            self.dmabuf.advertises(fourcc, modifier)
        })?;
        let buffer = Buffer::import(descriptor)?;
        let buffer = ClientBuffer::new(buffer, format);
        // Whatever the display cannot show, the CPU has to be able to read: better to say so now than with the first frame.
        if !self.screen.backend().takes(&buffer) {
            buffer
                .try_map()
                .map_err(|error| Refusal::Unusable(error.to_string()))?;
        }
        Ok(buffer)
    }
}

impl Dispatch<ZwpLinuxBufferParamsV1, ParamsData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        object: &ZwpLinuxBufferParamsV1,
        request: Request,
        data: &ParamsData,
        display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        // Nothing panics while it is held, so a poisoned lock holds a whole description all the same.
        let mut params = match data.0.lock() {
            Ok(params) => params,
            Err(poisoned) => poisoned.into_inner(),
        };
        match request {
            Request::Add {
                fd,
                plane_idx,
                offset,
                stride,
                modifier_hi,
                modifier_lo,
            } => {
                let plane = PlaneDescriptor {
                    fd,
                    offset_bytes: offset.into(),
                    stride_bytes: stride,
                };
                let modifier = u64::from(modifier_hi) << 32 | u64::from(modifier_lo);
                let mut added = params.add(plane_idx, plane, modifier);
                if params.modifiers_differ && object.version() >= MODIFIERS_AGREE_SINCE {
                    let message = "the planes have different modifiers".to_owned();
                    added = added.and(Err((Error::InvalidFormat, message)));
                }
                if let Err((code, message)) = added {
                    object.post_error(code, message);
                }
            }
            Request::Create {
                width,
                height,
                format,
                flags,
            } => match state.import(&mut params, (width, height), format, flags) {
                Ok(buffer) => {
                    let resource = client.create_resource::<WlBuffer, DmabufMarker, Self>(
                        display,
                        1,
                        DmabufMarker,
                    );
                    // It fails for a client that is gone, and then nobody waits for an answer.
                    if let Ok(resource) = resource {
                        object.created(&resource);
                        state.dmabuf.buffers.insert(resource.id(), Rc::new(buffer));
                    }
                }
                Err(Refusal::Wrong((code, message))) => object.post_error(code, message),
                Err(Refusal::Unusable(reason)) => {
                    tracing::info!(reason, "a client's buffer cannot be used");
                    object.failed();
                }
            },
            Request::CreateImmed {
                buffer_id,
                width,
                height,
                format,
                flags,
            } => match state.import(&mut params, (width, height), format, flags) {
                Ok(buffer) => {
                    let resource = data_init.init(buffer_id, DmabufMarker);
                    state.dmabuf.buffers.insert(resource.id(), Rc::new(buffer));
                }
                Err(Refusal::Wrong((code, message))) => object.post_error(code, message),
                Err(Refusal::Unusable(reason)) => {
                    object.post_error(Error::InvalidWlBuffer, reason);
                }
            },
            _ => {}
        }
    }
}

impl Dispatch<WlBuffer, DmabufMarker> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _buffer: &WlBuffer,
        _request: wl_buffer::Request,
        _data: &DmabufMarker,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
    }

    fn destroyed(state: &mut Self, _client: ClientId, buffer: &WlBuffer, _data: &DmabufMarker) {
        // Frames that show it hold the memory themselves.
        state.dmabuf.buffers.remove(&buffer.id());
    }
}
