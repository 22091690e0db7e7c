//! What a client's bytes mean, as far as it takes to know where a message ends and how many descriptors belong to it.
//!
//! wayland-backend 0.3 unwraps strings that may not be null without looking, waits for ever for arguments that a message is
//! too short for, and keeps descriptors that no message takes. Messages are therefore looked at before it gets them. Objects
//! are known by the requests that made them. One that is gone is known here all the same, which does no harm: wayland-backend
//! knows better, and ends the client.

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

/// Bytes of object, opcode and size.
const HEADER: usize = 8;
/// Bytes of the longest message that is taken; libwayland takes no longer ones either.
pub(super) const MESSAGE_MAX: usize = 4096;
/// The first number of the objects that the compositor makes.
const SERVER_IDS: u32 = 0xff00_0000;

/// `wl_display.error.invalid_object`, which the bindings do not name.
const INVALID_OBJECT: u32 = 0;
/// `wl_display.error.invalid_method`: this also stands for arguments that are not valid.
pub(super) const INVALID_METHOD: u32 = 1;
/// `wl_display.error.no_memory`.
pub(super) const NO_MEMORY: u32 = 2;

const BIND: &[ArgumentType] = &[
    ArgumentType::Uint,
    ArgumentType::Str(AllowNull::No),
    ArgumentType::Uint,
    ArgumentType::NewId,
];

/// Returns the interface of a global that this compositor may announce.
fn global(name: &[u8]) -> Option<&'static Interface> {
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

/// Why a client is disconnected: an error of `wl_display`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u32,
    pub(super) message: String,
}

fn invalid(code: u32, message: String) -> Violation {
    Violation { code, message }
}

/// A whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Its bytes, with its header.
    pub(super) size: usize,
    /// Descriptors that it takes.
    pub(super) descriptors: usize,
}

/// What an object is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Display,
    Registry,
    Other(&'static Interface),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Display => "wl_display",
            Self::Registry => "wl_registry",
            Self::Other(interface) => interface.name,
        }
    }

    /// Returns the arguments of a request, and what it makes.
    fn request(self, opcode: usize) -> Option<(&'static [ArgumentType], Option<Self>)> {
        match (self, opcode) {
            (Self::Display, 0) => {
                let callback = Self::Other(WlCallback::interface());
                Some((&[ArgumentType::NewId], Some(callback)))
            }
            (Self::Display, 1) => Some((&[ArgumentType::NewId], Some(Self::Registry))),
            // What it makes is named by an argument.
            (Self::Registry, 0) => Some((BIND, None)),
            (Self::Display | Self::Registry, _) => None,
            (Self::Other(interface), opcode) => {
                let request = interface.requests.get(opcode)?;
                Some((request.signature, request.child_interface.map(Self::Other)))
            }
        }
    }
}

/// The objects that a client made, by their numbers.
#[derive(Debug)]
pub(super) struct Objects(Vec<Option<Kind>>);

impl Objects {
    /// Starts with the display alone.
    pub(super) fn new() -> Self {
        Self(vec![None, Some(Kind::Display)])
    }

    /// Reads the message that `bytes` begin with; `None` where it is not complete.
    ///
    /// `made_here` finds the interface of an object that the compositor made.
    ///
    /// # Errors
    ///
    /// When no client of good will sends such a message.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        made_here: impl FnOnce(u32) -> Option<&'static Interface>,
    ) -> Result<Option<Message>, Violation> {
        let (Some(object), Some(header)) = (word(bytes, 0), word(bytes, 4)) else {
            return Ok(None);
        };
        let (size, opcode) = (place(header >> 16), place(header & 0xffff));
        if !(HEADER..=MESSAGE_MAX).contains(&size) {
            let message = format!("a message to object {object} is said to have {size} bytes");
            return Err(invalid(INVALID_METHOD, message));
        }
        let kind = if object >= SERVER_IDS {
            made_here(object).map(Kind::Other)
        } else {
            self.0.get(place(object)).copied().flatten()
        };
        let kind =
            kind.ok_or_else(|| invalid(INVALID_OBJECT, format!("object {object} does not exist")))?;
        let (signature, child) = kind.request(opcode).ok_or_else(|| {
            let message = format!("{}@{object} has no request {opcode}", kind.name());
            invalid(INVALID_METHOD, message)
        })?;
        let Some(body) = bytes.get(HEADER..size) else {
            return Ok(None);
        };
        let read = arguments(signature, body).map_err(|why| {
            let message = format!("{}@{object}, request {opcode}: {why}", kind.name());
            invalid(INVALID_METHOD, message)
        })?;
        if let Some(id) = read.makes {
            let child = child.or_else(|| read.text.and_then(global).map(Kind::Other));
            self.insert(id, child)?;
        }
        Ok(Some(Message {
            size,
            descriptors: read.descriptors,
        }))
    }

    fn insert(&mut self, id: u32, kind: Option<Kind>) -> Result<(), Violation> {
        let at = place(id);
        // The display is object 1 for ever.
        if id <= 1 || id >= SERVER_IDS || at > self.0.len() {
            let message = format!("{id} is not the number of a new object");
            return Err(invalid(INVALID_OBJECT, message));
        }
        match self.0.get_mut(at) {
            Some(held) => *held = kind,
            None => self.0.push(kind),
        }
        Ok(())
    }
}

/// What arguments say.
#[derive(Default)]
struct Read<'a> {
    makes: Option<u32>,
    text: Option<&'a [u8]>,
    descriptors: usize,
}

/// Reads the arguments of a message.
fn arguments<'a>(signature: &[ArgumentType], body: &'a [u8]) -> Result<Read<'a>, &'static str> {
    const SHORT: &str = "the message ends before its arguments do";
    let mut read = Read::default();
    let mut at = 0_usize;
    for kind in signature {
        if *kind == ArgumentType::Fd {
            read.descriptors = read.descriptors.saturating_add(1);
            continue;
        }
        let value = word(body, at).ok_or(SHORT)?;
        at = at.saturating_add(4);
        match kind {
            ArgumentType::NewId => read.makes = Some(value),
            ArgumentType::Str(_) | ArgumentType::Array => {
                let length = place(value);
                let end = at.saturating_add(length);
                let content = body.get(at..end).ok_or(SHORT)?;
                if let ArgumentType::Str(null) = kind {
                    match content.split_last() {
                        None if *null == AllowNull::No => return Err("a string is null"),
                        None => {}
                        Some((0, text)) if !text.contains(&0) => read.text = Some(text),
                        Some(_) => return Err("a string does not end where it says"),
                    }
                }
                at = at.saturating_add(length.next_multiple_of(4));
            }
            _ => {}
        }
    }
    // The padding of the last argument belongs to the message as well.
    if at > body.len() {
        Err(SHORT)
    } else {
        Ok(read)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn place(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
