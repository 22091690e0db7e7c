//! The interfaces of the globals. All other interfaces are reached through their requests and events.

use wayland_client::Proxy as _;
use wayland_client::backend::protocol::Interface;
use wayland_client::protocol::{
    wl_callback::WlCallback, wl_compositor::WlCompositor,
    wl_data_device_manager::WlDataDeviceManager, wl_output::WlOutput, wl_seat::WlSeat,
    wl_shm::WlShm, wl_subcompositor::WlSubcompositor,
};
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_manager_v1::ExtSessionLockManagerV1;
use wayland_protocols::ext::{
    data_control::v1::client::ext_data_control_manager_v1::ExtDataControlManagerV1,
    foreign_toplevel_list::v1::client::ext_foreign_toplevel_list_v1::ExtForeignToplevelListV1,
    idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1,
};
use wayland_protocols::ext::{
    image_capture_source::v1::client::ext_output_image_capture_source_manager_v1::ExtOutputImageCaptureSourceManagerV1,
    image_copy_capture::v1::client::ext_image_copy_capture_manager_v1::ExtImageCopyCaptureManagerV1,
};
use wayland_protocols::wp::{
    color_representation::v1::client::wp_color_representation_manager_v1::WpColorRepresentationManagerV1,
    cursor_shape::v1::client::wp_cursor_shape_manager_v1::WpCursorShapeManagerV1,
    idle_inhibit::zv1::client::zwp_idle_inhibit_manager_v1::ZwpIdleInhibitManagerV1,
    keyboard_shortcuts_inhibit::zv1::client::zwp_keyboard_shortcuts_inhibit_manager_v1::ZwpKeyboardShortcutsInhibitManagerV1,
    linux_dmabuf::zv1::client::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1,
    linux_drm_syncobj::v1::client::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    pointer_constraints::zv1::client::zwp_pointer_constraints_v1::ZwpPointerConstraintsV1,
    pointer_gestures::zv1::client::zwp_pointer_gestures_v1::ZwpPointerGesturesV1,
    presentation_time::client::wp_presentation::WpPresentation,
    primary_selection::zv1::client::zwp_primary_selection_device_manager_v1::ZwpPrimarySelectionDeviceManagerV1,
    relative_pointer::zv1::client::zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1,
    security_context::v1::client::wp_security_context_manager_v1::WpSecurityContextManagerV1,
    tablet::zv2::client::zwp_tablet_manager_v2::ZwpTabletManagerV2,
    viewporter::client::wp_viewporter::WpViewporter,
};
use wayland_protocols::xdg::{
    activation::v1::client::xdg_activation_v1::XdgActivationV1,
    shell::client::xdg_wm_base::XdgWmBase,
    xdg_output::zv1::client::zxdg_output_manager_v1::ZxdgOutputManagerV1,
};
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_shell_v1::ZwlrLayerShellV1;
use wayland_protocols_wlr::screencopy::v1::client::zwlr_screencopy_manager_v1::ZwlrScreencopyManagerV1;

use wayland_protocols_wlr::data_control::v1::client::zwlr_data_control_manager_v1::ZwlrDataControlManagerV1;

/// Returns the interface of a global; `None` if the global is not in this list.
pub(super) fn of_global(name: &str) -> Option<&'static Interface> {
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
        XdgActivationV1::interface(),
        ZxdgOutputManagerV1::interface(),
        WpViewporter::interface(),
        WpCursorShapeManagerV1::interface(),
        WpPresentation::interface(),
        WpColorRepresentationManagerV1::interface(),
        ZwpLinuxDmabufV1::interface(),
        WpLinuxDrmSyncobjManagerV1::interface(),
        ExtOutputImageCaptureSourceManagerV1::interface(),
        ExtImageCopyCaptureManagerV1::interface(),
        ZwlrScreencopyManagerV1::interface(),
    ]
    .into_iter()
    .find(|interface| interface.name == name)
}

/// Returns the interface of the callbacks of `wl_display.sync`.
pub(super) fn callback() -> &'static Interface {
    WlCallback::interface()
}
