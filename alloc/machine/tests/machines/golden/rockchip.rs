//! The golden jobs on the Rockchip RK3399 and RK3588.

use super::{Golden, golden};
use crate::edits::{has_modifier, is_tiled, participant, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "rk3399",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("rockchip".into());
        },
        |machine| remove_source(machine, "dumb:rockchip@platform:display-subsystem"),
    ),
    golden(
        "rk3399",
        "self_path_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video5".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("rockchip".into());
        },
        |machine| remove_source(machine, "dumb:rockchip@platform:display-subsystem"),
    ),
    golden(
        "rk3399",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("/dev/video3".into());
            job.displays.push("rockchip".into());
        },
        |machine| {
            remove_formats(machine, "hantro-vpu output", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
    golden(
        "rk3399",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("rockchip".into());
        },
        |machine| {
            participant(machine, "rkvdec capture", |decoder| {
                decoder.for_each_choice(|own| own.image.rows_multiple_of = 1);
            });
        },
    ),
    golden(
        "rk3399",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("rockchip".into());
        },
        |machine| remove_formats(machine, "rockchip primary plane", has_modifier("ARM_AFBC")),
    ),
    golden(
        "rk3588",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.others.push("rockchip overlay plane".into());
        },
        |machine| {
            remove_formats(machine, "rockchip overlay plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "rk3588",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("/dev/video3".into());
            job.others.push("rockchip overlay plane".into());
        },
        |machine| {
            participant(machine, "hantro-vpu output", |encoder| {
                encoder.for_each_choice(|own| own.image.rows_multiple_of = 1);
            });
        },
    ),
    golden(
        "rk3588",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("/dev/video1".into());
            job.gbm.push("/dev/dri/card1".into());
            job.others.push("rockchip overlay plane".into());
        },
        |machine| remove_source(machine, "dumb:rockchip@platform:display-subsystem"),
    ),
    golden(
        "rk3588",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("rockchip".into());
        },
        |machine| remove_formats(machine, "rockchip primary plane", is_tiled),
    ),
];
