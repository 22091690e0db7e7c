//! RDNA2.

use super::{Golden, golden};
use crate::without::{fewer, gone, is_arranged, participant};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "amd-rdna2",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("amdgpu".into());
        },
        |machine| {
            // That a camera's rows have no gap is what the display's steps of 256 bytes break on.
            participant(machine, "uvcvideo capture", |camera| {
                camera.constraints.per_fourcc.clear();
            });
        },
    ),
    golden(
        "amd-rdna2",
        "camera_to_gpu",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.gbm.push("/dev/dri/card0".into());
        },
        |machine| gone(machine, "dumb:amdgpu@pci:0000:03:00.0"),
    ),
    golden(
        "amd-rdna2",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("amdgpu".into());
        },
        |machine| fewer(machine, "amdgpu primary plane", is_arranged),
    ),
    golden(
        "amd-rdna2",
        "gpu_by_vulkan_to_display",
        |job| {
            job.vulkan = true;
            job.displays.push("amdgpu".into());
        },
        |machine| fewer(machine, "amdgpu image", is_arranged),
    ),
    golden(
        "amd-rdna2",
        "gl_to_vulkan",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.vulkan = true;
        },
        |machine| {
            fewer(machine, "amdgpu GBM", |pair| {
                let decoded = pair.modifier.decode();
                decoded.is_some_and(|modifier| modifier.field("DCC") == Some(1))
            });
        },
    ),
];
