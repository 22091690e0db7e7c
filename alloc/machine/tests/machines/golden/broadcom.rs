//! The golden jobs on the Raspberry Pi 4 and 5.

use super::{Golden, golden};
use crate::edits::{has_modifier, make_scattered, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "raspberry-pi-4",
        "camera_to_display",
        |job| {
            // The ISP converts the raw pictures of a camera module. The ISP's capture queue is the job's camera.
            job.cameras.push("/dev/video14".into());
            job.displays.push("vc4".into());
        },
        |machine| make_scattered(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-4",
        "hdmi_bridge_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("vc4".into());
        },
        |machine| make_scattered(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-4",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video14".into());
            job.outputs.push("/dev/video11".into());
            job.displays.push("vc4".into());
        },
        |machine| {
            remove_formats(machine, "bcm2835-codec output", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
    golden(
        "raspberry-pi-4",
        "h264_decoder_to_display",
        |job| {
            job.cameras.push("/dev/video10".into());
            job.displays.push("vc4".into());
        },
        |machine| make_scattered(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-4",
        "decoder_to_encoder",
        |job| {
            job.cameras.push("/dev/video19".into());
            job.outputs.push("/dev/video11".into());
        },
        |machine| {
            remove_formats(
                machine,
                "bcm2835-codec output",
                has_modifier("BROADCOM_SAND128("),
            )
        },
    ),
    golden(
        "raspberry-pi-4",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video19".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("vc4".into());
        },
        |machine| remove_formats(machine, "v3d GBM", has_modifier("BROADCOM_SAND128(")),
    ),
    golden(
        "raspberry-pi-4",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("vc4".into());
        },
        |machine| remove_source(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-5",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video20".into());
            job.displays.push("vc4".into());
        },
        |machine| remove_source(machine, "dumb:vc4@platform:axi:gpu"),
    ),
    golden(
        "raspberry-pi-5",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video19".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("vc4".into());
        },
        |machine| {
            for plane in ["vc4 primary plane", "vc4 overlay plane"] {
                remove_formats(machine, plane, has_modifier("BROADCOM_SAND128("));
            }
        },
    ),
];
