//! The golden jobs on the Amlogic G12B.

use super::{Golden, golden};
use crate::edits::{has_modifier, make_scattered, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "amlogic-g12b",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video8".into());
            job.others.push("meson overlay plane".into());
        },
        |machine| remove_source(machine, "dumb:meson@platform:ff900000.vpu"),
    ),
    golden(
        "amlogic-g12b",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
            job.others.push("meson overlay plane".into());
        },
        |machine| {
            make_scattered(
                machine,
                "v4l2:meson-vdec@platform:ff620000.video-decoder:capture",
            )
        },
    ),
    golden(
        "amlogic-g12b",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("meson".into());
        },
        |machine| {
            remove_formats(
                machine,
                "meson primary plane",
                has_modifier("ARM_AFBC(32x8"),
            )
        },
    ),
];
