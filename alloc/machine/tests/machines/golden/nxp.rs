//! The golden jobs on the NXP i.MX 8M Plus.

use super::{Golden, golden};
use crate::edits::{make_scattered, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "imx8m-plus",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("imx-lcdif".into());
        },
        |machine| {
            make_scattered(
                machine,
                "dumb:imx-lcdif@platform:32fc6000.display-controller",
            )
        },
    ),
    golden(
        "imx8m-plus",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("imx-lcdif".into());
        },
        // The decoder and the GPU share NV12, which the display cannot show.
        |machine| {
            remove_formats(machine, "etnaviv GBM", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
    golden(
        "imx8m-plus",
        "decoder_to_gpu",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.gbm.push("/dev/dri/card0".into());
        },
        |machine| {
            remove_source(
                machine,
                "v4l2:hantro-vpu@platform:38300000.video-codec:capture",
            )
        },
    ),
    golden(
        "imx8m-plus",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("imx-lcdif".into());
        },
        |machine| {
            remove_source(
                machine,
                "dumb:imx-lcdif@platform:32fc6000.display-controller",
            )
        },
    ),
    golden(
        "imx8m-plus",
        "hevc_decoder_to_gpu",
        |job| {
            job.cameras.push("/dev/video3".into());
            job.gbm.push("/dev/dri/card0".into());
        },
        |machine| {
            remove_formats(machine, "etnaviv GBM", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
    golden(
        "imx8m-plus",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("/dev/video2".into());
            job.displays.push("imx-lcdif".into());
        },
        |machine| {
            // XR24 and RG16 are the other formats that all three participants support.
            remove_formats(machine, "vsi_v4l2enc output", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
];
