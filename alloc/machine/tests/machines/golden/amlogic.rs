//! G12B.

use super::{Golden, golden};
use crate::without::{fewer, gone, is_of, scattered};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "amlogic-g12b",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video8".into());
            job.others.push("meson overlay plane".into());
        },
        |machine| gone(machine, "dumb:meson@platform:ff900000.vpu"),
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
            scattered(
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
        |machine| fewer(machine, "meson primary plane", is_of("ARM_AFBC(32x8")),
    ),
];
