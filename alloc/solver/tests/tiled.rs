//! Tests of plans with tilings that drivers choose. The modifiers are those that real machines list.
#![allow(missing_docs, clippy::unwrap_used)]

use covalent_solver::constraint::{
    Constraints, Contiguity, CpuUse, FormatSet, Participant, PlanePlacement, Role, Source, SourceId,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Layout, Modifier, PlaneLayout};
use covalent_solver::solve::{Plan, Request, Solution, Verdict, candidates, solve};
use covalent_solver_tests::common::*;

/// Intel's modifiers in `drm_fourcc.h`: X, Y, Y with compression (one more plane), Tile4, and Tile4 with compression and a clear
/// colour (two more planes).
const X_TILED: Modifier = Modifier(0x0100_0000_0000_0001);
const Y_TILED: Modifier = Modifier(0x0100_0000_0000_0002);
const Y_TILED_CCS: Modifier = Modifier(0x0100_0000_0000_0004);
const TILE4: Modifier = Modifier(0x0100_0000_0000_0009);
const TILE4_DG2_RC_CCS_CC: Modifier = Modifier(0x0100_0000_0000_000c);

/// Arm's modifiers: AFBC with sparse blocks of 16x16 pixels, without and with the YUV transform.
const AFBC_SPARSE: Modifier = Modifier(0x0800_0000_0000_0041);
const AFBC_SPARSE_YTR: Modifier = Modifier(0x0800_0000_0000_0051);

/// NVIDIA's modifiers: 16Bx2 block-linear with one and with sixteen gobs, generation 2, page kind 6.
const BLOCK_LINEAR_1: Modifier = Modifier(0x0300_0000_0060_6010);
const BLOCK_LINEAR_16: Modifier = Modifier(0x0300_0000_0060_6014);

fn pairs(fourcc: Fourcc, modifiers: &[Modifier]) -> FormatSet {
    let pairs = modifiers.iter();
    pairs
        .map(|modifier| FormatModifier::new(fourcc, *modifier))
        .collect()
}

fn one(name: &str, driver: &str, role: Role, formats: FormatSet) -> Participant {
    let mut one = Participant::new(name, device(driver), role);
    one.for_each_choice(|own| own.formats = Some(formats.clone()));
    one
}

fn gbm(driver: &str, formats: FormatSet) -> Source {
    let mut gbm = Source::new(
        SourceId::new(format!("gbm:{driver}")),
        format!("{driver} GBM"),
    );
    gbm.device = Some(device(driver));
    gbm.constraints.formats = Some(formats);
    gbm.constraints.image.placement = PlanePlacement::Together;
    gbm
}

fn plan(request: &Request) -> Plan {
    match solve(request) {
        Solution::Share(plan) => plan,
        split => panic!("{}", split.explain()),
    }
}

/// Makes a request of a GPU and a plane of one card. They have some modifiers in common, and each has further modifiers.
fn gpu_and_plane(driver: &str, gpu: &[Modifier], plane: &[Modifier]) -> Request {
    let fourcc = Fourcc::XRGB8888;
    request(
        vec![
            one("render", driver, Role::Import, pairs(fourcc, gpu)),
            one("plane", driver, Role::Display, pairs(fourcc, plane)),
        ],
        vec![gbm(driver, pairs(fourcc, gpu)), system_heap(2)],
    )
}

#[test]
fn plan_lists_the_common_modifiers_and_leaves_the_layout_to_the_driver() {
    let linear = Modifier::LINEAR;
    for (driver, gpu, plane, common) in [
        (
            "i915",
            vec![linear, X_TILED, Y_TILED, Y_TILED_CCS, TILE4],
            vec![linear, X_TILED, Y_TILED_CCS, TILE4_DG2_RC_CCS_CC],
            vec![X_TILED, Y_TILED_CCS],
        ),
        (
            "panfrost",
            vec![linear, AFBC_SPARSE, AFBC_SPARSE_YTR],
            vec![linear, AFBC_SPARSE_YTR, X_TILED],
            vec![AFBC_SPARSE_YTR],
        ),
        (
            "nouveau",
            vec![linear, BLOCK_LINEAR_1, BLOCK_LINEAR_16],
            vec![BLOCK_LINEAR_16, BLOCK_LINEAR_1],
            vec![BLOCK_LINEAR_1, BLOCK_LINEAR_16],
        ),
    ] {
        let shared = plan(&gpu_and_plane(driver, &gpu, &plane));
        assert!(shared.is_laid_out_by_driver());
        assert_eq!(shared.source_name(), format!("{driver} GBM"));
        assert_eq!(shared.modifiers(), common);
        assert_eq!(shared.verdict(), Verdict::Guaranteed);
        assert_eq!(shared.layout().format().modifier, common[0]);
    }
}

