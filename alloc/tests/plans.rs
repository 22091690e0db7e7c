//! Plans and explanations as engineers read them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::*;
use covalent_alloc::constraint::{
    Coherency, Constraints, Contiguity, CpuUse, Exports, FormatSet, Imports, Participant,
    PlanePlacement, Protection, Role, SyncLanguage,
};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Layout, Modifier};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};

fn plan(request: &Request) -> Plan {
    match solve(request) {
        Solution::Share(plan) => plan,
        split => panic!("{}", split.explain()),
    }
}

#[test]
fn camera_and_virtio_without_blob_share_the_cards_dumb_buffers() {
    let request = request(
        vec![camera(Contiguity::Scattered), virtio_display()],
        vec![
            system_heap(2),
            cma_heap(2),
            udmabuf(2),
            dumb("virtio_gpu"),
            dumb("vgem"),
        ],
    );
    insta::assert_snapshot!(solve(&request).explain());
    let plan = plan(&request);
    assert_eq!(plan.source_name(), "virtio_gpu dumb");
    assert_eq!(
        plan.layout().format(),
        FormatModifier::linear(Fourcc::XRGB8888)
    );
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
}

#[test]
fn camera_and_importing_display_prefer_the_displays_own_memory() {
    for driver in ["bochs-drm", "vkms"] {
        let request = request(
            vec![camera(Contiguity::Scattered), display(driver)],
            vec![
                system_heap(2),
                udmabuf(2),
                cma_heap(2),
                dumb(driver),
                dumb("vgem"),
            ],
        );
        let plan = plan(&request);
        assert_eq!(plan.source_name(), format!("{driver} dumb"));
        assert_eq!(plan.verdict(), Verdict::Guaranteed);
    }
}

#[test]
fn contiguous_camera_takes_what_promises_contiguity_over_what_has_fewer_importers() {
    let request = request(
        vec![camera(Contiguity::Contiguous), display("vkms")],
        vec![system_heap(2), udmabuf(2), cma_heap(2), dumb("vkms")],
    );
    insta::assert_snapshot!(solve(&request).explain());
    let plan = plan(&request);
    assert_eq!(plan.source_name(), "dma-heap default_cma_region");
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
}

#[test]
fn contiguity_by_luck_is_possible_and_never_guaranteed() {
    let request = request(
        vec![camera(Contiguity::Contiguous), virtio_display()],
        vec![system_heap(2), cma_heap(2), dumb("virtio_gpu")],
    );
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).verdict(), Verdict::Possible);
}

#[test]
fn memory_above_a_cameras_reach_is_a_doubt() {
    let request = |gibibytes| {
        request(
            vec![camera(Contiguity::Contiguous), display("vkms")],
            vec![cma_heap(gibibytes)],
        )
    };
    assert_eq!(plan(&request(2)).verdict(), Verdict::Guaranteed);
    insta::assert_snapshot!(solve(&request(6)).explain());
    assert_eq!(plan(&request(6)).verdict(), Verdict::Possible);
}

