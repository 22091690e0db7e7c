//! Tests of devicetrees: the reserved regions of boards, untrusted input, and the effect of regions on plans.
//!
//! `trees/` holds devicetree sources, and the output of `dtc` for them as hexadecimal digits.
#![allow(missing_docs, clippy::unwrap_used)]

use covalent_machine::devicetree::{
    Tree, TreeError, missing_pools, missing_pools_in_tree, pool_snippet,
};
use covalent_machine::{Machine, RecordedParticipant, Region, RegionUser, ReservedMemory};
use covalent_machine_tests::common::dtb::{NodeText, compiled, flattened};
use covalent_machine_tests::common::{
    camera, cma_heap, device, display, hostile, request, system_heap,
};
use covalent_solver::constraint::{
    AddressWindow, Contiguity, ExtraFields, Participant, Role, Source, SourceId,
};
use covalent_solver::solve::{Request, Solution, Verdict, solve};
use proptest::prelude::*;

fn reserved(name: &str) -> ReservedMemory {
    ReservedMemory::of(&Tree::from_flat(&compiled(name)).unwrap())
}

#[test]
fn regions_and_their_users_are_read_of_each_board() {
    for name in ["pi-4", "camera-pool"] {
        let text = serde_json::to_string_pretty(&reserved(name)).unwrap();
        insta::assert_snapshot!(name, text);
    }
    assert_eq!(reserved("bare"), ReservedMemory::default());
}

#[test]
fn region_of_a_heap_is_found_by_each_name_that_kernels_use() {
    let pi = reserved("pi-4");
    for heap in ["default_cma_region", "linux,cma", "reserved"] {
        assert!(pi.region_of_heap(heap).unwrap().is_default, "{heap}");
    }
    assert_eq!(pi.region_of_heap("system"), None);
    let board = reserved("camera-pool");
    for heap in ["isp@100000000", "isp"] {
        let region = board.region_of_heap(heap).unwrap();
        assert_eq!(region.window().lowest, 1 << 32, "{heap}");
    }
    // No region of this board is the default CMA area. The codec's memory is not a CMA area, so it has no heap.
    for heap in ["default_cma_region", "codec@90000000", "firmware"] {
        assert_eq!(board.region_of_heap(heap), None, "{heap}");
    }
}

/// Makes a request of a camera that needs contiguous memory below 4 GiB, and of a display without constraints.
fn board_request(sources: Vec<Source>) -> Request {
    let camera = camera(Contiguity::Contiguous);
    request(vec![camera, display("panel")], sources)
}

fn isp(participant: &Participant) -> Option<String> {
    (participant.role == Role::Capture).then(|| "/soc/isp@40000000".to_owned())
}

fn heap(name: &str) -> Source {
    Source::new(
        SourceId::new(format!("heap:{name}")),
        format!("dma-heap {name}"),
    )
}

#[test]
fn heap_with_a_region_has_its_addresses_and_a_guaranteed_plan() {
    // Without a devicetree, the default CMA area may be at any address of 8 GiB.
    let mut anywhere = cma_heap(2);
    anywhere.id = SourceId::new("heap:default_cma_region");
    anywhere.guarantees.address = AddressWindow::of_bits(33);
    let mut request = board_request(vec![anywhere]);
    request.participants[0].for_each_choice(|own| own.memory.address = AddressWindow::of_bits(30));
    let Solution::Share(before) = solve(&request) else {
        panic!("{}", solve(&request).explain())
    };
    assert_eq!(before.verdict(), Verdict::Possible);
    reserved("pi-4").refine(&mut request, |_| None);
    assert_eq!(
        request.sources[0].guarantees.address,
        AddressWindow::of_bits(30)
    );
    assert_eq!(request.sources[0].guarantees.maximum_bytes, Some(64 << 20));
    let Solution::Share(after) = solve(&request) else {
        panic!("{}", solve(&request).explain())
    };
    assert_eq!(after.verdict(), Verdict::Guaranteed);
}

#[test]
fn device_with_a_pool_beyond_its_addresses_imports_that_pool_and_no_other_memory_there() {
    let mut elsewhere = heap("elsewhere");
    elsewhere.guarantees.contiguous_up_to_bytes = 128 << 20;
    elsewhere.guarantees.address = AddressWindow {
        lowest: 1 << 32,
        highest: (1 << 33) - 1,
    };
    let mut request = board_request(vec![elsewhere, heap("isp@100000000")]);
    let mut without = request.clone();
    reserved("camera-pool").refine(&mut request, isp);
    let Solution::Share(plan) = solve(&request) else {
        panic!("{}", solve(&request).explain())
    };
    assert_eq!(plan.source().as_str(), "heap:isp@100000000");
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
    // Without the property `memory-region`, the pool is outside of the camera's addresses, although the heap exists.
    let mut unlinked = reserved("camera-pool");
    unlinked.users.clear();
    unlinked.refine(&mut without, isp);
    assert!(matches!(solve(&without), Solution::Split(_)));
}

