//! The algebra of demands, over random ones; plans are judged by a checker that shares nothing with the solver.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{device, linear};
use covalent_alloc::constraint::{
    AddressWindow, Contiguity, CpuUse, Demand, Field, Guarantees, ImageTerms, Imports, MemoryTerms,
    MergedImage, MergedMemory, Participant, PlanePlacement, Role, SideTerms, Source, SourceId,
    StrideTerms,
};
use covalent_alloc::model::{Extent, Fourcc, Layout};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const DRIVERS: [&str; 3] = ["camera", "card", "codec"];
const FORMATS: [Fourcc; 4] = [Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12, Fourcc::YUV420];

fn side() -> impl Strategy<Value = SideTerms> {
    (
        0..40_u32,
        select(vec![32, 64, u32::MAX]),
        select(vec![0, 1, 2, 3]),
    )
        .prop_map(|(minimum, maximum, multiple_of)| SideTerms {
            minimum,
            maximum,
            multiple_of,
        })
}

fn stride() -> impl Strategy<Value = StrideTerms> {
    (
        select(vec![0, 100, 256]),
        select(vec![u32::MAX, 300, 256]),
        select(vec![1, 4, 48, 64]),
        select(vec![1, 32]),
        prop::collection::btree_set(select(vec![192, 256, 384]), 0..2),
        prop::collection::btree_set(select(vec![0, 64, 256]), 0..2),
    )
        .prop_map(
            |(minimum, maximum, alignment, preferred_alignment, preferred, avoided_multiples)| {
                StrideTerms {
                    minimum,
                    maximum,
                    alignment,
                    preferred_alignment,
                    preferred,
                    avoided_multiples,
                }
            },
        )
}

fn image() -> impl Strategy<Value = ImageTerms> {
    (
        prop_oneof![3 => Just(SideTerms::default()), 1 => side()],
        prop_oneof![3 => Just(SideTerms::default()), 1 => side()],
        prop_oneof![1 => Just(StrideTerms::default()), 1 => stride()],
        select(vec![0_u64, 1, 64, 4096]),
        select(vec![1_u64, 4096, 12_288]),
        select(vec![0_u64, 20_000]),
        select(vec![0_u64, 1000]),
        any::<bool>(),
        select(vec![
            PlanePlacement::Either,
            PlanePlacement::Either,
            PlanePlacement::Together,
            PlanePlacement::Apart,
        ]),
    )
        .prop_map(
            |(width, height, stride, offset, size, minimum, padding, packed_planes, placement)| {
                ImageTerms {
                    width,
                    height,
                    stride,
                    offset_alignment_bytes: offset,
                    size_alignment_bytes: size,
                    minimum_size_bytes: minimum,
                    padding_bytes: padding,
                    packed_planes,
                    placement,
                    ..ImageTerms::default()
                }
            },
        )
}

fn memory() -> impl Strategy<Value = MemoryTerms> {
    (
        select(vec![
            Contiguity::Scattered,
            Contiguity::Scattered,
            Contiguity::Unknown,
            Contiguity::Contiguous,
        ]),
        select(vec![64_u32, 64, 32]),
        select(vec![
            Imports::Any,
            Imports::Any,
            Imports::only_from(device("card"), "it is so"),
            Imports::Nothing {
                reason: "it is so".to_owned(),
            },
        ]),
        select(vec![CpuUse::None, CpuUse::Often]),
    )
        .prop_map(|(contiguity, bits, imports, cpu)| MemoryTerms {
            contiguity,
            address: AddressWindow::of_bits(bits),
            imports,
            cpu,
            ..MemoryTerms::default()
        })
}

fn participant(number: usize) -> impl Strategy<Value = Participant> {
    (
        select(DRIVERS.to_vec()),
        select(vec![Role::Capture, Role::Display, Role::Compositor]),
        prop::option::of(subsequence(FORMATS.to_vec(), 1..=4)),
        image(),
        memory(),
    )
        .prop_map(move |(driver, role, formats, image, memory)| {
            let mut participant = Participant::new(format!("p{number}"), device(driver), role);
            participant.constraints.formats = formats.map(|formats| linear(&formats));
            participant.constraints.image = image;
            participant.constraints.memory = memory;
            participant
        })
}

