//! Random requests: small pictures, few devices, demands that often meet and often clash.

use covalent_solver::constraint::{
    AddressWindow, Coherency, Constraints, Contiguity, CpuUse, Exports, Guarantees,
    ImageConstraints, Imports, MemoryConstraints, MemoryCost, Participant, PlanePlacement,
    Protection, Role, SideConstraints, Source, SourceId, StrideConstraints, SyncMechanism,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::device;

const DRIVERS: [&str; 3] = ["camera", "card", "codec"];
const TILED: Modifier = Modifier(0x0100_0000_0000_0002);

fn pairs() -> Vec<FormatModifier> {
    let mut pairs: Vec<_> = [
        Fourcc::XRGB8888,
        Fourcc::R8,
        Fourcc::YUYV,
        Fourcc::NV12,
        Fourcc::YUV420,
    ]
    .map(FormatModifier::linear)
    .to_vec();
    pairs.push(FormatModifier::new(Fourcc::XRGB8888, TILED));
    pairs.push(FormatModifier::new(Fourcc::NV12, TILED));
    pairs.push(FormatModifier::new(Fourcc::XRGB8888, Modifier::INVALID));
    pairs
}

/// Mostly nothing, at times something else.
fn mostly<T: Clone + std::fmt::Debug + Default + 'static>(
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![3 => Just(T::default()), 1 => other]
}

/// Nothing, or as often something else.
fn often<T: Clone + std::fmt::Debug + Default + 'static>(
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![1 => Just(T::default()), 1 => other]
}

fn side() -> impl Strategy<Value = SideConstraints> {
    (
        0..20_u32,
        select(vec![16, 32, u32::MAX]),
        select(vec![0, 1, 2, 3]),
    )
        .prop_map(|(minimum, maximum, multiple_of)| SideConstraints {
            minimum,
            maximum,
            multiple_of,
        })
}

fn stride() -> impl Strategy<Value = StrideConstraints> {
    (
        select(vec![0, 0, 60, 256]),
        select(vec![u32::MAX, u32::MAX, 200, 256]),
        select(vec![0, 1, 4, 48, 48, 64, 64]),
        select(vec![1, 32]),
        prop::collection::btree_set(select(vec![192, 256, 384]), 0..2),
        prop::collection::btree_set(select(vec![0, 64, 256]), 0..2),
        select(vec![false, false, false, true]),
    )
        .prop_map(
            |(
                minimum,
                maximum,
                alignment,
                preferred_alignment,
                preferred,
                avoided_multiples,
                packed,
            )| {
                StrideConstraints {
                    minimum,
                    maximum,
                    alignment,
                    packed,
                    preferred_alignment,
                    preferred,
                    avoided_multiples,
                }
            },
        )
}

pub fn image() -> impl Strategy<Value = ImageConstraints> {
    (
        (mostly(side()), mostly(side()), often(stride())),
        (
            select(vec![0_u64, 1, 1, 16]),
            select(vec![1_u64, 1, 4096, 12_288]),
            select(vec![0_u64, 1, 1, 16]),
            select(vec![0_u32, 1, 1, 4, 16]),
            select(vec![0_u64, 0, 2000, 20_000]),
            select(vec![u64::MAX, u64::MAX, 1000, 4096, 8192]),
        ),
        (
            select(vec![0_u64, 0, 0, 100]),
            select(vec![0_u64, 0, 0, 1000]),
            select(vec![u32::MAX, u32::MAX, u32::MAX, 1, 2]),
            select(vec![false, false, true]),
            select(vec![
                PlanePlacement::Either,
                PlanePlacement::Either,
                PlanePlacement::Either,
                PlanePlacement::Together,
                PlanePlacement::Disjoint,
            ]),
        ),
    )
        .prop_map(
            |((width, height, stride), sizes, places)| ImageConstraints {
                width,
                height,
                stride,
                offset_alignment_bytes: sizes.0,
                size_alignment_bytes: sizes.1,
                plane_size_alignment_bytes: sizes.2,
                rows_multiple_of: sizes.3,
                minimum_size_bytes: sizes.4,
                maximum_size_bytes: sizes.5,
                padding_before_bytes: places.0,
                padding_bytes: places.1,
                maximum_planes: places.2,
                packed_planes: places.3,
                placement: places.4,
                ..ImageConstraints::default()
            },
        )
}

fn sources() -> impl Strategy<Value = std::collections::BTreeSet<SourceId>> {
    prop::collection::btree_set(select(vec![SourceId::new("s0"), SourceId::new("s1")]), 0..2)
}

pub fn memory() -> impl Strategy<Value = MemoryConstraints> {
    (
        mostly(select(vec![Contiguity::Unknown, Contiguity::Contiguous])),
        select(vec![64_u32, 64, 64, 32]),
        mostly(select(vec![
            Imports::only_from(device("card"), "it is so"),
            Imports::Nothing {
                reason: "it is so".to_owned(),
            },
        ])),
        mostly(Just(Exports::Nothing {
            reason: "it is so".to_owned(),
        })),
        prop_oneof![4 => Just(None), 1 => sources().prop_map(Some)],
        sources(),
        mostly(select(vec![CpuUse::Rarely, CpuUse::Often])),
        mostly(select(vec![Coherency::Untransferred, Coherency::Coherent])),
        mostly(select(vec![
            Protection::Accepted,
            Protection::Rejected,
            Protection::Rejected,
            Protection::Required,
        ])),
    )
        .prop_map(
            |(
                contiguity,
                bits,
                imports,
                exports,
                permitted,
                preferred,
                cpu,
                coherency,
                protection,
            )| {
                MemoryConstraints {
                    contiguity,
                    address: AddressWindow::of_bits(bits),
                    imports,
                    exports,
                    permitted,
                    preferred,
                    cpu,
                    coherency,
                    protection,
                    ..MemoryConstraints::default()
                }
            },
        )
}

