//! Plans whose layouts are chosen by drivers, and plans for several sizes.

use crate::plan;
use covalent_solver::constraint::{CpuUse, Participant, Role, SyncMechanism};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::{Request, Verdict, solve};
use covalent_solver_tests::common::*;

/// X-tiling, and Y-tiling with compression (CCS), of Intel GPUs.
const TILED: Modifier = Modifier(0x0100_0000_0000_0001);
const COMPRESSED: Modifier = Modifier(0x0100_0000_0000_0004);

/// Makes a request of a GPU that renders and a plane that displays its images. Both are on one card with tiled memory.
fn gpu_and_plane() -> Request {
    let mut gpu = Participant::new("i915 render", device("i915"), Role::Import);
    let mut plane = display("i915");
    for (participant, modifiers) in [
        (&mut gpu, &[Modifier::LINEAR, TILED, COMPRESSED][..]),
        (
            &mut plane,
            &[Modifier::LINEAR, TILED, COMPRESSED, Modifier::INVALID],
        ),
    ] {
        participant.for_each_choice(|own| {
            own.formats = Some(
                modifiers
                    .iter()
                    .map(|modifier| FormatModifier::new(Fourcc::XRGB8888, *modifier))
                    .collect(),
            );
            own.sync
                .extend([SyncMechanism::Implicit, SyncMechanism::SyncFile]);
        });
    }
    let mut gbm = dumb("i915");
    gbm.id = covalent_solver::constraint::SourceId::new("gbm:i915");
    gbm.name = "i915 gbm".to_owned();
    gbm.constraints.formats = plane.constraints().formats.clone();
    request(vec![gpu, plane], vec![gbm, dumb("i915"), system_heap(2)])
}

#[test]
fn devices_with_common_modifiers_leave_the_tiling_to_the_driver() {
    let mut request = gpu_and_plane();
    insta::assert_snapshot!(solve(&request).explain());
    let tiled = plan(&request);
    assert_eq!(tiled.modifiers(), [TILED, COMPRESSED]);
    assert!(tiled.is_laid_out_by_driver());
    let mut reader = Participant::new("processor", device("cpu"), Role::CpuRead);
    reader.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
    request.participants.push(reader);
    assert!(!plan(&request).is_laid_out_by_driver());
}

#[test]
fn tiling_with_one_memory_plane_meets_a_limit_on_planes() {
    let mut request = gpu_and_plane();
    for participant in &mut request.participants {
        participant.for_each_choice(|own| {
            let formats = own.formats.take().unwrap();
            let tiled = formats.iter().filter(|pair| pair.modifier == TILED);
            own.formats = Some(tiled.collect());
        });
    }
    request.participants[1].for_each_choice(|own| own.image.maximum_planes = 1);
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).verdict(), Verdict::Guaranteed);
}

#[test]
fn rotated_display_has_one_buffer_for_both_sizes() {
    let mut request = request(vec![display("vkms")], vec![system_heap(2)]);
    request.more_extents = vec![Extent::new(480, 640).unwrap()];
    request.participants[0].for_each_choice(|own| own.image.stride.alignment = 256);
    insta::assert_snapshot!(solve(&request).explain());
    let plan = plan(&request);
    for layout in plan.layouts() {
        assert_eq!(layout.memory_sizes(), plan.layout().memory_sizes());
        plan.accepts(layout).unwrap();
    }
}