#[test]
fn device_of_another_vendor_and_cpu_share_linear_images() {
    let gpu = [Modifier::LINEAR, X_TILED, Y_TILED_CCS];
    let mut two_vendors = gpu_and_plane("i915", &gpu, &gpu);
    let other = [Modifier::LINEAR, BLOCK_LINEAR_1];
    two_vendors.participants.push(one(
        "second GPU",
        "nouveau",
        Role::Import,
        pairs(Fourcc::XRGB8888, &other),
    ));
    assert_eq!(plan(&two_vendors).modifiers(), [Modifier::LINEAR]);
    for cpu in [CpuUse::Rarely, CpuUse::Often] {
        let mut touched = gpu_and_plane("i915", &gpu, &gpu);
        let mut reader = Participant::new("processor", device("cpu"), Role::CpuRead);
        reader.for_each_choice(|own| own.memory.cpu = cpu);
        touched.participants.push(reader);
        assert_eq!(plan(&touched).modifiers(), [Modifier::LINEAR]);
    }
    // If there is no common linear format either, the only solution is a copy.
    let mut disjoint = two_vendors;
    let tiled = pairs(Fourcc::XRGB8888, &gpu[1..]);
    disjoint.participants[0].for_each_choice(|own| own.formats = Some(tiled.clone()));
    assert!(matches!(solve(&disjoint), Solution::Split(_)));
}

#[test]
fn tiles_with_a_demand_on_strides_are_guaranteed() {
    let gpu = [Modifier::LINEAR, Y_TILED];
    let mut request = gpu_and_plane("i915", &gpu, &gpu);
    request.participants[1].for_each_choice(|own| own.image.stride.alignment = 64);
    // A demand on strides applies to rows, and tiles have none.
    let tiled = plan(&request);
    assert_eq!(tiled.modifiers(), [Y_TILED]);
    assert_eq!(tiled.verdict(), Verdict::Guaranteed);
    let found = candidates(&request);
    let linear = FormatModifier::new(Fourcc::XRGB8888, Modifier::LINEAR);
    assert!(found.contains(&(SourceId::new("gbm:i915"), linear, Verdict::Guaranteed)));
    // A demand on the size of memory also applies to tiled images, unless it is a demand of the source's own card.
    let size = |own: &mut Constraints| own.image.maximum_size_bytes = 1 << 30;
    request.participants[1].for_each_choice(size);
    assert_eq!(plan(&request).modifiers(), [Y_TILED]);
    let mut foreign = request.clone();
    foreign.participants[1].device = device("other");
    let found = candidates(&foreign);
    let tiled = FormatModifier::new(Fourcc::XRGB8888, Y_TILED);
    assert!(found.contains(&(SourceId::new("gbm:i915"), tiled, Verdict::Possible)));
}

#[test]
fn implicit_modifier_matches_only_itself_and_comes_last() {
    let implicit = Modifier::INVALID;
    let with = |gpu: &[Modifier], plane: &[Modifier]| gpu_and_plane("i915", gpu, plane);
    let both = with(&[implicit, X_TILED], &[implicit, X_TILED]);
    assert_eq!(plan(&both).modifiers(), [X_TILED]);
    // A device's driver knows the implicit layout of the device's own memory.
    let own = plan(&with(&[implicit, X_TILED], &[implicit, Y_TILED]));
    assert_eq!(own.modifiers(), [implicit]);
    assert_eq!(own.verdict(), Verdict::Guaranteed);
    for other in [X_TILED, Modifier::LINEAR] {
        assert!(matches!(
            solve(&with(&[implicit], &[other])),
            Solution::Split(_)
        ));
    }
    let mut foreign = with(&[implicit], &[implicit]);
    foreign.participants[1].device = device("other");
    assert!(matches!(solve(&foreign), Solution::Split(_)));
}

