//! A parser for the Wayland wire format that finds the end of each message and the number of its file descriptors.
//!
//! wayland-backend 0.3 panics on a null string where the protocol forbids it, waits forever for the arguments of a message that
//! is too short, and keeps file descriptors that no message takes. Messages are therefore checked before wayland-backend
//! receives them. The type of an object is derived from the request that created it. A destroyed object stays in the table,
//! which is harmless: wayland-backend disconnects a client that uses it.

use smithay::reexports::wayland_protocols::wp::{
    linux_dmabuf::zv1::server::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1,
    linux_drm_syncobj::v1::server::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    presentation_time::server::wp_presentation::WpPresentation,
    viewporter::server::wp_viewporter::WpViewporter,
};
use smithay::reexports::wayland_protocols::xdg::{
    shell::server::xdg_wm_base::XdgWmBase,
    xdg_output::zv1::server::zxdg_output_manager_v1::ZxdgOutputManagerV1,
};
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::protocol::{AllowNull, ArgumentType, Interface};
use smithay::reexports::wayland_server::protocol::{
    wl_callback::WlCallback, wl_compositor::WlCompositor,
    wl_data_device_manager::WlDataDeviceManager, wl_output::WlOutput, wl_seat::WlSeat,
    wl_shm::WlShm, wl_subcompositor::WlSubcompositor,
};

/// The number of bytes of a message header: object id, opcode and size.
const HEADER: usize = 8;
/// The largest size of a message in bytes, as in libwayland.
pub(super) const MESSAGE_MAX: usize = 4096;
/// The first id of the objects that the compositor creates.
const SERVER_ID_MIN: u32 = 0xff00_0000;

/// `wl_display.error.invalid_object`, which the bindings do not name.
const INVALID_OBJECT: u32 = 0;
/// `wl_display.error.invalid_method`, which also covers malformed arguments.
pub(super) const INVALID_METHOD: u32 = 1;
/// `wl_display.error.no_memory`.
pub(super) const NO_MEMORY: u32 = 2;

const BIND_SIGNATURE: &[ArgumentType] = &[
    ArgumentType::Uint,
    ArgumentType::Str(AllowNull::No),
    ArgumentType::Uint,
    ArgumentType::NewId,
];

/// Returns the interface of a global that this compositor may advertise.
fn global_interface(name: &[u8]) -> Option<&'static Interface> {
    [
        WlCompositor::interface(),
        WlSubcompositor::interface(),
        WlShm::interface(),
        WlSeat::interface(),
        WlOutput::interface(),
        WlDataDeviceManager::interface(),
        XdgWmBase::interface(),
        ZxdgOutputManagerV1::interface(),
        WpViewporter::interface(),
        WpPresentation::interface(),
        ZwpLinuxDmabufV1::interface(),
        WpLinuxDrmSyncobjManagerV1::interface(),
    ]
    .into_iter()
    .find(|interface| interface.name.as_bytes() == name)
}

/// A protocol error of `wl_display`, by which a client is disconnected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u32,
    pub(super) message: String,
}

fn violation(code: u32, message: String) -> Violation {
    Violation { code, message }
}

/// A complete message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The size in bytes, including the header.
    pub(super) size: usize,
    /// The number of file descriptors that the message takes.
    pub(super) fds: usize,
}

/// The type of an object.
#[derive(Clone, Copy, Debug)]
enum ObjectType {
    Display,
    Registry,
    Other(&'static Interface),
}

impl ObjectType {
    fn name(self) -> &'static str {
        match self {
            Self::Display => "wl_display",
            Self::Registry => "wl_registry",
            Self::Other(interface) => interface.name,
        }
    }

    /// Returns the signature of a request, and the type of the object that it creates.
    fn request_signature(self, opcode: usize) -> Option<(&'static [ArgumentType], Option<Self>)> {
        match (self, opcode) {
            (Self::Display, 0) => {
                let callback = Self::Other(WlCallback::interface());
                Some((&[ArgumentType::NewId], Some(callback)))
            }
            (Self::Display, 1) => Some((&[ArgumentType::NewId], Some(Self::Registry))),
            // `wl_registry.bind` names the interface in an argument.
            (Self::Registry, 0) => Some((BIND_SIGNATURE, None)),
            (Self::Display | Self::Registry, _) => None,
            (Self::Other(interface), opcode) => {
                let request = interface.requests.get(opcode)?;
                Some((request.signature, request.child_interface.map(Self::Other)))
            }
        }
    }
}