fn source(number: usize) -> impl Strategy<Value = Source> {
    (
        prop::option::of(select(DRIVERS.to_vec())),
        select(vec![0_u64, 4096, u64::MAX]),
        select(vec![
            (0, u64::MAX),
            (0, (1 << 31) - 1),
            (1 << 32, (1 << 33) - 1),
        ]),
        select(vec![None, Some(30_000_u64)]),
    )
        .prop_map(
            move |(owner, contiguous_up_to_bytes, (lowest, highest), maximum_bytes)| {
                let mut source = Source::new(
                    SourceId::new(format!("s{number}")),
                    format!("source {number}"),
                );
                source.device = owner.map(device);
                source.guarantees = Guarantees {
                    contiguous_up_to_bytes,
                    address: AddressWindow { lowest, highest },
                    maximum_bytes,
                    ..Guarantees::default()
                };
                source
            },
        )
}

fn request() -> impl Strategy<Value = Request> {
    (
        (1..70_u32, 1..70_u32),
        (participant(0), participant(1), participant(2)),
        1..=3_usize,
        (source(0), source(1)),
        1..=2_usize,
    )
        .prop_map(
            |((width, height), (p0, p1, p2), participants, (s0, s1), sources)| Request {
                participants: [p0, p1, p2].into_iter().take(participants).collect(),
                sources: [s0, s1].into_iter().take(sources).collect(),
                ..Request::new(Extent::new(width, height).unwrap())
            },
        )
}

/// What a plan must keep, written down anew.
fn check(request: &Request, plan: &Plan) {
    let layout: &Layout = plan.layout();
    let source = request
        .sources
        .iter()
        .find(|source| source.id == *plan.source())
        .unwrap();
    assert_eq!(layout.extent(), request.extent);
    let mut sure = true;
    for participant in &request.participants {
        let constraints = &participant.constraints;
        if let Some(formats) = &constraints.formats {
            assert!(formats.contains(layout.format()), "{}", participant.name);
        }
        let image = &constraints.image;
        for (pixels, side) in [
            (layout.extent().width(), &image.width),
            (layout.extent().height(), &image.height),
        ] {
            assert!(side.minimum <= pixels && pixels <= side.maximum);
            assert!(side.multiple_of == 0 || pixels % side.multiple_of == 0);
        }
        let first = layout.planes()[0].stride_bytes;
        assert!(image.stride.minimum <= first && first <= image.stride.maximum);
        let mut end = 0;
        for (number, plane) in layout.planes().iter().enumerate() {
            assert_eq!(plane.stride_bytes % image.stride.alignment.max(1), 0);
            assert_eq!(plane.offset_bytes % image.offset_alignment_bytes.max(1), 0);
            if image.packed_planes && layout.memory_sizes().len() == 1 {
                assert_eq!(plane.offset_bytes, end);
            }
            let rows = layout.rows(number).unwrap();
            end = plane.offset_bytes + u64::from(plane.stride_bytes) * u64::from(rows);
            assert!(u64::from(plane.stride_bytes) >= u64::from(layout.row_bytes(number).unwrap()));
            assert!(end <= layout.memory_sizes()[plane.memory]);
        }
        for size in layout.memory_sizes() {
            assert_eq!(size % image.size_alignment_bytes.max(1), 0);
        }
        let last = layout.planes().last().unwrap();
        assert!(layout.memory_sizes()[last.memory] >= end + image.padding_bytes);
        assert!(layout.total_bytes() >= image.minimum_size_bytes);
        match image.placement {
            PlanePlacement::Together => assert_eq!(layout.memory_sizes().len(), 1),
            PlanePlacement::Apart => assert_eq!(layout.memory_sizes().len(), layout.planes().len()),
            _ => {}
        }
        let own = source
            .device
            .as_ref()
            .is_some_and(|device| device.same_device(&participant.device));
        let memory = &constraints.memory;
        if !own && participant.role != Role::Compositor {
            match &memory.imports {
                Imports::Any => {}
                Imports::OnlyFrom { devices, .. } => {
                    assert!(
                        source
                            .device
                            .as_ref()
                            .is_some_and(|device| devices.contains(device))
                    );
                }
                Imports::Nothing { .. } => panic!("{} imports nothing", participant.name),
            }
        }
        if !own {
            let largest = layout.memory_sizes().iter().copied().max().unwrap();
            let promised = source.guarantees.contiguous_up_to_bytes >= largest;
            sure &= memory.contiguity == Contiguity::Scattered || promised;
            sure &= memory.address.contains(&source.guarantees.address);
            assert!(memory.address.overlaps(&source.guarantees.address));
        }
    }
    if let Some(maximum) = source.guarantees.maximum_bytes {
        assert!(layout.memory_sizes().iter().all(|size| *size <= maximum));
    }
    assert_eq!(plan.verdict() == Verdict::Guaranteed, sure);
    assert_eq!(plan.doubts().is_empty(), sure);
    plan.accepts(layout).unwrap();
}