pub fn constraints() -> impl Strategy<Value = Constraints> {
    (
        prop::option::weighted(0.8, subsequence(pairs(), 1..=8)),
        often(image()),
        prop::option::weighted(0.3, (select(vec![Fourcc::NV12, Fourcc::XRGB8888]), image())),
        mostly(memory()),
        prop::collection::btree_set(
            select(vec![
                SyncMechanism::Implicit,
                SyncMechanism::SyncFile,
                SyncMechanism::Timeline,
            ]),
            0..3,
        ),
        0..4_u32,
    )
        .prop_map(
            |(formats, image, by_format, memory, sync, buffers_held)| Constraints {
                formats: formats.map(Into::into),
                image,
                per_fourcc: by_format.into_iter().collect(),
                memory,
                sync,
                buffers_held,
                ..Constraints::default()
            },
        )
}

pub fn participant(number: usize) -> impl Strategy<Value = Participant> {
    (
        select(DRIVERS.to_vec()),
        select(vec![
            Role::Capture,
            Role::Display,
            Role::Compositor,
            Role::CpuRead,
        ]),
        constraints(),
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(constraints(), 1..3)],
    )
        .prop_map(move |(driver, role, constraints, alternatives)| {
            let mut participant = Participant::new(format!("p{number}"), device(driver), role);
            participant.set_choices(constraints, alternatives);
            participant
        })
}

fn guarantees() -> impl Strategy<Value = Guarantees> {
    (
        select(vec![0_u64, 4096, u64::MAX]),
        select(vec![
            (0, u64::MAX),
            (0, (1 << 31) - 1),
            (1 << 32, (1 << 33) - 1),
        ]),
        select(vec![None, None, Some(5000_u64), Some(30_000)]),
        select(vec![None, None, Some(40_000_u64)]),
        select(vec![None, Some(true), Some(false)]),
        (
            select(vec![None, Some(true), Some(false)]),
            select(vec![None, Some(true), Some(false)]),
        ),
        select(vec![
            (false, false),
            (false, false),
            (true, false),
            (true, true),
        ]),
        select(vec![MemoryCost::System, MemoryCost::Reserved]),
    )
        .prop_map(
            |(contiguous, (lowest, highest), maximum, available, cached, seen, kept, cost)| {
                Guarantees {
                    contiguous_up_to_bytes: contiguous,
                    address: AddressWindow { lowest, highest },
                    cached,
                    coherent: seen.0,
                    has_shadow_copy: seen.1,
                    unmappable: kept.0,
                    protected: kept.1,
                    cost,
                    maximum_bytes: maximum,
                    available_bytes: available,
                    ..Guarantees::default()
                }
            },
        )
}

pub fn source(number: usize) -> impl Strategy<Value = Source> {
    (
        prop::option::of(select(DRIVERS.to_vec())),
        prop::option::weighted(0.4, subsequence(pairs(), 1..=8)),
        prop_oneof![4 => Just(ImageConstraints::default()), 1 => image()],
        prop_oneof![1 => Just(Guarantees { contiguous_up_to_bytes: u64::MAX, ..Guarantees::default() }), 1 => guarantees()],
    )
        .prop_map(move |(owner, formats, image, guarantees)| {
            let mut source = Source::new(
                SourceId::new(format!("s{number}")),
                format!("source {number}"),
            );
            source.device = owner.map(device);
            source.constraints.formats = formats.map(Into::into);
            source.constraints.image = image;
            source.guarantees = guarantees;
            source
        })
}

pub fn request() -> impl Strategy<Value = Request> {
    (
        (1..34_u32, 1..34_u32),
        prop::option::weighted(0.3, (1..34_u32, 1..34_u32)),
        (participant(0), participant(1), participant(2)),
        1..=3_usize,
        (source(0), source(1)),
        1..=2_usize,
        prop::option::of(select(vec![Fourcc::NV12, Fourcc::YUYV])),
    )
        .prop_map(
            |((width, height), more, (p0, p1, p2), participants, (s0, s1), sources, preferred)| {
                Request {
                    more_extents: more
                        .map(|(width, height)| Extent::new(width, height).unwrap())
                        .into_iter()
                        .collect(),
                    participants: [p0, p1, p2].into_iter().take(participants).collect(),
                    sources: [s0, s1].into_iter().take(sources).collect(),
                    preferred_fourcc: preferred,
                    ..Request::new(Extent::new(width, height).unwrap())
                }
            },
        )
}

/// Participants that nothing but their formats keeps apart, so that most requests are divided.
pub fn divided() -> impl Strategy<Value = Request> {
    let formats = || subsequence(pairs()[..5].to_vec(), 1..=3);
    prop::collection::vec(formats(), 2..=3).prop_map(|sets| {
        let mut request = Request::new(Extent::new(8, 4).unwrap());
        request
            .sources
            .push(Source::new(SourceId::new("s0"), "source 0"));
        for (number, formats) in sets.into_iter().enumerate() {
            let mut one = Participant::new(format!("p{number}"), device("card"), Role::Display);
            one.for_each_choice(|own| own.formats = Some(formats.clone().into()));
            request.participants.push(one);
        }
        request
    })
}
