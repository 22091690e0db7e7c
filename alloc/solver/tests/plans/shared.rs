//! Plans in which all participants share one buffer, and the reasons why other sources are rejected.

use crate::plan;
use covalent_solver::constraint::{
    Contiguity, CpuUse, FormatSet, Imports, Participant, PlanePlacement, Role,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use covalent_solver_tests::common::*;

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
fn contiguous_camera_prefers_guaranteed_contiguity_to_fewer_importers() {
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
fn contiguity_without_a_guarantee_is_only_possible() {
    let request = request(
        vec![camera(Contiguity::Contiguous), virtio_display()],
        vec![system_heap(2), cma_heap(2), dumb("virtio_gpu")],
    );
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).verdict(), Verdict::Possible);
}

#[test]
fn memory_above_a_cameras_reach_is_a_caveat() {
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
    camera.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::YUYV, Fourcc::NV12])));
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
fn cards_that_import_nothing_are_split() {
    let mut other = virtio_display();
    other.name = "second display".to_owned();
    other.device = device("other");
    let imports = Imports::only_from(other.device.clone(), "it has no PRIME import");
    other.for_each_choice(|own| own.memory.imports = imports.clone());
    let request = request(
        vec![camera(Contiguity::Scattered), virtio_display(), other],
        vec![system_heap(2), dumb("virtio_gpu"), dumb("other")],
    );
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn request_without_a_source_is_impossible() {
    let solution = solve(&request(vec![camera(Contiguity::Scattered)], Vec::new()));
    insta::assert_snapshot!(solution.explain());
}

#[test]
fn cpu_that_reads_every_frame_prefers_cached_memory() {
    let mut reader = Participant::new("processor", device("cpu"), Role::CpuRead);
    reader.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
    let mut uncached = system_heap(2);
    uncached.id = covalent_solver::constraint::SourceId::new("a-heap");
    uncached.guarantees.cached = Some(false);
    let request = request(
        vec![camera(Contiguity::Scattered), reader],
        vec![uncached, system_heap(2)],
    );
    assert_eq!(plan(&request).source().as_str(), "heap:system");
}

#[test]
fn implicit_and_linear_modifiers_never_match() {
    let mut card = display("virgl");
    card.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier {
            fourcc: Fourcc::XRGB8888,
            modifier: Modifier::INVALID,
        }]))
    });
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
fn source_without_enough_free_memory_is_rejected() {
    let mut small = cma_heap(2);
    small.guarantees.available_bytes = Some(4 * 1_228_800 - 1);
    let request = request(
        vec![camera(Contiguity::Contiguous), display("vkms")],
        vec![small],
    );
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn camera_without_the_size_lists_its_sizes() {
    let mut small = camera(Contiguity::Scattered);
    small.for_each_choice(|own| {
        own.image.width = covalent_solver::constraint::SideConstraints::exactly(320);
        own.image.height = covalent_solver::constraint::SideConstraints::exactly(180);
    });
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
fn extra_field_is_a_demand_unless_it_is_optional() {
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
    assert!(split.explain().contains(
        "vivid capture requires swizzle, which this version of the solver does not know"
    ));
    assert!(matches!(with("{\"optional\": true}"), Solution::Share(_)));
}

#[test]
fn disjoint_and_joint_planes_conflict() {
    let mut camera = camera(Contiguity::Scattered);
    camera.for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::NV12]));
        own.image.placement = PlanePlacement::Together;
    });
    let mut other = Participant::new("decoder", device("decoder"), Role::Output);
    other.for_each_choice(|own| own.image.placement = PlanePlacement::Disjoint);
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
            // A single-plane format would satisfy both placements, so the demand on the format is part of the conflict.
            "vivid capture accepts only NV12 LINEAR"
        ]
    );
}

#[test]
fn hostile_requests_are_solved_without_panic() {
    let mut camera = camera(Contiguity::Contiguous);
    let mut own = camera.constraints().clone();
    let image = &mut own.image;
    image.stride.alignment = 0;
    image.stride.preferred_alignment = u32::MAX;
    image.stride.avoided_multiples.extend([0, 1, u32::MAX]);
    image.stride.preferred.extend([0, u32::MAX]);
    image.offset_alignment_bytes = 0;
    image.size_alignment_bytes = 0;
    image.padding_bytes = u64::MAX;
    image.minimum_size_bytes = u64::MAX;
    image.width.multiple_of = 0;
    camera.set_constraints(own);
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
