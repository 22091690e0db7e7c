//! Tegra X1, and Volta by nouveau.

use covalent_solver::model::Modifier;

use super::{Golden, golden};
use crate::without::{fewer, gone, is_of};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "tegra-x1",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("tegra".into());
        },
        |machine| {
            fewer(machine, "tegra primary plane", |pair| {
                pair.fourcc.to_string() == "XR24"
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
            fewer(machine, "tegra primary plane", |pair| {
                pair.modifier == Modifier::LINEAR
            })
        },
    ),
    golden(
        "nvidia-volta",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("nouveau".into());
        },
        |machine| gone(machine, "dumb:nouveau@pci:0000:01:00.0"),
    ),
    golden(
        "nvidia-volta",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("nouveau".into());
        },
        |machine| {
            fewer(
                machine,
                "nouveau primary plane",
                is_of("NVIDIA_BLOCK_LINEAR_2D"),
            )
        },
    ),
];
