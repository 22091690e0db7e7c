//! The golden jobs on AMD RDNA2.

use covalent_solver::model::{FormatModifier, Modifier};
use covalent_solver::solve::{Solution, solve};

use super::{Golden, golden, job};
use crate::edits::{participant, remove_formats, remove_source};
use crate::recordings::read;

pub(super) const GOLDEN: &[Golden] = &[
    golden(
        "amd-rdna2",
        "camera_to_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.displays.push("amdgpu".into());
        },
        |machine| {
            // The camera's stride is exactly the length of a row, and the display needs a multiple of 256 bytes. Without the
            // camera's constraint, camera and display share a buffer.
            participant(machine, "uvcvideo capture", |camera| {
                camera.for_each_choice(|own| own.per_fourcc.clear());
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
        |machine| remove_source(machine, "dumb:amdgpu@pci:0000:03:00.0"),
    ),
    golden(
        "amd-rdna2",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("amdgpu".into());
        },
        // The display reads compressed buffers whose metadata the GPU retiles.
        |machine| remove_formats(machine, "amdgpu primary plane", has("DCC_RETILE")),
    ),
    golden(
        "amd-rdna2",
        "gpu_by_vulkan_to_display",
        |job| {
            job.vulkan = true;
            job.displays.push("amdgpu".into());
        },
        |machine| remove_formats(machine, "amdgpu image", has("DCC_RETILE")),
    ),
    golden(
        "amd-rdna2",
        "gl_to_vulkan",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.vulkan = true;
        },
        |machine| remove_formats(machine, "amdgpu GBM", has("DCC")),
    ),
    golden(
        "amd-rdna2",
        "camera_to_encoder_and_display",
        |job| {
            job.cameras.push("/dev/video0".into());
            job.outputs.push("amdgpu VA-API encoder".into());
            job.displays.push("amdgpu".into());
        },
        |machine| {
            // Without the camera's constraint, all three participants share NV12.
            participant(machine, "uvcvideo capture", |camera| {
                camera.for_each_choice(|own| own.per_fourcc.clear());
            });
        },
    ),
    golden(
        "amd-rdna2",
        "decoder_to_gpu_and_display",
        |job| {
            job.cameras.push("amdgpu VA-API decoder".into());
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("amdgpu".into());
        },
        |machine| {
            remove_formats(machine, "amdgpu primary plane", |pair| {
                ["NV12", "P010"].contains(&pair.fourcc.to_string().as_str())
            });
        },
    ),
];

/// Returns whether an AMD modifier has this flag.
fn has(flag: &str) -> impl Fn(FormatModifier) -> bool {
    move |pair| is_set(pair.modifier, flag)
}

fn is_set(modifier: Modifier, flag: &str) -> bool {
    let decoded = modifier.decode();
    decoded.is_some_and(|modifier| modifier.field(flag) == Some(1))
}

#[test]
fn gpu_and_display_share_only_compressed_modifiers_that_are_retiled() {
    // The GPU stores its own DCC metadata in an order that depends on its pipes, and the display cannot read it. The display
    // reads metadata that the GPU has retiled. Only on chips with one render backend do GPU and display use the same DCC metadata
    // without retiling.
    for name in ["gpu_to_display", "gpu_by_vulkan_to_display"] {
        let golden = GOLDEN.iter().find(|golden| golden.name == name).unwrap();
        let resolved = read(golden.board).request(&job(golden)).unwrap();
        let Solution::Share(plan) = solve(&resolved.request) else {
            panic!("{name}")
        };
        let is_compressed = |modifier: &&Modifier| is_set(**modifier, "DCC");
        let mut blocks: Vec<_> = plan
            .modifiers()
            .iter()
            .filter(is_compressed)
            .map(|modifier| {
                assert!(is_set(*modifier, "DCC_RETILE"), "{name}: {modifier}");
                modifier.decode().unwrap().field("DCC_MAX_COMPRESSED_BLOCK")
            })
            .collect();
        blocks.sort();
        // The values 0 and 1 mean blocks of 64 and of 128 bytes.
        assert_eq!(blocks, [Some(0), Some(1)], "{name}");
    }
}
