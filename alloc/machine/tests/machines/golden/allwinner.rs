//! A20.

use super::{Golden, golden};
use crate::without::{fewer, gone, is_of, scattered};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "allwinner-a20",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| scattered(machine, "v4l2:sun4i_csi@platform:1c09000.csi:capture"),
    ),
    golden(
        "allwinner-a20",
        "decoder_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| fewer(machine, "sun4i-drm primary plane", is_of("ALLWINNER_TILED")),
    ),
    golden(
        "allwinner-a20",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("sun4i-drm".into());
        },
        |machine| gone(machine, "dumb:sun4i-drm@platform:display-engine"),
    ),
];
