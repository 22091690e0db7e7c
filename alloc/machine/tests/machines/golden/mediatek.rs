//! The golden jobs on the MediaTek MT8195.

use super::{Golden, golden};
use crate::edits::{has_modifier, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "mediatek-mt8195",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video8".into());
            job.displays.push("mediatek".into());
        },
        |machine| {
            for plane in ["mediatek primary plane", "mediatek overlay plane"] {
                remove_formats(machine, plane, |pair| pair.fourcc.to_string() == "YUYV");
            }
        },
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
        },
        |machine| remove_formats(machine, "panfrost GBM", has_modifier("MTK")),
    ),
    golden(
        "mediatek-mt8195",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("mediatek".into());
        },
        |machine| remove_source(machine, "dumb:mediatek@platform:mediatek-drm"),
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("mediatek".into());
        },
        // The GPU and the display share YUYV, into which the scaler converts the decoder's tiled frames.
        |machine| {
            for plane in ["mediatek primary plane", "mediatek overlay plane"] {
                remove_formats(machine, plane, |pair| pair.fourcc.to_string() == "YUYV");
            }
        },
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
            // The display does not support NV12, so it shares YUYV with the camera.
            for plane in ["mediatek primary plane", "mediatek overlay plane"] {
                remove_formats(machine, plane, |pair| pair.fourcc.to_string() == "YUYV");
            }
        },
    ),
];
