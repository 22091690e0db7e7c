//! The golden jobs on the Qualcomm SM8250.

use super::{Golden, golden};
use crate::edits::{has_modifier, participant, remove_formats};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "qualcomm-sm8250",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video2".into());
            job.displays.push("msm".into());
        },
        |machine| {
            remove_formats(machine, "msm primary plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "qualcomm-sm8250",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("msm".into());
        },
        |machine| {
            remove_formats(
                machine,
                "msm primary plane",
                has_modifier("QCOM_COMPRESSED"),
            )
        },
    ),
    golden(
        "qualcomm-sm8250",
        "decoder_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("/dev/video1".into());
            job.displays.push("msm".into());
        },
        |machine| {
            // The decoder has an alternative with the modifier `LINEAR`, which is removed.
            participant(machine, "qcom-venus capture", |decoder| {
                decoder.set_constraints(decoder.constraints().clone());
            });
        },
    ),
    golden(
        "qualcomm-sm8250",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("msm".into());
            job.format = "XR24".parse().ok();
        },
        |machine| remove_formats(machine, "msm GBM", has_modifier("QCOM_COMPRESSED")),
    ),
    golden(
        "qualcomm-sm8250",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video2".into());
            job.outputs.push("/dev/video1".into());
            job.displays.push("msm".into());
        },
        |machine| {
            // The camera and the display share these formats. The encoder supports only NV12.
            remove_formats(machine, "msm primary plane", |pair| {
                ["YUYV", "YVYU", "UYVY", "VYUY"].contains(&pair.fourcc.to_string().as_str())
            });
        },
    ),
];
