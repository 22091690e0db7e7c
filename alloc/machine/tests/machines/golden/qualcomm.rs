//! SM8250.

use super::{Golden, golden};
use crate::without::{fewer, is_of, participant};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "qualcomm-sm8250",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video2".into());
            job.displays.push("msm".into());
        },
        |machine| {
            fewer(machine, "msm primary plane", |pair| {
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
        |machine| fewer(machine, "msm primary plane", is_of("QCOM_COMPRESSED")),
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
            // That the decoder writes rows too.
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
        |machine| fewer(machine, "msm GBM", is_of("QCOM_COMPRESSED")),
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
            // That camera and display still share, though the encoder takes NV12 alone.
            fewer(machine, "msm primary plane", |pair| {
                ["YUYV", "YVYU", "UYVY", "VYUY"].contains(&pair.fourcc.to_string().as_str())
            });
        },
    ),
];
