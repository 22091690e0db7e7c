//! The golden jobs on Intel Tiger Lake.

use super::{Golden, golden};
use crate::edits::{has_modifier, remove_formats, remove_source};

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "intel-tiger-lake",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("i915".into());
        },
        |machine| remove_source(machine, "dumb:i915@pci:0000:00:02.0"),
    ),
    golden(
        "intel-tiger-lake",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("i915 VA-API decoder".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("i915".into());
        },
        |machine| {
            remove_formats(
                machine,
                "i915 primary plane",
                has_modifier("INTEL_Y_TILED_GEN12_MC_CCS"),
            )
        },
    ),
    golden(
        "intel-tiger-lake",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("i915".into());
        },
        |machine| {
            remove_formats(
                machine,
                "i915 GBM",
                has_modifier("INTEL_Y_TILED_GEN12_RC_CCS"),
            )
        },
    ),
    golden(
        "intel-tiger-lake",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("i915 VA-API encoder".into());
            job.displays.push("i915".into());
        },
        |machine| {
            remove_formats(machine, "i915 VA-API encoder", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
];
