//! The jobs on i.MX 8M Plus.

use super::{Golden, golden};
use crate::edits::{make_scattered, remove_formats};

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
        |machine| {
            remove_formats(machine, "hantro-vpu capture", |pair| {
                pair.fourcc.to_string() == "YUYV"
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
            // The other formats that all three support are XR24 and RG16.
            remove_formats(machine, "vsi_v4l2enc output", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
];