#[test]
fn queue_of_a_device_with_a_pool_has_the_guarantees_of_the_pool() {
    let mut own = Source::new(SourceId::new("v4l2:vivid@bus-vivid:capture"), "vivid MMAP");
    own.device = Some(device("vivid"));
    own.guarantees.contiguous_up_to_bytes = u64::MAX;
    own.guarantees.address = AddressWindow::of_bits(32);
    let mut request = board_request(vec![own.clone(), system_heap(2)]);
    let codec = |participant: &Participant| {
        (participant.role == Role::Capture).then(|| "/soc/codec@50000000".to_owned())
    };
    reserved("camera-pool").refine(&mut request, codec);
    let guarantees = &request.sources[0].guarantees;
    assert_eq!(guarantees.address.lowest, 0x9000_0000);
    assert_eq!(guarantees.address.highest, 0x90ff_ffff);
    assert_eq!(guarantees.contiguous_up_to_bytes, 16 << 20);
    // The system heap allocates from no reserved region, so it is not changed.
    assert_eq!(request.sources[1], system_heap(2));
    // A region that `memory-region` lists first and that has no description may be the pool that the kernel uses.
    let mut undescribed = reserved("camera-pool");
    for user in &mut undescribed.users {
        user.regions.insert(0, "/reserved-memory/other".to_owned());
    }
    let mut request = board_request(vec![own.clone()]);
    undescribed.refine(&mut request, codec);
    assert_eq!(request.sources[0], own);
}

#[test]
fn device_with_many_pools_has_a_bounded_number_of_alternatives() {
    // Each pool is outside of the addresses that the device declares. The property lists the first pool as often as a file may
    // list it.
    let mut reserved = ReservedMemory::default();
    let mut sources = Vec::new();
    for place in 0..64_u64 {
        let lowest = (place + 4) << 32;
        reserved.regions.push(Region {
            path: format!("/reserved-memory/pool{place}"),
            compatible: vec!["shared-dma-pool".to_owned()],
            ranges: vec![AddressWindow {
                lowest,
                highest: lowest + 0xffff,
            }],
            reusable: true,
            ..Region::default()
        });
        sources.push(heap(&format!("pool{place}")));
    }
    let paths: Vec<String> = reserved
        .regions
        .iter()
        .map(|region| region.path.clone())
        .collect();
    let user = RegionUser {
        node: "/soc/isp@40000000".to_owned(),
        compatible: Vec::new(),
        regions: vec![paths[0].clone(); 64],
        extra_fields: ExtraFields::default(),
    };
    reserved.users.push(user.clone());
    let mut request = board_request(sources.clone());
    reserved.refine(&mut request, isp);
    assert_eq!(request.participants[0].alternatives().len(), 1);
    reserved.users.push(RegionUser {
        regions: paths,
        ..user
    });
    let mut request = board_request(sources);
    reserved.refine(&mut request, isp);
    assert_eq!(
        request.participants[0].alternatives().len(),
        Machine::MAXIMUM_ALTERNATIVES
    );
    let text = serde_json::to_string(&reserved).unwrap();
    let longer = text.replace(
        r#""regions":["/reserved-memory/pool0","#,
        r#""regions":["x","x","/reserved-memory/pool0","#,
    );
    let error = serde_json::from_str::<ReservedMemory>(&longer)
        .unwrap_err()
        .to_string();
    assert!(error.contains("66 texts, and at most 64"), "{error}");
}