#[test]
fn memory_that_no_camera_reaches_is_impossible() {
    let mut high = cma_heap(6);
    high.guarantees.address.lowest = 5 << 30;
    let request = request(vec![camera(Contiguity::Contiguous)], vec![high]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn participants_without_a_common_format_are_split_with_a_copy() {
    let mut camera = camera(Contiguity::Scattered);
    camera.constraints.formats = Some(linear(&[Fourcc::YUYV, Fourcc::NV12]));
    let request = request(
        vec![camera, virtio_display()],
        vec![system_heap(2), dumb("virtio_gpu")],
    );
    let solution = solve(&request);
    insta::assert_snapshot!(solution.explain());
    let Solution::Split(split) = solution else {
        panic!("no format is common")
    };
    assert_eq!(split.copied_bytes_per_frame(), 640 * 480 * 4);
    assert_eq!(split.conflict().len(), 2);
}

#[test]
fn cards_that_take_only_their_own_memory_are_split_between_them() {
    let mut other = virtio_display();
    other.name = "second display".to_owned();
    other.device = device("other");
    other.constraints.memory.imports =
        Imports::only_from(other.device.clone(), "it has no PRIME import");
    let request = request(
        vec![camera(Contiguity::Scattered), virtio_display(), other],
        vec![system_heap(2), dumb("virtio_gpu"), dumb("other")],
    );
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn no_source_at_all_is_said_plainly() {
    let solution = solve(&request(vec![camera(Contiguity::Scattered)], Vec::new()));
    insta::assert_snapshot!(solution.explain());
}

#[test]
fn processor_that_reads_often_takes_cached_memory() {
    let mut reader = Participant::new("processor", device("cpu"), Role::CpuRead);
    reader.constraints.memory.cpu = CpuUse::Often;
    let mut uncached = system_heap(2);
    uncached.id = covalent_alloc::constraint::SourceId::new("a-heap");
    uncached.guarantees.cached = Some(false);
    let request = request(
        vec![camera(Contiguity::Scattered), reader],
        vec![uncached, system_heap(2)],
    );
    assert_eq!(plan(&request).source().as_str(), "heap:system");
}

#[test]
fn implicit_and_linear_never_meet() {
    let mut card = display("virgl");
    card.constraints.formats = Some(FormatSet::from([FormatModifier {
        fourcc: Fourcc::XRGB8888,
        modifier: Modifier::INVALID,
    }]));
    let request = request(
        vec![camera(Contiguity::Scattered), card],
        vec![system_heap(2), dumb("virgl")],
    );
    assert!(matches!(solve(&request), Solution::Split(_)));
}

#[test]
fn buffers_held_sum_to_the_count() {
    let mut request = request(
        vec![camera(Contiguity::Scattered), virtio_display()],
        vec![dumb("virtio_gpu")],
    );
    request.count = 1;
    assert_eq!(plan(&request).count(), 4);
    request.count = 7;
    assert_eq!(plan(&request).count(), 7);
}

#[test]
fn source_that_is_nearly_empty_is_passed_over() {
    let mut small = cma_heap(2);
    small.guarantees.available_bytes = Some(4 * 1_228_800 - 1);
    let request = request(
        vec![camera(Contiguity::Contiguous), display("vkms")],
        vec![small],
    );
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn camera_without_the_size_says_which_it_has() {
    let mut small = camera(Contiguity::Scattered);
    small.constraints.image.width = covalent_alloc::constraint::SideTerms::exactly(320);
    small.constraints.image.height = covalent_alloc::constraint::SideTerms::exactly(180);
    let request = request(vec![small, virtio_display()], vec![dumb("virtio_gpu")]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn request_survives_json_and_gives_the_same_plan() {
    let request = request(
        vec![camera(Contiguity::Contiguous), display("vkms")],
        vec![cma_heap(2), system_heap(2)],
    );
    let text = serde_json::to_string(&request).unwrap();
    let read: Request = serde_json::from_str(&text).unwrap();
    assert_eq!(read, request);
    assert_eq!(solve(&read), solve(&request));
    insta::assert_snapshot!(serde_json::to_string_pretty(&solve(&request)).unwrap());
}

#[test]
fn demand_of_a_newer_version_is_hard_unless_it_is_optional() {
    let with = |demand: &str| {
        let mut request = request(vec![camera(Contiguity::Scattered)], vec![system_heap(2)]);
        let mut value = serde_json::to_value(&request.participants[0]).unwrap();
        value["constraints"]["image"]["swizzle"] = serde_json::from_str(demand).unwrap();
        request.participants[0] = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(
            serde_json::to_value(&request.participants[0]).unwrap(),
            value
        );
        solve(&request)
    };
    let Solution::Split(split) = with("\"rotated\"") else {
        panic!("a demand was dropped")
    };
    assert!(
        split
            .explain()
            .contains("vivid capture asks for swizzle, which this version does not know")
    );
    assert!(matches!(with("{\"optional\": true}"), Solution::Share(_)));
}

#[test]
fn planes_apart_and_together_conflict() {
    let mut camera = camera(Contiguity::Scattered);
    camera.constraints.formats = Some(linear(&[Fourcc::NV12]));
    camera.constraints.image.placement = PlanePlacement::Together;
    let mut other = Participant::new("decoder", device("decoder"), Role::Output);
    other.constraints.image.placement = PlanePlacement::Apart;
    let request = request(vec![camera, other], vec![system_heap(2)]);
    let Solution::Split(split) = solve(&request) else {
        panic!("planes cannot be both")
    };
    let words: Vec<_> = split.conflict().iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "decoder needs a dma-buf for each plane",
            "vivid capture needs all planes in one dma-buf",
            // A single plane would be together and apart at once.
            "vivid capture takes only NV12 LINEAR"
        ]
    );
}

#[test]
fn hostile_requests_are_answered_without_panic() {
    let mut camera = camera(Contiguity::Contiguous);
    let image = &mut camera.constraints.image;
    image.stride.alignment = 0;
    image.stride.preferred_alignment = u32::MAX;
    image.stride.avoided_multiples.extend([0, 1, u32::MAX]);
    image.stride.preferred.extend([0, u32::MAX]);
    image.offset_alignment_bytes = 0;
    image.size_alignment_bytes = 0;
    image.padding_bytes = u64::MAX;
    image.minimum_size_bytes = u64::MAX;
    image.width.multiple_of = 0;
    let mut request = request(
        vec![camera.clone(), camera],
        vec![system_heap(2), system_heap(2)],
    );
    request.count = u32::MAX;
    request.extent = Extent::new(Extent::LARGEST, Extent::LARGEST).unwrap();
    assert!(matches!(solve(&request), Solution::Split(_)));
    request.participants.clear();
    let _ = solve(&request);
    request.sources.clear();
    assert!(matches!(solve(&request), Solution::Split(_)));
}

const TILED: Modifier = Modifier(0x0100_0000_0000_0001);
const COMPRESSED: Modifier = Modifier(0x0100_0000_0000_0004);

/// A GPU that renders, and the plane that shows it, on one card with memory of its own arrangement.
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
        participant.constraints.formats = Some(
            modifiers
                .iter()
                .map(|modifier| FormatModifier::new(Fourcc::XRGB8888, *modifier))
                .collect(),
        );
        participant
            .constraints
            .sync
            .extend([SyncLanguage::Implicit, SyncLanguage::SyncFile]);
    }
    let mut gbm = dumb("i915");
    gbm.id = covalent_alloc::constraint::SourceId::new("gbm:i915");
    gbm.name = "i915 gbm".to_owned();
    gbm.constraints.formats = plane.constraints.formats.clone();
    request(vec![gpu, plane], vec![gbm, dumb("i915"), system_heap(2)])
}

#[test]
fn devices_take_their_own_arrangement_and_the_source_chooses_among_modifiers() {
    let mut request = gpu_and_plane();
    insta::assert_snapshot!(solve(&request).explain());
    let tiled = plan(&request);
    assert_eq!(tiled.modifiers(), [TILED, COMPRESSED]);
    assert!(tiled.is_arranged_by_source());
    let mut reader = Participant::new("processor", device("cpu"), Role::CpuRead);
    reader.constraints.memory.cpu = CpuUse::Often;
    request.participants.push(reader);
    assert!(!plan(&request).is_arranged_by_source());
}

#[test]
fn strides_of_an_arrangement_that_the_source_chooses_are_a_doubt() {
    let mut request = gpu_and_plane();
    for participant in &mut request.participants {
        let formats = participant.constraints.formats.take().unwrap();
        let tiled = formats.iter().filter(|pair| pair.modifier == TILED);
        participant.constraints.formats = Some(tiled.collect());
    }
    request.participants[1].constraints.image.stride.maximum = 16_384;
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).verdict(), Verdict::Possible);
}