/// The types of a client's objects by their id.
#[derive(Debug)]
pub(super) struct ObjectTable(Vec<Option<ObjectType>>);

impl ObjectTable {
    /// Creates a table that contains only `wl_display`.
    pub(super) fn new() -> Self {
        Self(vec![None, Some(ObjectType::Display)])
    }

    /// Parses the message at the start of `bytes`; `None` if it is not complete.
    ///
    /// `server_interface` returns the interface of an object that the compositor created.
    ///
    /// # Errors
    ///
    /// When the message is malformed.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        server_interface: impl FnOnce(u32) -> Option<&'static Interface>,
    ) -> Result<Option<Message>, Violation> {
        let (Some(object), Some(header)) = (read_word(bytes, 0), read_word(bytes, 4)) else {
            return Ok(None);
        };
        let (size, opcode) = (to_index(header >> 16), to_index(header & 0xffff));
        if !(HEADER..=MESSAGE_MAX).contains(&size) {
            let message = format!("a message to object {object} has the invalid size {size}");
            return Err(violation(INVALID_METHOD, message));
        }
        let object_type = if object >= SERVER_ID_MIN {
            server_interface(object).map(ObjectType::Other)
        } else {
            self.0.get(to_index(object)).copied().flatten()
        };
        let object_type = object_type
            .ok_or_else(|| violation(INVALID_OBJECT, format!("object {object} does not exist")))?;
        let (signature, child) = object_type.request_signature(opcode).ok_or_else(|| {
            let message = format!("{}@{object} has no request {opcode}", object_type.name());
            violation(INVALID_METHOD, message)
        })?;
        let Some(body) = bytes.get(HEADER..size) else {
            return Ok(None);
        };
        let read = parse_arguments(signature, body).map_err(|error| {
            let message = format!("{}@{object}, request {opcode}: {error}", object_type.name());
            violation(INVALID_METHOD, message)
        })?;
        if let Some(id) = read.new_id {
            let child = child.or_else(|| {
                read.string
                    .and_then(global_interface)
                    .map(ObjectType::Other)
            });
            self.insert(id, child)?;
        }
        Ok(Some(Message {
            size,
            fds: read.fds,
        }))
    }

    fn insert(&mut self, id: u32, object_type: Option<ObjectType>) -> Result<(), Violation> {
        let index = to_index(id);
        // Object 1 is always `wl_display`.
        if id <= 1 || id >= SERVER_ID_MIN || index > self.0.len() {
            let message = format!("{id} is not the next free object id");
            return Err(violation(INVALID_OBJECT, message));
        }
        match self.0.get_mut(index) {
            Some(entry) => *entry = object_type,
            None => self.0.push(object_type),
        }
        Ok(())
    }
}

/// The parsed arguments of a message.
#[derive(Default)]
struct ParsedArguments<'a> {
    new_id: Option<u32>,
    string: Option<&'a [u8]>,
    fds: usize,
}

/// Parses the arguments of a message.
fn parse_arguments<'a>(
    signature: &[ArgumentType],
    body: &'a [u8],
) -> Result<ParsedArguments<'a>, &'static str> {
    const TOO_SHORT: &str = "the message ends before its arguments";
    let mut read = ParsedArguments::default();
    let mut offset = 0_usize;
    for argument in signature {
        if *argument == ArgumentType::Fd {
            read.fds = read.fds.saturating_add(1);
            continue;
        }
        let value = read_word(body, offset).ok_or(TOO_SHORT)?;
        offset = offset.saturating_add(4);
        match argument {
            ArgumentType::NewId => read.new_id = Some(value),
            ArgumentType::Str(_) | ArgumentType::Array => {
                let length = to_index(value);
                let end = offset.saturating_add(length);
                let content = body.get(offset..end).ok_or(TOO_SHORT)?;
                if let ArgumentType::Str(allow_null) = argument {
                    match content.split_last() {
                        None if *allow_null == AllowNull::No => {
                            return Err("a string is null that may not be null");
                        }
                        None => {}
                        Some((0, string)) if !string.contains(&0) => read.string = Some(string),
                        Some(_) => return Err("a string does not end with its only zero byte"),
                    }
                }
                offset = offset.saturating_add(length.next_multiple_of(4));
            }
            _ => {}
        }
    }
    // The message includes the padding of its last argument.
    if offset > body.len() {
        Err(TOO_SHORT)
    } else {
        Ok(read)
    }
}

fn read_word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn to_index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