#[test]
fn board_without_a_pool_gets_devicetree_source_that_adds_one() {
    let mut recorded = RecordedParticipant::measured(camera(Contiguity::Contiguous));
    recorded.tree_node = Some("/soc/camera@1000".to_owned());
    let missing = missing_pools([&recorded], &[system_heap(2)]);
    assert_eq!(missing.len(), 1);
    insta::assert_snapshot!(
        "missing-pool",
        format!("{}\n\n{}", missing[0].words, missing[0].snippet)
    );
    // This tree is the output of dtc and fdtoverlay for that board and the proposed source. The device has its pool, and the
    // kernel offers the pool as a heap.
    let with_pool = reserved("bare-with-pool");
    let node = "/soc/camera@1000";
    let pools: Vec<_> = with_pool
        .of_device(node)
        .map(|region| region.name())
        .collect();
    assert_eq!(pools, ["camera-pool"]);
    let mut request = board_request(vec![heap("camera-pool")]);
    with_pool.refine(&mut request, |_| Some(node.to_owned()));
    assert_eq!(missing_pools([&recorded], &request.sources), []);
    // A heap within the device's addresses is enough. A heap whose addresses are not known is not enough.
    let mut near = cma_heap(2);
    near.guarantees.address = AddressWindow::of_bits(32);
    assert_eq!(missing_pools([&recorded], &[near.clone()]), []);
    near.guarantees.address = AddressWindow::default();
    assert_eq!(missing_pools([&recorded], &[near]).len(), 1);
    // A device that accepts scattered pages needs no pool. A device without a node cannot get one.
    let scattered = RecordedParticipant {
        tree_node: recorded.tree_node,
        ..RecordedParticipant::measured(camera(Contiguity::Scattered))
    };
    let nowhere = RecordedParticipant::measured(camera(Contiguity::Contiguous));
    assert_eq!(missing_pools([&scattered, &nowhere], &[]), []);
    let everywhere = pool_snippet("/soc/isp@1", 1 << 33, AddressWindow::default());
    assert!(everywhere.contains("size = <0x2 0x0>") && !everywhere.contains("alloc-ranges"));
}

#[test]
fn proposed_pool_has_the_cells_of_the_root_node() {
    let mut recorded = RecordedParticipant::measured(camera(Contiguity::Contiguous));
    recorded.tree_node = Some("/soc/camera@1000".to_owned());
    let snippet = |properties: &str| {
        let tree = Tree::from_source(&format!("/dts-v1/;\n/ {{ {properties} }};\n")).unwrap();
        missing_pools_in_tree(&tree, [&recorded], &[])
            .remove(0)
            .snippet
    };
    assert_eq!(
        snippet("#address-cells = <2>; #size-cells = <2>;"),
        missing_pools([&recorded], &[])[0].snippet
    );
    // The tree of a Raspberry Pi 4 has such a root node.
    let narrow = snippet("#address-cells = <2>; #size-cells = <1>;");
    for line in [
        "#address-cells = <2>;",
        "#size-cells = <1>;",
        "size = <0x4000000>;",
        "alloc-ranges = <0x0 0x0 0xfffff000>;",
    ] {
        assert!(narrow.contains(line), "{line}: {narrow}");
    }
    let absent = snippet("");
    assert!(absent.contains("#address-cells = <1>;"), "{absent}");
    assert!(
        absent.contains("alloc-ranges = <0x0 0xfffff000>;"),
        "{absent}"
    );
}

#[test]
fn damaged_header_is_refused_with_its_offset() {
    let whole = compiled("camera-pool");
    assert_eq!(Tree::from_flat(b"PNG"), Err(TreeError::NoTree));
    assert_eq!(Tree::from_flat(&whole[4..]), Err(TreeError::NoTree));
    for length in 0..whole.len() {
        assert!(Tree::from_flat(&whole[..length]).is_err(), "{length}");
    }
    let with = |place: usize, number: u32| {
        let mut bytes = whole.clone();
        bytes[place * 4..place * 4 + 4].copy_from_slice(&number.to_be_bytes());
        Tree::from_flat(&bytes)
    };
    assert!(matches!(
        with(5, 3),
        Err(TreeError::Version { version: 3, .. })
    ));
    assert!(matches!(with(6, 18), Err(TreeError::Version { .. })));
    for place in [1, 2, 3, 8, 9] {
        for number in [u32::MAX, u32::MAX - 3, 1 << 31] {
            assert!(
                matches!(with(place, number), Err(TreeError::Damaged { .. })),
                "{place}"
            );
        }
    }
    let long = vec![0; Tree::MAXIMUM_BYTES + 1];
    assert!(matches!(
        Tree::from_flat(&long),
        Err(TreeError::TooLong { .. })
    ));
}

