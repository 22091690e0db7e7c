//! Plans with constraints as drivers mean them: strides of the first plane, rows of luma, formats with packed samples, and memory
//! on a card.

use crate::plan;
use covalent_solver::constraint::{
    Constraints, Contiguity, DeviceGroup, Exports, MemoryScope, Participant, Role, Source, SourceId,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Layout};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use covalent_solver_tests::common::*;

fn alone(fourcc: Fourcc, width: u32, height: u32, edit: impl FnMut(&mut Constraints)) -> Request {
    let mut codec = Participant::new("codec", device("codec"), Role::Output);
    codec.for_each_choice(|own| own.formats = Some(linear(&[fourcc])));
    codec.for_each_choice(edit);
    let mut request = request(vec![codec], vec![system_heap(2)]);
    request.extent = Extent::new(width, height).unwrap();
    request
}

fn strides(layout: &Layout) -> Vec<u32> {
    let planes = layout.planes().iter();
    planes.map(|plane| plane.stride_bytes).collect()
}

#[test]
fn alignment_of_the_first_plane_leaves_chroma_what_follows_from_it() {
    let first = alone(Fourcc::YUV420, 780, 360, |own| {
        own.image.stride.first_plane_alignment = 64;
    });
    assert_eq!(strides(plan(&first).layout()), [832, 416, 416]);
    let every = alone(Fourcc::YUV420, 780, 360, |own| {
        own.image.stride.alignment = 64;
    });
    assert_eq!(strides(plan(&every).layout()), [896, 448, 448]);
    let odd = Layout::linear(first.extent, Fourcc::YUV420, 1, 800).unwrap();
    assert_eq!(
        plan(&first).accepts(&odd).unwrap_err().to_string(),
        "the layout is not one that the plan's participants accept: the stride of plane 0, 800 bytes, is not a multiple of 64"
    );
}

#[test]
fn rows_are_counted_in_luma_and_chroma_has_its_share() {
    let request = alone(Fourcc::NV12, 64, 1072, |own| {
        own.image.rows_multiple_of = 16
    });
    let plan = plan(&request);
    // The 1072 rows of luma are a multiple of 16. Chroma has the corresponding 536 rows, although 536 is not a multiple of 16.
    let sizes: Vec<u64> = plan
        .layout()
        .planes()
        .iter()
        .map(|plane| plane.size_bytes)
        .collect();
    assert_eq!(sizes, [64 * 1072, 64 * 536]);
}

#[test]
fn queue_of_version_1_aligns_its_first_plane_and_a_gpu_every_plane() {
    let text = |role: &str, version: u32| {
        format!(
            r#"{{"name": "x", "device": {{"driver": "d", "location": "l", "node": ""}}, "role": "{role}",
                "constraints": {{"version": {version}, "image": {{"stride": {{"alignment": 64}}}},
                    "per_fourcc": {{"NV12": {{"stride": {{"alignment": 32}}}}}}}}}}"#
        )
    };
    let read = |role: &str, version: u32| {
        let participant: Participant = serde_json::from_str(&text(role, version)).unwrap();
        let again: Participant =
            serde_json::from_value(serde_json::to_value(&participant).unwrap()).unwrap();
        assert_eq!(again, participant);
        let constraints = participant.constraints();
        let stride = &constraints.image.stride;
        let of_format = &constraints.per_fourcc[&Fourcc::NV12].stride;
        [stride, of_format].map(|own| (own.alignment, own.first_plane_alignment))
    };
    for role in ["capture", "output"] {
        assert_eq!(read(role, 1), [(1, 64), (1, 32)]);
        assert_eq!(read(role, 2), [(64, 1), (32, 1)]);
    }
    assert_eq!(read("display", 1), [(64, 1), (32, 1)]);
    let source = |id: &str| {
        let text = format!(
            r#"{{"id": "{id}", "name": "x", "device": null,
                "constraints": {{"version": 1, "image": {{"stride": {{"alignment": 64}}}}}}}}"#
        );
        let source: Source = serde_json::from_str(&text).unwrap();
        source.constraints.image.stride.first_plane_alignment
    };
    assert_eq!(source("v4l2:queue"), 64);
    assert_eq!(source("dumb:card"), 1);
}

#[test]
fn version_that_is_not_known_is_a_demand_that_nothing_meets() {
    let request = alone(Fourcc::NV12, 64, 64, |own| own.version = 3);
    let Solution::Split(split) = solve(&request) else {
        panic!("nobody knows what version 3 asks")
    };
    assert!(
        split.explain().contains("constraints of version 3"),
        "{}",
        split.explain()
    );
}

#[test]
fn packed_samples_take_whole_groups_of_pixels() {
    for (code, width, expected) in [
        (*b"pBAA", 1320, vec![1650]),
        (*b"pBAA", 1321, vec![1655]),
        (*b"pRCC", 1321, vec![1983]),
        (*b"pgEE", 1320, vec![2310]),
        (*b"NV15", 1920, vec![2400, 2400]),
        (*b"NV20", 1920, vec![2400, 2400]),
        (*b"NV30", 1920, vec![2400, 4800]),
        (*b"P030", 1920, vec![2560, 2560]),
        (*b"P210", 1920, vec![3840, 3840]),
        (*b"Y210", 1921, vec![7688]),
        (*b"R16 ", 1320, vec![2640]),
    ] {
        let fourcc = Fourcc::of(code);
        let layout = plan(&alone(fourcc, width, 16, |_| {})).layout().clone();
        assert_eq!(strides(&layout), expected, "{fourcc}");
        let linear = Layout::linear(layout.extent(), fourcc, 1, 0).unwrap();
        assert_eq!(strides(&linear), expected, "{fourcc}");
    }
}

