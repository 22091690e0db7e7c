//! G12B.

use super::{Golden, golden};
use crate::without::{gone, scattered};

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
];
