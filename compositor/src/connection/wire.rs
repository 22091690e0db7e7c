//! Parses the Wayland wire format, to find the end of each message and the number of its file descriptors.
//!
//! wayland-backend 0.3 panics on a null string where the protocol forbids it, waits for ever for the arguments of a message that
//! is too short, and keeps file descriptors that belong to no message. Messages are therefore checked before wayland-backend
//! receives them.

use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1;
use smithay::reexports::wayland_protocols::ext::session_lock::v1::server::ext_session_lock_manager_v1::ExtSessionLockManagerV1;
use smithay::reexports::wayland_protocols::ext::{
    image_capture_source::v1::server::ext_output_image_capture_source_manager_v1::ExtOutputImageCaptureSourceManagerV1,
    image_copy_capture::v1::server::ext_image_copy_capture_manager_v1::ExtImageCopyCaptureManagerV1,
};
use smithay::reexports::wayland_protocols::ext::{
    data_control::v1::server::ext_data_control_manager_v1::ExtDataControlManagerV1,
    foreign_toplevel_list::v1::server::ext_foreign_toplevel_list_v1::ExtForeignToplevelListV1,
    idle_notify::v1::server::ext_idle_notifier_v1::ExtIdleNotifierV1,
};
use smithay::reexports::wayland_protocols::wp::{
    color_representation::v1::server::wp_color_representation_manager_v1::WpColorRepresentationManagerV1,
    cursor_shape::v1::server::wp_cursor_shape_manager_v1::WpCursorShapeManagerV1,
    linux_drm_syncobj::v1::server::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    idle_inhibit::zv1::server::zwp_idle_inhibit_manager_v1::ZwpIdleInhibitManagerV1,
    keyboard_shortcuts_inhibit::zv1::server::zwp_keyboard_shortcuts_inhibit_manager_v1::ZwpKeyboardShortcutsInhibitManagerV1,
    pointer_constraints::zv1::server::zwp_pointer_constraints_v1::ZwpPointerConstraintsV1,
    pointer_gestures::zv1::server::zwp_pointer_gestures_v1::ZwpPointerGesturesV1,
    presentation_time::server::wp_presentation::WpPresentation,
    relative_pointer::zv1::server::zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1,
    primary_selection::zv1::server::zwp_primary_selection_device_manager_v1::ZwpPrimarySelectionDeviceManagerV1,
    security_context::v1::server::wp_security_context_manager_v1::WpSecurityContextManagerV1,
    tablet::zv2::server::zwp_tablet_manager_v2::ZwpTabletManagerV2,
    viewporter::server::wp_viewporter::WpViewporter,
};
use smithay::reexports::wayland_protocols::xdg::{
    activation::v1::server::xdg_activation_v1::XdgActivationV1,
    shell::server::xdg_wm_base::XdgWmBase,
    xdg_output::zv1::server::zxdg_output_manager_v1::ZxdgOutputManagerV1,
};
use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::zwlr_layer_shell_v1::ZwlrLayerShellV1;
use smithay::reexports::wayland_protocols_wlr::screencopy::v1::server::zwlr_screencopy_manager_v1::ZwlrScreencopyManagerV1;
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::zwlr_data_control_manager_v1::ZwlrDataControlManagerV1;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::protocol::{AllowNull, ArgumentType, Interface};
use smithay::reexports::wayland_server::protocol::{
    wl_callback::WlCallback, wl_compositor::WlCompositor,
    wl_data_device_manager::WlDataDeviceManager, wl_output::WlOutput, wl_seat::WlSeat,
    wl_shm::WlShm, wl_subcompositor::WlSubcompositor,
};

use super::shm_pools::ShmRequest;
use crate::limits::LimitExceeded;

/// The size of a message header in bytes: object id, opcode and size.
pub(super) const HEADER: usize = 8;
/// The largest size of a message in bytes, as in libwayland.
pub(super) const MESSAGE_MAX: usize = 4096;
/// The object id of `wl_display`.
pub(super) const DISPLAY_ID: u32 = 1;
/// The opcode of `wl_display.delete_id`.
pub(super) const DELETE_ID: usize = 1;
/// The first id of the objects that the compositor creates.
pub(super) const SERVER_ID_MIN: u32 = 0xff00_0000;

/// The value of `wl_display.error.invalid_object`, for which the bindings have no constant.
pub(super) const INVALID_OBJECT: u32 = 0;
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