/// The request with these demands alone.
fn with_only(request: &Request, kept: &[Demand]) -> Request {
    let mut request = request.clone();
    for participant in &mut request.participants {
        let owned: BTreeSet<Field> = kept
            .iter()
            .filter(|demand| demand.owner == participant.name)
            .map(|demand| demand.field)
            .collect();
        for field in Field::ALL {
            if !owned.contains(&field) {
                participant.constraints.relax(field);
            }
        }
    }
    request
}

fn shares(request: &Request) -> bool {
    matches!(solve(request), Solution::Share(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn merge_of_images_commutes_associates_and_has_an_identity(a in image(), b in image(), c in image()) {
        let (a, b, c) = (MergedImage::of(0, &a), MergedImage::of(1, &b), MergedImage::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedImage::default()), a);
    }

    #[test]
    fn merge_of_memory_commutes_associates_and_has_an_identity(a in memory(), b in memory(), c in memory()) {
        let (a, b, c) = (MergedMemory::of(0, &a), MergedMemory::of(1, &b), MergedMemory::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedMemory::default()), a);
    }

    #[test]
    fn plan_satisfies_every_constraint(request in request()) {
        match solve(&request) {
            Solution::Share(plan) => check(&request, &plan),
            Solution::Split(split) => {
                for group in split.groups() {
                    if let Some(plan) = &group.plan {
                        let mut part = request.clone();
                        part.participants.retain(|participant| group.participants.contains(&participant.name));
                        check(&part, plan);
                    }
                }
            }
            _ => unreachable!(),
        }
    }

    #[test]
    fn another_participant_never_adds_a_plan(request in request(), more in participant(9)) {
        let mut stricter = request.clone();
        stricter.participants.push(more);
        prop_assert!(shares(&request) || !shares(&stricter) || request.participants.iter().all(|p| p.constraints.formats.is_none()));
    }

    #[test]
    fn order_of_participants_and_sources_never_matters(request in request()) {
        let mut turned = request.clone();
        turned.participants.reverse();
        turned.sources.reverse();
        match (solve(&request), solve(&turned)) {
            (Solution::Share(one), Solution::Share(two)) => {
                prop_assert_eq!(one.source(), two.source());
                prop_assert_eq!(one.layout(), two.layout());
                prop_assert_eq!(one.verdict(), two.verdict());
            }
            (Solution::Split(one), Solution::Split(two)) => prop_assert_eq!(one.conflict(), two.conflict()),
            _ => prop_assert!(false, "one order shares and the other does not"),
        }
    }

    #[test]
    fn conflict_is_irreducible(request in request()) {
        if let Solution::Split(split) = solve(&request) {
            let conflict = split.conflict();
            if conflict.is_empty() {
                prop_assert!(!shares(&with_only(&request, &[])));
            } else {
                prop_assert!(!shares(&with_only(&request, conflict)));
                for demand in conflict {
                    let rest: Vec<Demand> = conflict.iter().filter(|other| *other != demand).cloned().collect();
                    prop_assert!(shares(&with_only(&request, &rest)), "{} is not needed", demand);
                }
            }
        }
    }

    #[test]
    fn declarations_survive_json(request in request()) {
        let text = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn any_json_is_read_or_refused_without_panic(text in "[\\[\\]{}\",:a-z0-9_ ]{0,200}") {
        let _ = serde_json::from_str::<Participant>(&text);
    }
}
