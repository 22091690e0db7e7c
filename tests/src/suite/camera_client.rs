//! Theme `camera_client`: what `covalent-camera` chooses of a camera's formats and rates, what it does where no buffer serves all, and
//! how it shows a camera without a compositor.

use super::Case;
use crate::vm::config::Config;

mod choices;
mod kms;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "camera_client::frame_that_the_compositor_cannot_read_is_copied_once_and_says_why",
        Config::Virtio,
        choices::copied,
    ),
    Case::new(
        "camera_client::list_says_how_each_format_is_shown_and_the_best_rate_is_set",
        Config::Virtio,
        choices::listed,
    ),
    Case::new(
        "camera_client::snapshot_has_the_colours_of_the_camera",
        Config::Virtio,
        choices::snapshot,
    ),
    Case::new(
        "camera_client::kms_display_is_filled_without_a_compositor",
        Config::Virtio,
        kms::fills_the_display,
    ),
    Case::new(
        "camera_client::kms_picture_on_vkms_is_that_of_the_compositor",
        Config::Vkms,
        kms::same_as_the_compositor,
    ),
];
