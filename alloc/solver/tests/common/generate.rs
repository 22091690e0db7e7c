//! Generators of random requests: small images, few devices, and constraints that often agree and often conflict.

mod image;
mod pool;

use covalent_solver::constraint::{
    AddressWindow, Coherency, Constraints, Contiguity, CopierKind, CopyDevice, CpuUse, DeviceGroup,
    Exports, ExtraFields, Guarantees, ImageConstraints, Imports, InternalCopy, MemoryConstraints,
    MemoryCost, MemoryScope, Participant, Protection, Role, Source, SourceId, SyncMechanism,
};
use covalent_solver::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::device;
pub use image::image;
use pool::with_pools;

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

/// Generates usually the default, and sometimes another value.
fn mostly<T: Clone + std::fmt::Debug + Default + 'static>(
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![3 => Just(T::default()), 1 => other]
}

/// Generates the default and other values equally often.
fn often<T: Clone + std::fmt::Debug + Default + 'static>(
    other: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![1 => Just(T::default()), 1 => other]
}

fn sources() -> impl Strategy<Value = std::collections::BTreeSet<SourceId>> {
    prop::collection::btree_set(
        select(vec![SourceId::new("s0"), SourceId::new("gbm:s1")]),
        0..2,
    )
}

/// Generates devices that copy between some of the formats, at a lower or a higher cost than the CPU.
pub fn copiers() -> impl Strategy<Value = Vec<CopyDevice>> {
    let kinds = vec![CopierKind::Engine, CopierKind::Gpu, CopierKind::Compositor];
    let formats = || subsequence(pairs(), 1..=pairs().len());
    let costs = select(vec![1, 10, 99, 100, 101]);
    let one =
        (select(kinds), formats(), formats(), costs).prop_map(|(kind, reads, writes, cost)| {
            CopyDevice {
                name: kind.label().to_owned(),
                device: device("copier"),
                kind,
                reads: reads.into_iter().collect(),
                writes: writes.into_iter().collect(),
                cost,
                extra_fields: ExtraFields::default(),
            }
        });
    prop::collection::vec(one, 0..5)
}

pub fn memory() -> BoxedStrategy<MemoryConstraints> {
    (
        mostly(select(vec![Contiguity::Unknown, Contiguity::Contiguous])),
        select(vec![64_u32, 64, 64, 32]),
        mostly(select(vec![
            Imports::only_from(device("card"), "it is so"),
            Imports::Nothing {
                reason: "it is so".to_owned(),
            },
            Imports::Unknown {
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
        .boxed()
}

fn internal_copies() -> impl Strategy<Value = Vec<InternalCopy>> {
    prop::collection::vec(subsequence(pairs(), 1..=3), 1..=2).prop_map(|lists| {
        let copy = |from: Vec<FormatModifier>| InternalCopy {
            from: from.into(),
            to: TILED,
            reason: "its samplers read tiles alone".to_owned(),
            extra_fields: ExtraFields::default(),
        };
        lists.into_iter().map(copy).collect()
    })
}

pub fn constraints() -> BoxedStrategy<Constraints> {
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
        (0..4_u32, mostly(internal_copies())),
    )
        .prop_map(
            |(formats, image, by_format, memory, sync, (buffers_held, internal_copies))| {
                Constraints {
                    internal_copies,
                    formats: formats.map(Into::into),
                    image,
                    per_fourcc: by_format.into_iter().collect(),
                    memory,
                    sync,
                    buffers_held,
                    ..Constraints::default()
                }
            },
        )
        .boxed()
}

pub fn participant(number: usize) -> BoxedStrategy<Participant> {
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
        (
            prop::bool::weighted(0.2),
            select(vec![None, Some("a"), Some("b"), Some("c")]),
        ),
    )
        .prop_map(
            move |(driver, role, constraints, alternatives, (maps, group))| {
                let mut participant = Participant::new(format!("p{number}"), device(driver), role);
                participant.set_choices(constraints, alternatives);
                participant.maps = maps;
                participant.groups = group.map(DeviceGroup::new).into_iter().collect();
                participant
            },
        )
        .boxed()
}

fn guarantees() -> BoxedStrategy<Guarantees> {
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
            (false, false, false),
            (false, false, false),
            (true, false, false),
            (true, true, false),
            (false, false, true),
        ]),
        (
            select(vec![MemoryCost::System, MemoryCost::Reserved]),
            select(vec![
                MemoryScope::Everybody,
                MemoryScope::Everybody,
                MemoryScope::Everybody,
                MemoryScope::Device,
                MemoryScope::Devices([device("codec")].into()),
                MemoryScope::Groups([DeviceGroup::new("a"), DeviceGroup::new("b")].into()),
            ]),
        ),
    )
        .prop_map(
            |(
                contiguous,
                (lowest, highest),
                maximum,
                available,
                cached,
                seen,
                kept,
                (cost, scope),
            )| {
                Guarantees {
                    scope,
                    contiguous_up_to_bytes: contiguous,
                    address: AddressWindow { lowest, highest },
                    cached,
                    coherent: seen.0,
                    has_shadow_copy: seen.1,
                    unmappable: kept.0,
                    protected: kept.1,
                    is_unknown: kept.2,
                    cost,
                    maximum_bytes: maximum,
                    available_bytes: available,
                    ..Guarantees::default()
                }
            },
        )
        .boxed()
}

pub fn source(number: usize) -> BoxedStrategy<Source> {
    (
        prop::option::of(select(DRIVERS.to_vec())),
        prop::option::weighted(0.4, subsequence(pairs(), 1..=8)),
        prop_oneof![4 => Just(ImageConstraints::default()), 1 => image()],
        prop_oneof![1 => Just(Guarantees { contiguous_up_to_bytes: u64::MAX, ..Guarantees::default() }), 1 => guarantees()],
    )
        .prop_map(move |(owner, formats, image, guarantees)| {
            let mut source = Source::new(
                SourceId::new(if number == 1 { "gbm:s1".to_owned() } else { format!("s{number}") }),
                format!("source {number}"),
            );
            source.device = owner.map(device);
            source.constraints.formats = formats.map(Into::into);
            source.constraints.image = image;
            source.guarantees = guarantees;
            source
        })
        .boxed()
}

pub fn request() -> impl Strategy<Value = Request> {
    without_pools().prop_flat_map(with_pools)
}

fn without_pools() -> BoxedStrategy<Request> {
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
        .boxed()
}

/// Generates requests whose participants conflict only by their formats, so that most requests are split.
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