/// Makes the layout of an image for which the driver allocates more planes than the format has, all in one dma-buf.
fn compressed(modifier: Modifier, strides: &[u32]) -> Layout {
    let mut planes = Vec::new();
    let mut end = 0;
    for (number, stride_bytes) in strides.iter().enumerate() {
        let rows = if number == 0 { 480 } else { 16 };
        let size_bytes = u64::from(*stride_bytes) * rows;
        planes.push(PlaneLayout {
            memory: 0,
            offset_bytes: end,
            stride_bytes: *stride_bytes,
            size_bytes,
        });
        end += size_bytes;
    }
    let format = FormatModifier::new(Fourcc::XRGB8888, modifier);
    Layout::new(Extent::new(640, 480).unwrap(), format, planes, vec![end]).unwrap()
}

#[test]
fn additional_planes_are_accepted_with_any_stride() {
    let modifiers = [Y_TILED, Y_TILED_CCS, TILE4_DG2_RC_CCS_CC];
    let mut request = gpu_and_plane("i915", &modifiers, &modifiers);
    request.participants[1].for_each_choice(|own| own.image.stride.alignment = 512);
    let tiled = plan(&request);
    assert_eq!(tiled.verdict(), Verdict::Guaranteed);
    tiled.accepts(&compressed(Y_TILED, &[2560])).unwrap();
    tiled
        .accepts(&compressed(Y_TILED_CCS, &[2560, 128]))
        .unwrap();
    let clear_colour = compressed(TILE4_DG2_RC_CCS_CC, &[2560, 128, 64]);
    tiled.accepts(&clear_colour).unwrap();
    // A demand on strides does not apply to tiled images. A tiling that the plan does not list is not accepted.
    tiled
        .accepts(&compressed(Y_TILED_CCS, &[2688, 128]))
        .unwrap();
    assert!(tiled.accepts(&compressed(X_TILED, &[2560])).is_err());
    // A single-plane format needs no second dma-buf, also if the driver adds planes.
    request.participants[1].for_each_choice(|own| own.image.placement = PlanePlacement::Disjoint);
    request.sources[0].constraints.image.placement = PlanePlacement::Either;
    plan(&request).accepts(&clear_colour).unwrap();
}

#[test]
fn maximum_planes_counts_additional_planes() {
    let modifiers = [Y_TILED, Y_TILED_CCS];
    let mut request = gpu_and_plane("i915", &modifiers, &modifiers);
    request.participants[1].for_each_choice(|own| own.image.maximum_planes = 1);
    let tiled = plan(&request);
    // Y_TILED_CCS has an additional plane, so the driver may choose only Y_TILED.
    assert_eq!(tiled.verdict(), Verdict::Guaranteed);
    assert_eq!(tiled.modifiers(), [Y_TILED]);
    tiled.accepts(&compressed(Y_TILED, &[2560])).unwrap();
    let refused = tiled.accepts(&compressed(Y_TILED_CCS, &[2560, 128]));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "the layout is not one that the plan's participants accept: it has XR24 INTEL_Y_TILED_CCS and 640x480, and the plan has XR24 INTEL_Y_TILED and 640x480"
    );
}

#[test]
fn decoder_and_display_share_a_vendor_tiling() {
    let afbc = [AFBC_SPARSE, AFBC_SPARSE_YTR];
    let mut decoder = one("decoder", "vpu", Role::Capture, pairs(Fourcc::NV12, &afbc));
    decoder.for_each_choice(|own| own.memory.contiguity = Contiguity::Contiguous);
    let plane = one(
        "plane",
        "vop",
        Role::Display,
        pairs(Fourcc::NV12, &afbc[..1]),
    );
    let mut queue = gbm("vpu", pairs(Fourcc::NV12, &afbc));
    queue.name = "decoder MMAP".to_owned();
    let shared = plan(&request(vec![decoder, plane], vec![queue, cma_heap(2)]));
    assert_eq!(shared.source_name(), "decoder MMAP");
    assert_eq!(shared.modifiers(), [AFBC_SPARSE]);
    assert_eq!(shared.verdict(), Verdict::Guaranteed);
}
