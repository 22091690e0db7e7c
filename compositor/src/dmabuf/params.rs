//! `zwp_linux_buffer_params_v1`: collects the planes of a buffer, validates the parameters and imports the buffer.

use std::rc::Rc;
use std::sync::Mutex;

use covalent_alloc::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, LayoutError, Modifier};
use covalent_protocols::Device;
use covalent_protocols::linux_dmabuf::server::zwp_linux_buffer_params_v1::{
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

/// The maximum number of planes of a buffer.
const PLANES_MAX: usize = 4;
/// The first protocol version in which planes with different modifiers are a protocol error. In earlier versions the compositor
/// sends the `failed` event.
const MODIFIERS_AGREE_SINCE: u32 = 5;

/// The user data of a params object: the planes that were added so far.
#[derive(Debug, Default)]
pub struct ParamsData(Mutex<Params>);

/// The parameters that a client has set so far. They can be used for one buffer only.
#[derive(Debug, Default)]
struct Params {
    used: bool,
    planes: [Option<PlaneDescriptor>; PLANES_MAX],
    modifier: Option<u64>,
    modifiers_differ: bool,
    /// The device from which the compositor should sample the buffer, as the client requested with `set_sampling_device`.
    sampling_device: Option<Device>,
}

/// The user data of a `wl_buffer` that this module created.
#[derive(Debug)]
pub struct DmabufMarker;

/// A protocol error and its message. The compositor disconnects the client with it.
type ProtocolError = (Error, String);

/// The reason why a buffer cannot be imported.
#[derive(Debug)]
enum ImportFailure {
    /// The parameters violate the protocol.
    Protocol(ProtocolError),
    /// The parameters are valid, but the buffer cannot be imported.
    Unusable(String),
}

impl Params {
    /// Adds a plane. Each plane can be added once.
    fn add(
        &mut self,
        index: u32,
        plane: PlaneDescriptor,
        modifier: u64,
    ) -> Result<(), ProtocolError> {
        if self.used {
            return Err(already_used());
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

    /// Parses the device number in the array of `set_sampling_device`, and stores it.
    fn set_sampling_device(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        if self.used {
            return Err(already_used());
        }
        let device = Device::from_bytes(bytes).ok_or_else(|| {
            let message = format!("a dev_t has 8 bytes, and the array has {}", bytes.len());
            (Error::InvalidDevTSize, message)
        })?;
        self.sampling_device = Some(device);
        Ok(())
    }

    /// Validates the parameters and takes the planes. The params object cannot be used again.
    fn validate(
        &mut self,
        (width, height): (i32, i32),
        fourcc: u32,
        flags: WEnum<Flags>,
        planes_of: impl Fn(u32, u64) -> Option<usize>,
    ) -> Result<(Descriptor, PixelFormat), ImportFailure> {
        if std::mem::replace(&mut self.used, true) {
            return Err(already_used().into());
        }
        let planes = std::mem::take(&mut self.planes);
        let extent = u32::try_from(width)
            .ok()
            .zip(u32::try_from(height).ok())
            .and_then(|(width, height)| Extent::new(width, height).ok())
            .ok_or_else(|| {
                let message = format!("{width}x{height} is not a valid buffer size");
                (Error::InvalidDimensions, message)
            })?;
        let modifier = self
            .modifier
            .ok_or_else(|| (Error::Incomplete, "no plane was added".to_owned()))?;
        let (format, plane_count) = PixelFormat::from_fourcc(fourcc)
            .zip(planes_of(fourcc, modifier))
            .ok_or_else(|| {
                let message = format!(
                    "{} with modifier {modifier:#x} was not advertised",
                    format::name(fourcc)
                );
                (Error::InvalidFormat, message)
            })?;
        let added_planes: Vec<bool> = planes.iter().map(Option::is_some).collect();
        let expected_planes = (0..PLANES_MAX).map(|plane| plane < plane_count);
        if !expected_planes.eq(added_planes.iter().copied()) {
            let message = format!(
                "{} with modifier {modifier:#x} has {plane_count} planes, and the planes added are {:?}",
                format.name(),
                (0..)
                    .zip(added_planes)
                    .filter(|(_, there)| *there)
                    .map(|(plane, _)| plane)
                    .collect::<Vec<u32>>(),
            );
            return Err((Error::Incomplete, message).into());
        }
        if self.modifiers_differ {
            return Err(ImportFailure::Unusable(
                "the planes have different modifiers".to_owned(),
            ));
        }
        match flags {
            WEnum::Value(flags) if flags.is_empty() => {}
            flags => {
                return Err(ImportFailure::Unusable(format!(
                    "flags {flags:?} are not supported: a buffer must be neither y-inverted nor interlaced"
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

/// Returns the protocol error for a request to an object that has already created a buffer.
fn already_used() -> ProtocolError {
    let message = "a buffer was already requested from this object".to_owned();
    (Error::AlreadyUsed, message)
}

impl From<ProtocolError> for ImportFailure {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<DescriptorError> for ImportFailure {
    fn from(error: DescriptorError) -> Self {
        let code = match &error {
            DescriptorError::Layout(layout) => match layout {
                LayoutError::PlaneCount { .. } => Error::Incomplete,
                LayoutError::UnknownFormat(_) => Error::InvalidFormat,
                // Either the stride is shorter than a row, or a plane ends outside of its dma-buf.
                _ => Error::OutOfBounds,
            },
            DescriptorError::Empty => Error::Incomplete,
            // The file descriptor is not a dma-buf, or its size cannot be queried.
            _ => return Self::Unusable(error.to_string()),
        };
        Self::Protocol((code, error.to_string()))
    }
}

impl State {
    /// Validates a client's parameters and imports the buffer.
    fn import(
        &mut self,
        params: &mut Params,
        size: (i32, i32),
        fourcc: u32,
        flags: WEnum<Flags>,
    ) -> Result<ClientBuffer, ImportFailure> {
        let (descriptor, format) = params.validate(size, fourcc, flags, |fourcc, modifier| {
            self.dmabuf.planes(fourcc, modifier)
        })?;
        // A device that was not advertised is not a protocol error, because the device may just have been removed.
        let unknown = params
            .sampling_device
            .filter(|device| !self.dmabuf.samples_from(*device));
        if let Some(device) = unknown {
            return Err(ImportFailure::Unusable(format!(
                "buffers cannot be sampled from the device {:#x}",
                device.0
            )));
        }
        let buffer = Buffer::import(descriptor)?;
        let buffer = ClientBuffer::new(buffer, format);
        // A linear buffer has to be usable by the plane, the GPU renderer or the CPU renderer. Any other buffer has to be
        // importable by the GPU. The buffer is tested here, so that a failure is reported by the `failed` event and not only by a
        // missing surface in the first frame.
        if buffer.is_linear() && self.outputs.can_scan_out(&buffer) {
            return Ok(buffer);
        }
        // Clients allocate for the card of the first output, so the renderer of that output is used.
        let renderer = self.outputs.first().map(|screen| screen.renderer().clone());
        let mut renderer = renderer.as_ref().map(|renderer| renderer.borrow_mut());
        let refusal = match renderer.as_mut().and_then(|renderer| renderer.gles()) {
            Some(gles) => match gles.try_import(format, buffer.buffer(), buffer.imported()) {
                Ok(()) => return Ok(buffer),
                Err(reason) => reason,
            },
            None => "the GPU is not used".to_owned(),
        };
        if !buffer.is_linear() {
            return Err(ImportFailure::Unusable(refusal));
        }
        buffer
            .try_map()
            .map_err(|error| ImportFailure::Unusable(error.to_string()))?;
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
        // Nothing panics while the lock is held, so the parameters behind a poisoned lock are complete.
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
            Request::SetSamplingDevice { device } => {
                if let Err((code, message)) = params.set_sampling_device(&device) {
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
                    // The creation fails only if the client has disconnected, so no event is sent.
                    if let Ok(resource) = resource {
                        object.created(&resource);
                        state.dmabuf.buffers.insert(resource.id(), Rc::new(buffer));
                    }
                }
                Err(ImportFailure::Protocol((code, message))) => object.post_error(code, message),
                Err(ImportFailure::Unusable(reason)) => {
                    tracing::info!(reason, "a client's buffer cannot be imported");
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
                Err(ImportFailure::Protocol((code, message))) => object.post_error(code, message),
                Err(ImportFailure::Unusable(reason)) => {
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
        // Frames that show the buffer hold their own references to the dma-buf.
        state.dmabuf.buffers.remove(&buffer.id());
    }
}
