//! The golden jobs on the Allwinner A20.

use super::{Golden, golden};
use crate::edits::{has_modifier, make_scattered, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "allwinner-a20",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| make_scattered(machine, "v4l2:sun4i_csi@platform:1c09000.csi:capture"),
    ),
    golden(
        "allwinner-a20",
        "decoder_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| {
            remove_formats(
                machine,
                "sun4i-drm primary plane",
                has_modifier("ALLWINNER_TILED"),
            )
        },
    ),
    golden(
        "allwinner-a20",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| remove_source(machine, "dumb:sun4i-drm@platform:display-engine"),
    ),
];