#[test]
fn screen_that_turns_has_one_buffer_for_both_sizes() {
    let mut request = request(vec![display("vkms")], vec![system_heap(2)]);
    request.more_extents = vec![Extent::new(480, 640).unwrap()];
    request.participants[0].constraints.image.stride.alignment = 256;
    insta::assert_snapshot!(solve(&request).explain());
    let plan = plan(&request);
    for layout in plan.layouts() {
        assert_eq!(layout.memory_sizes(), plan.layout().memory_sizes());
        plan.accepts(layout).unwrap();
    }
}

#[test]
fn second_alternative_is_taken_where_the_first_meets_nobody() {
    let mut encoder = Participant::new("encoder", device("codec"), Role::Output);
    encoder.constraints.formats = Some(linear(&[Fourcc::P010]));
    let mut nv12 = Constraints {
        formats: Some(linear(&[Fourcc::NV12])),
        ..Constraints::default()
    };
    nv12.image.rows_multiple_of = 16;
    nv12.image.padding_bytes = 4096;
    encoder.alternatives.push(nv12);
    let request = request(
        vec![camera(Contiguity::Scattered), encoder],
        vec![system_heap(2)],
    );
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).steps()[1].alternative, 1);
}

#[test]
fn protected_memory_and_a_processor_that_reads_it_conflict() {
    let mut decoder = Participant::new("decoder", device("codec"), Role::Capture);
    decoder.constraints.memory.protection = Protection::Needed;
    let mut reader = Participant::new("screenshot", device("cpu"), Role::CpuRead);
    reader.constraints.memory.cpu = CpuUse::Rarely;
    let mut heap = system_heap(2);
    heap.id = covalent_alloc::constraint::SourceId::new("heap:protected");
    heap.name = "dma-heap protected".to_owned();
    heap.guarantees.protected = true;
    let request = request(vec![decoder, reader], vec![system_heap(2), heap]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn conflict_of_three_is_told_with_what_is_cheapest_to_give_up() {
    let mut one = camera(Contiguity::Scattered);
    one.constraints.image.stride.alignment = 48;
    let mut two = display("vkms");
    two.constraints.image.stride.alignment = 4096;
    let mut three = Participant::new("encoder", device("codec"), Role::Output);
    three.constraints.image.stride.maximum = 4096;
    three.constraints.memory.coherency = Coherency::Coherent;
    let request = request(vec![one, two, three], vec![system_heap(2)]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn source_that_a_participant_permits_and_prefers_is_taken() {
    let mut display = display("vkms");
    let cma = cma_heap(2);
    display.constraints.memory.preferred.insert(cma.id.clone());
    let mut request = request(vec![display], vec![system_heap(2), cma, dumb("vkms")]);
    assert_eq!(plan(&request).source().as_str(), "heap:default_cma_region");
    let permitted = [system_heap(2).id].into();
    request.participants[0].constraints.memory.permitted = Some(permitted);
    assert_eq!(plan(&request).source().as_str(), "heap:system");
    request.sources.remove(0);
    insta::assert_snapshot!(solve(&request).explain());
}

/// A GPU of a virtio-gpu that renders, and who writes for it: GBM's own buffers are the only ones that it imports.
fn renderer_and(writer: Participant, device_copy: Option<bool>) -> Request {
    let mut gpu = virtio_display();
    gpu.name = "virtio_gpu GBM".to_owned();
    gpu.role = Role::Import;
    gpu.constraints.memory.coherency = Coherency::Untransferred;
    let mut gbm = dumb("virtio_gpu");
    gbm.id = covalent_alloc::constraint::SourceId::new("gbm:virtio_gpu");
    gbm.name = "virtio_gpu GBM".to_owned();
    gbm.guarantees.device_copy = device_copy;
    request(vec![writer, gpu], vec![gbm, system_heap(2)])
}

fn writing_processor() -> Participant {
    let mut writer = Participant::new("processor", device("cpu"), Role::CpuWrite);
    writer.constraints.memory.cpu = CpuUse::Often;
    writer
}

#[test]
fn memory_of_which_the_device_keeps_a_copy_is_split_from_who_writes_without_a_transfer() {
    let request = renderer_and(writing_processor(), Some(true));
    let Solution::Split(split) = solve(&request) else {
        panic!("nobody transfers")
    };
    insta::assert_snapshot!(split.explain());
    assert_eq!(split.copied_bytes_per_frame(), 640 * 480 * 4);
    let copied = split.copies().next().unwrap().to.plan.as_ref().unwrap();
    assert!(copied.needs_transfers());
}

#[test]
fn memory_whose_copies_nobody_knows_is_a_doubt() {
    for writer in [writing_processor(), camera(Contiguity::Scattered)] {
        let known = plan(&renderer_and(writer.clone(), Some(false)));
        assert_eq!(known.verdict(), Verdict::Guaranteed);
        assert!(!known.needs_transfers());
        let unknown = plan(&renderer_and(writer.clone(), None));
        assert_eq!(unknown.verdict(), Verdict::Possible);
        assert_eq!(
            unknown.doubts(),
            [
                "nothing tells whether the device of virtio_gpu GBM works on a copy of its own, and nobody transfers it for virtio_gpu GBM"
            ]
        );
        let copied = solve(&renderer_and(writer, Some(true)));
        assert!(matches!(copied, Solution::Split(_)));
    }
}

#[test]
fn device_copy_is_no_hindrance_to_who_transfers_or_to_one_side_alone() {
    let mut transferring = renderer_and(writing_processor(), Some(true));
    transferring.participants[1].constraints.memory.coherency = Coherency::Synced;
    let shared = plan(&transferring);
    assert_eq!(shared.verdict(), Verdict::Guaranteed);
    assert!(shared.needs_transfers() && shared.explain().contains("works on a copy of its own"));
    let mut alone = renderer_and(writing_processor(), Some(true));
    alone.participants.remove(0);
    assert!(!plan(&alone).needs_transfers());
    // A compositor's feedback touches nothing, and two who are strangers to the device see the same memory.
    let mut strangers = renderer_and(writing_processor(), Some(true));
    strangers.participants[1].role = Role::Compositor;
    strangers.sources.truncate(1);
    strangers.participants.push(camera(Contiguity::Scattered));
    assert_eq!(plan(&strangers).verdict(), Verdict::Guaranteed);
}

#[test]
fn rows_without_a_gap_and_a_wide_alignment_conflict_where_the_width_does_not_fit() {
    let mut texture = dumb("virtio_gpu");
    texture.name = "virtio_gpu texture".to_owned();
    texture.constraints.image.stride.packed = true;
    let mut other = virtio_display();
    other.constraints.image.stride.alignment = 256;
    let mut request = request(vec![other], vec![texture]);
    assert_eq!(plan(&request).layout().planes()[0].stride_bytes, 2560);
    request.extent = Extent::new(650, 480).unwrap();
    insta::assert_snapshot!(solve(&request).explain());
    request.participants[0].constraints.image.stride.alignment = 1;
    let free = plan(&request);
    let [plane] = free.layout().planes() else {
        panic!("XRGB8888 has one plane")
    };
    assert_eq!(plane.stride_bytes, 2600);
    let wider = Layout::linear(request.extent, Fourcc::XRGB8888, 1, 2604).unwrap();
    assert_eq!(
        free.accepts(&wider).unwrap_err().to_string(),
        "the layout is not one that the plan's participants accept: the stride of plane 0, 2604 bytes, leaves a gap between rows"
    );
}

#[test]
fn device_that_exports_nothing_is_no_source() {
    let mut request = request(vec![display("vkms")], vec![dumb("vkms")]);
    request.participants[0].constraints.memory.exports = Exports::Nothing {
        reason: "its driver has no PRIME export".to_owned(),
    };
    let Solution::Split(split) = solve(&request) else {
        panic!("it exports nothing")
    };
    assert_eq!(
        split.rejections()[0].words,
        "cannot be shared: vkms primary plane lets nobody have its own memory, because its driver has no PRIME export"
    );
}

#[test]
fn alternatives_beyond_the_cap_are_said_not_to_have_been_tried() {
    let mut participants = Vec::new();
    for number in 0..9 {
        let mut one = Participant::new(format!("device {number}"), device("gpu"), Role::Import);
        one.constraints.memory.protection = Protection::Needed;
        one.alternatives.push(one.constraints.clone());
        participants.push(one);
    }
    let Solution::Split(split) = solve(&request(participants, vec![system_heap(2)])) else {
        panic!("nothing is protected")
    };
    assert!(split.is_capped());
    assert!(split.explain().contains("only the 256 best combinations"));
}

/// Whom a stride suits that is a multiple of this, or else of twice or four times as much.
fn stepping(name: String, stride_bytes: u32) -> Participant {
    let mut one = Participant::new(name, device("gpu"), Role::Import);
    one.constraints.formats = Some(linear(&[Fourcc::R8]));
    one.constraints.image.stride.alignment = stride_bytes;
    for times in [2, 4] {
        let mut worse = one.constraints.clone();
        worse.image.stride.alignment = stride_bytes * times;
        one.alternatives.push(worse);
    }
    one
}

#[test]
fn conflict_of_nine_is_found_among_many_with_alternatives() {
    // All nine primes have no common multiple below the greatest stride, and any eight of them have one.
    let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23];
    let mut participants: Vec<_> = primes
        .into_iter()
        .map(|prime| stepping(format!("prime {prime}"), prime))
        .collect();
    participants[0].constraints.image.stride.maximum = 223_092_870 - 1;
    for alternative in &mut participants[0].alternatives {
        alternative.image.stride.maximum = 223_092_870 - 1;
    }
    let mut heap = system_heap(2);
    heap.guarantees.contiguous_up_to_bytes = u64::MAX;
    let small = |participants| Request {
        extent: Extent::new(1, 1).unwrap(),
        ..request(participants, vec![heap.clone()])
    };
    for bystanders in [0, 24] {
        for number in 0..bystanders {
            participants.push(stepping(format!("bystander {number}"), 1));
        }
        let Solution::Split(split) = solve(&small(participants.clone())) else {
            panic!("the least common multiple is above the greatest stride")
        };
        assert!(split.is_capped() && !split.is_cut_short());
        let owners: Vec<_> = split
            .conflict()
            .iter()
            .map(|demand| &demand.owner)
            .collect();
        assert_eq!(owners.len(), primes.len());
        assert!(owners.iter().all(|owner| owner.starts_with("prime")));
        assert_eq!(split.relaxed().len(), 1);
    }
}
