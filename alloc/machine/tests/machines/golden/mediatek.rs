//! MT8195.

use super::{Golden, golden};
use crate::without::{fewer, is_of};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "mediatek-mt8195",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video8".into());
            job.displays.push("mediatek".into());
        },
        |machine| {
            fewer(machine, "mediatek primary plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
        },
        |machine| fewer(machine, "panfrost GBM", is_of("MTK")),
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("mediatek".into());
        },
        // What the decoder and the GPU still share; without it there are three pictures.
        |machine| fewer(machine, "panfrost GBM", is_of("MTK")),
    ),
    golden(
        "mediatek-mt8195",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video8".into());
            job.outputs.push("/dev/video2".into());
            job.displays.push("mediatek".into());
        },
        |machine| {
            // That the display, which has no NV12, takes at least what the camera gives else.
            fewer(machine, "mediatek primary plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
];