#[test]
fn image_without_room_for_its_rows_is_refused_with_the_bytes_that_it_needs() {
    let mut short = alone(Fourcc::XRGB8888, 1600, 1068, |own| {
        own.image.rows_multiple_of = 8
    });
    short.sources[0].constraints.image.maximum_size_bytes = 6_836_224;
    let Solution::Split(split) = solve(&short) else {
        panic!("1072 rows do not fit")
    };
    assert_eq!(
        split.rejections()[0].words,
        "has no layout of XR24 LINEAR that meets all constraints: memory of at most 6836224 bytes, memory for a multiple of 8 rows (set by codec and dma-heap system), and 6860800 bytes are needed"
    );
}

/// Makes a request of a card that renders and displays. The sources are the card's own memory and system memory.
fn card() -> Request {
    let pair = [FormatModifier::linear(Fourcc::XRGB8888)];
    let mut gpu = Participant::new("gpu", device("card"), Role::Render);
    gpu.for_each_choice(|own| own.formats = Some(pair.into()));
    let mut own = Source::new(SourceId::new("gbm:card"), "card GBM");
    own.device = Some(device("card"));
    request(vec![gpu, display("card")], vec![own, system_heap(2)])
}

#[test]
fn memory_on_a_card_serves_the_card_and_nobody_else() {
    for scope in [
        MemoryScope::Device,
        MemoryScope::Devices([device("codec")].into()),
    ] {
        let mut request = card();
        request.sources[0].guarantees.scope = scope;
        assert_eq!(plan(&request).source().as_str(), "gbm:card");
        assert_eq!(plan(&request).verdict(), Verdict::Guaranteed);
        request.participants.push(display("other"));
        let plan = plan(&request);
        assert_eq!(plan.source().as_str(), "heap:system");
        request.sources.pop();
        let Solution::Split(split) = solve(&request) else {
            panic!("the other card does not reach it")
        };
        let words = &split.rejections()[0].words;
        assert!(
            words.starts_with("allocates memory only for its own device"),
            "{words}"
        );
        assert!(
            words.contains("other primary plane is on other at bus-other"),
            "{words}"
        );
    }
    let mut request = card();
    request.sources[0].guarantees.scope = MemoryScope::Devices([device("other")].into());
    request.participants.push(display("other"));
    assert_eq!(plan(&request).source().as_str(), "gbm:card");
}

#[test]
fn memory_on_a_card_serves_the_peers_of_its_groups_and_nobody_else() {
    let (switch, root) = (DeviceGroup::new("p2p:switch"), DeviceGroup::new("p2p:root"));
    let mut request = card();
    request.sources[0].guarantees.scope = MemoryScope::Groups([switch.clone()].into());
    let mut peer = display("other");
    peer.groups = [switch, root.clone()].into();
    request.participants.push(peer);
    let shared = plan(&request);
    assert_eq!(shared.source().as_str(), "gbm:card");
    let words =
        "because: its memory serves only its own device and devices of the group p2p:switch";
    assert!(shared.explain().contains(words), "{shared}");
    request.participants[2].groups = [root].into();
    let elsewhere = plan(&request);
    assert_eq!(elsewhere.source().as_str(), "heap:system");
    assert_eq!(
        elsewhere.rejections()[0].words,
        "allocates memory only for its own device and devices of the group p2p:switch, and other primary plane is on other at bus-other (/dev/other), which is in p2p:root"
    );
    request.participants[2].groups.clear();
    let elsewhere = plan(&request);
    let words = &elsewhere.rejections()[0].words;
    assert!(words.ends_with("which is in no group"), "{words}");
}

#[test]
fn picture_of_the_memory_on_a_card_is_copied_for_the_device_that_it_does_not_serve() {
    let mut request = card();
    request.participants[0].for_each_choice(|own| {
        own.memory.permitted = Some([SourceId::new("gbm:card")].into());
    });
    request.participants.insert(1, display("card"));
    request.participants.push(display("other"));
    request.sources[0].guarantees.scope = MemoryScope::Device;
    let Solution::Split(split) = solve(&request) else {
        panic!("the other card does not reach it")
    };
    insta::assert_snapshot!(split.explain());
}

#[test]
fn scope_is_read_as_everybody_from_a_file_that_states_none() {
    let mut request = card();
    let text = serde_json::to_string(&request).unwrap();
    assert!(
        !text.contains("scope") && !text.contains("groups"),
        "{text}"
    );
    assert_eq!(Request::from_json(text.as_bytes()).unwrap(), request);
    request.sources[0].guarantees.scope = MemoryScope::Groups([DeviceGroup::new("iommu:3")].into());
    request.participants[0].groups = [DeviceGroup::new("iommu:3")].into();
    let text = serde_json::to_string(&request).unwrap();
    assert!(text.contains(r#""scope":{"groups":["iommu:3"]}"#), "{text}");
    assert_eq!(Request::from_json(text.as_bytes()).unwrap(), request);
    let long = text.replace("iommu:3", &"x".repeat(2000));
    let error = Request::from_json(long.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("groups: 2000 bytes"), "{error}");
}

#[test]
fn memory_that_a_card_does_not_export_still_serves_its_own_display() {
    let mut request = card();
    request.participants[0].for_each_choice(|own| {
        own.memory.exports = Exports::Nothing {
            reason: "its memory is on the card".to_owned(),
        };
    });
    assert_eq!(plan(&request).source().as_str(), "gbm:card");
    request.participants.push(camera(Contiguity::Scattered));
    assert_eq!(plan(&request).source().as_str(), "heap:system");
}
