//! Theme `camera_client`: checks which of a camera's formats and frame rates `covalent-camera` chooses, what it does if no buffer
//! suits both the camera and the compositor, how it shows a camera without a compositor, and how it sets up a media-controller
//! camera.

use super::Case;
use crate::vm::config::Config;

mod choices;
mod controls;
mod converted;
mod injected;
mod kms;
mod media;
mod plugged;
mod shared;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "camera_client::frame_that_the_compositor_cannot_read_is_copied_once_and_says_why",
        Config::Virtio,
        choices::frame_that_the_compositor_cannot_read_is_copied_once_and_says_why,
    ),
    Case::new(
        "camera_client::raw_bayer_frame_is_converted_with_the_colours_of_the_camera",
        Config::Virtio,
        converted::bayer,
    ),
    Case::new(
        "camera_client::several_cameras_have_a_window_each",
        Config::Virtio,
        converted::several,
    ),
    Case::new(
        "camera_client::list_says_how_each_format_is_shown_and_the_best_rate_is_set",
        Config::Virtio,
        choices::list_says_how_each_format_is_shown_and_the_best_rate_is_set,
    ),
    Case::new(
        "camera_client::snapshot_has_the_colours_of_the_camera",
        Config::Virtio,
        choices::snapshot_has_the_colours_of_the_camera,
    ),
    Case::new(
        "camera_client::recording_has_whole_frames_with_the_colours_of_the_camera",
        Config::Virtio,
        choices::recording_has_whole_frames_with_the_colours_of_the_camera,
    ),
    Case::new(
        "camera_client::encoder_reads_the_buffers_that_the_display_shows",
        Config::Virtio,
        choices::encoder_reads_the_buffers_that_the_display_shows,
    ),
    Case::new(
        "camera_client::second_process_reads_the_buffers_that_the_display_shows",
        Config::Virtio,
        shared::second_process_reads_the_buffers_that_the_display_shows,
    ),
    Case::new(
        "camera_client::controls_are_set_and_remembered_until_forgotten",
        Config::Virtio,
        controls::controls_are_set_and_remembered_until_forgotten,
    ),
    Case::new(
        "camera_client::faults_that_the_camera_injects_are_named_or_passed_over",
        Config::Virtio,
        injected::faults_that_the_camera_injects_are_named_or_passed_over,
    )
    .seconds(60),
    Case::new(
        "camera_client::camera_that_is_plugged_in_again_is_shown_again",
        Config::Virtio,
        plugged::camera_that_is_plugged_in_again_is_shown_again,
    )
    .last(),
    Case::new(
        "camera_client::media_pipeline_that_is_broken_names_the_pad_and_is_set_up",
        Config::Virtio,
        media::media_pipeline_that_is_broken_names_the_pad_and_is_set_up,
    ),
    Case::new(
        "camera_client::kms_display_is_filled_without_a_compositor",
        Config::Virtio,
        kms::kms_display_is_filled_without_a_compositor,
    ),
    Case::new(
        "camera_client::kms_display_and_second_process_read_the_same_buffers",
        Config::Virtio,
        kms::shares_with_processes,
    ),
    Case::new(
        "camera_client::kms_picture_on_vkms_is_that_of_the_compositor",
        Config::Vkms,
        kms::same_as_the_compositor,
    ),
];