#[test]
fn damage_is_an_error_with_its_offset_and_the_expected_and_found_values() {
    // The structure block begins at byte 56 with the root. Its property is at byte 64, and the offset of the property's name is
    // at byte 72.
    let root = NodeText {
        properties: [("model".to_owned(), b"x\0\0\0".to_vec())].into(),
        ..NodeText::default()
    };
    let whole = flattened(&root);
    assert!(Tree::from_flat(&whole).is_ok());
    let with = |at: usize, number: u32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        Tree::from_flat(&bytes).unwrap_err().to_string()
    };
    for (at, number, words) in [
        (4, 4096, "at byte 4: expected 4096 bytes, found 94 bytes"),
        (
            56,
            7,
            "at byte 56: expected the token of a node, a property, padding or an end (1, 2, 3, 4 or 9), found 7",
        ),
        (56, 3, "found "),
        (
            64,
            2,
            "at byte 72: expected the end of the tree (9), found 0",
        ),
        (68, 400, "at byte 76: expected 400 bytes, found 12 bytes"),
        (
            72,
            6,
            "at byte 72: expected the offset of a name within the strings block, found 6",
        ),
        (80, 9, "at byte 80: expected the token of a node"),
        (
            84,
            3,
            "at byte 84: expected the end of the tree (9), found 3",
        ),
    ] {
        let error = with(at, number);
        assert!(error.contains(words), "{at}: {error}");
    }
    let twice = NodeText {
        children: vec![root.clone()],
        ..root
    };
    let mut bytes = flattened(&twice);
    // The tokens that begin and end the child node are overwritten, so its property belongs to the root.
    let child = bytes
        .windows(8)
        .rposition(|eight| eight == [0, 0, 0, 1, 0, 0, 0, 0]);
    bytes[child.unwrap()..][..8].copy_from_slice(&[0, 0, 0, 4, 0, 0, 0, 4]);
    let end = bytes.windows(4).position(|four| four == [0, 0, 0, 2]);
    bytes[end.unwrap()..][..4].copy_from_slice(&[0, 0, 0, 4]);
    let error = Tree::from_flat(&bytes).unwrap_err().to_string();
    let words = "at byte 88: expected each property of a node once, found a second property of the same name";
    assert!(error.contains(words), "{error}");
}

#[test]
fn name_that_is_too_long_or_has_control_characters_is_refused() {
    let named = |name: &str| {
        let child = NodeText {
            name: name.to_owned(),
            ..NodeText::default()
        };
        let root = NodeText {
            children: vec![child],
            ..NodeText::default()
        };
        Tree::from_flat(&flattened(&root))
    };
    assert!(named(&"n".repeat(255)).is_ok());
    let error = named(&"n".repeat(256)).unwrap_err().to_string();
    assert!(
        error.contains("at byte 68: expected a name of at most 255"),
        "{error}"
    );
    let error = named("a\x1b[2J").unwrap_err().to_string();
    assert!(
        error.contains("at byte 69") && error.contains("found 0x1b"),
        "{error}"
    );
}

#[test]
fn tree_that_is_too_deep_or_too_large_is_refused() {
    let mut deep = NodeText::default();
    for _ in 0..Tree::MAXIMUM_DEPTH {
        deep = NodeText {
            children: vec![deep],
            ..NodeText::default()
        };
    }
    let levels = Tree::from_flat(&flattened(&deep));
    assert!(matches!(
        levels,
        Err(TreeError::TooMany { what: "levels", .. })
    ));
    let wide = NodeText {
        children: vec![NodeText::default(); Tree::MAXIMUM_NODES],
        ..NodeText::default()
    };
    let nodes = Tree::from_flat(&flattened(&wide));
    assert!(matches!(
        nodes,
        Err(TreeError::TooMany { what: "nodes", .. })
    ));
}

fn node() -> impl Strategy<Value = NodeText> {
    let name = "[a-z,]{1,8}(@[0-9a-f]{1,4})?|reserved-memory";
    let property = prop_oneof![
        Just("reg".to_owned()),
        Just("size".to_owned()),
        Just("phandle".to_owned()),
        Just("memory-region".to_owned()),
        Just("#address-cells".to_owned()),
        Just("#size-cells".to_owned()),
        Just("alloc-ranges".to_owned()),
        Just("compatible".to_owned()),
        "[a-z-]{1,8}",
    ];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(0..4_u32, 0..6)
            .prop_map(|cells| cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()),
        Just(b"shared-dma-pool\0".to_vec()),
    ];
    let leaf = (name, prop::collection::btree_map(property, value, 0..5)).prop_map(
        |(name, properties)| NodeText {
            name,
            properties,
            children: Vec::new(),
        },
    );
    leaf.clone().prop_recursive(4, 24, 4, move |inner| {
        (leaf.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(own, children)| NodeText { children, ..own })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_read_back_as_written(root in node()) {
        let root = NodeText { name: String::new(), ..root };
        let flat = flattened(&root);
        let tree = Tree::from_flat(&flat).unwrap();
        prop_assert_eq!(NodeText::of(tree.root()), root);
        hostile::devicetree(&flat);
    }

    #[test]
    fn any_bytes_are_a_tree_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        hostile::devicetree(&bytes);
        let mut begun = 0xd00d_feed_u32.to_be_bytes().to_vec();
        begun.extend(bytes);
        hostile::devicetree(&begun);
    }

    #[test]
    fn damaged_tree_is_read_or_refused(
        name in prop::sample::select(vec!["pi-4", "camera-pool", "bare"]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = compiled(name);
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        hostile::devicetree(&bytes);
        let length = cut.index(bytes.len());
        hostile::devicetree(&bytes[..length]);
    }
}
