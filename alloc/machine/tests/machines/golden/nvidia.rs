//! The golden jobs on NVIDIA Tegra X1, and on NVIDIA Volta with nouveau.

use covalent_solver::model::Modifier;

use super::{Golden, golden};
use crate::edits::{has_modifier, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "tegra-x1",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            // The overlay plane shows YUYV, which has half as many bytes as the XR24 of the primary plane.
            job.others.push("tegra overlay plane".into());
        },
        |machine| {
            remove_formats(machine, "tegra overlay plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "tegra-x1",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card1".into());
            job.displays.push("tegra".into());
        },
        |machine| {
            for plane in ["tegra primary plane", "tegra overlay plane"] {
                remove_formats(machine, plane, |pair| pair.modifier == Modifier::LINEAR);
            }
        },
    ),
    golden(
        "nvidia-volta",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("nouveau".into());
        },
        |machine| remove_source(machine, "dumb:nouveau@pci:0000:01:00.0"),
    ),
    golden(
        "nvidia-volta",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("nouveau".into());
        },
        |machine| {
            remove_formats(
                machine,
                "nouveau primary plane",
                has_modifier("NVIDIA_BLOCK_LINEAR_2D"),
            )
        },
    ),
];
