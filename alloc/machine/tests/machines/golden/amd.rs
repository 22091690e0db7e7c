//! RDNA2.

use covalent_solver::model::{FormatModifier, Modifier};
use covalent_solver::solve::{Solution, solve};

use super::{Golden, golden, job};
use crate::recorded::read;
use crate::without::{fewer, gone, participant};

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
        |machine| gone(machine, "dumb:amdgpu@pci:0000:03:00.0"),
    ),
    golden(
        "amd-rdna2",
        "gpu_to_display",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.displays.push("amdgpu".into());
        },
        // That the display reads compressed pictures of which the GPU retiles the metadata.
        |machine| fewer(machine, "amdgpu primary plane", has("DCC_RETILE")),
    ),
    golden(
        "amd-rdna2",
        "gpu_by_vulkan_to_display",
        |job| {
            job.vulkan = true;
            job.displays.push("amdgpu".into());
        },
        |machine| fewer(machine, "amdgpu image", has("DCC_RETILE")),
    ),
    golden(
        "amd-rdna2",
        "gl_to_vulkan",
        |job| {
            job.gbm.push("/dev/dri/card0".into());
            job.vulkan = true;
        },
        |machine| fewer(machine, "amdgpu GBM", has("DCC")),
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
            // As above: all three would share NV12.
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
            fewer(machine, "amdgpu primary plane", |pair| {
                ["NV12", "P010"].contains(&pair.fourcc.to_string().as_str())
            });
        },
    ),
];

/// Whether a modifier of AMD's has this flag.
fn has(flag: &str) -> impl Fn(FormatModifier) -> bool {
    move |pair| is_set(pair.modifier, flag)
}

fn is_set(modifier: Modifier, flag: &str) -> bool {
    let decoded = modifier.decode();
    decoded.is_some_and(|modifier| modifier.field(flag) == Some(1))
}

#[test]
fn gpu_and_display_share_compressed_pictures_that_are_retiled_and_no_others() {
    // What the GPU alone reads has its metadata where the pipes want it, and the display takes what the GPU does not write:
    // DCC without retiling is for chips of one render backend.
    for name in ["gpu_to_display", "gpu_by_vulkan_to_display"] {
        let golden = GOLDEN.iter().find(|golden| golden.name == name).unwrap();
        let asked = read(golden.board).request(&job(golden)).unwrap();
        let Solution::Share(plan) = solve(&asked.request) else {
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
        // 64 and 128 bytes.
        assert_eq!(blocks, [Some(0), Some(1)], "{name}");
    }
}