/// Returns the interface with this name if the compositor can advertise it as a global.
pub(super) fn global_interface(name: &[u8]) -> Option<&'static Interface> {
    [
        WlCompositor::interface(),
        WlSubcompositor::interface(),
        WlShm::interface(),
        WlSeat::interface(),
        WlOutput::interface(),
        WlDataDeviceManager::interface(),
        ZwpPrimarySelectionDeviceManagerV1::interface(),
        ExtDataControlManagerV1::interface(),
        ZwlrDataControlManagerV1::interface(),
        ExtIdleNotifierV1::interface(),
        ZwpIdleInhibitManagerV1::interface(),
        ExtForeignToplevelListV1::interface(),
        WpSecurityContextManagerV1::interface(),
        ZwpTabletManagerV2::interface(),
        ZwpRelativePointerManagerV1::interface(),
        ZwpPointerConstraintsV1::interface(),
        ZwpPointerGesturesV1::interface(),
        ZwpKeyboardShortcutsInhibitManagerV1::interface(),
        XdgWmBase::interface(),
        ZwlrLayerShellV1::interface(),
        ExtSessionLockManagerV1::interface(),
        ZxdgOutputManagerV1::interface(),
        XdgActivationV1::interface(),
        WpViewporter::interface(),
        WpCursorShapeManagerV1::interface(),
        WpColorRepresentationManagerV1::interface(),
        WpPresentation::interface(),
        ZwpLinuxDmabufV1::interface(),
        WpLinuxDrmSyncobjManagerV1::interface(),
        ExtOutputImageCaptureSourceManagerV1::interface(),
        ExtImageCopyCaptureManagerV1::interface(),
        ZwlrScreencopyManagerV1::interface(),
    ]
    .into_iter()
    .find(|interface| interface.name.as_bytes() == name)
}

/// A protocol error of `wl_display`, with which a client is disconnected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: u32,
    pub(super) message: String,
}

/// Makes a protocol error of this code.
pub(super) fn violation(code: u32, message: String) -> Violation {
    Violation { code, message }
}

impl From<LimitExceeded> for Violation {
    fn from(exceeded: LimitExceeded) -> Self {
        violation(NO_MEMORY, exceeded.to_string())
    }
}

/// Encodes a violation as the event `wl_display.error`.
pub(super) fn error_event(violation: &Violation) -> Vec<u8> {
    let mut text = violation.message.clone().into_bytes();
    text.push(0);
    let length = u32::try_from(text.len()).unwrap_or(0);
    text.resize(text.len().next_multiple_of(4), 0);
    let size = u32::try_from(text.len().saturating_add(20)).unwrap_or(0);
    let words = [DISPLAY_ID, size << 16, DISPLAY_ID, violation.code, length];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.extend(text);
    bytes
}

/// A complete message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// The size in bytes, including the header.
    pub(super) size: usize,
    /// The number of file descriptors that belong to the message.
    pub(super) fds: usize,
    /// The id and the type of the new object, if the message creates one.
    pub(super) created: Option<(u32, Option<ObjectType>)>,
    /// The id of the object in the compositor's id range that the message destroys, if any.
    pub(super) destroyed: Option<u32>,
    /// Whether the message is `wl_surface.commit`, whose cost depends on the number of surfaces.
    pub(super) is_commit: bool,
    /// The effect of the message on `wl_shm` pools, if any.
    pub(super) shm: Option<ShmRequest>,
}

/// The type of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum ObjectType {
    Display,
    Registry,
    Other(&'static Interface),
}

impl ObjectType {
    /// Returns the name of the object's interface.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Display => "wl_display",
            Self::Registry => "wl_registry",
            Self::Other(interface) => interface.name,
        }
    }

    /// Returns the signature of a request, and the type of the object that it creates.
    pub(super) fn request_signature(
        self,
        opcode: usize,
    ) -> Option<(&'static [ArgumentType], Option<Self>)> {
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

    /// Returns whether a request destroys its object.
    pub(super) fn is_destructor(self, opcode: usize) -> bool {
        match self {
            Self::Display | Self::Registry => false,
            Self::Other(interface) => interface
                .requests
                .get(opcode)
                .is_some_and(|request| request.is_destructor),
        }
    }

    /// Returns the signature of an event that creates an object, and the interface of the object; `None` for other events.
    pub(super) fn event_child(
        self,
        opcode: usize,
    ) -> Option<(&'static [ArgumentType], &'static Interface)> {
        let Self::Other(interface) = self else {
            return None;
        };
        let event = interface.events.get(opcode)?;
        Some((event.signature, event.child_interface?))
    }
}

/// The parsed arguments of a message.
#[derive(Default)]
pub(super) struct ParsedArguments<'a> {
    pub(super) new_id: Option<u32>,
    pub(super) string: Option<&'a [u8]>,
    pub(super) fds: usize,
}

/// Parses the arguments of a message.
pub(super) fn parse_arguments<'a>(
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
    // The size of a message includes the padding after its last argument.
    if offset > body.len() {
        Err(TOO_SHORT)
    } else {
        Ok(read)
    }
}

/// Reads a 32-bit word in the byte order of this machine; `None` if the message ends before it.
pub(super) fn read_word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Converts an object id or length to an index.
pub(super) fn to_index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
