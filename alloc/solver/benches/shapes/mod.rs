//! Requests that take the solver much work. Each of them is near one or more of the solver's limits.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects,
    reason = "each benchmark uses only some of these functions"
)]

mod formats;
mod layouts;
mod limits;
mod memory;

use covalent_solver::constraint::{Constraints, FormatSet, Participant, Role, Source, SourceId};
use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;

pub use formats::{
    all_differ, alternating, alternatives_of, formats, formats_in_thirds, pairs, per_format,
};
pub use layouts::{
    alternatives_8, extents, extents_of, preferred_strides, primes, split_with_combinations,
    stride_preferences_by_format, strides_alternate, widths_alternate,
};
pub use limits::{agreeing, every_cap, held, long_names, sources_256, writers_and_readers};
pub use memory::{
    coherent, conflict_of_many, imports_chain, imports_named, imports_of_devices, own_sources,
    permitted_alike, permitted_lists, protection_alternates, sources_named_by_each,
};

/// A function that makes a request.
pub type Shape = fn() -> Request;

/// All requests with their names.
pub const ALL: &[(&str, Shape)] = &[
    ("alternating_1000", || alternating(1000)),
    ("alternating_2000", || alternating(2000)),
    ("alternating_4096", || alternating(4096)),
    ("alternating_1000_among_64_sources", || {
        with_sources(alternating(1000), 64)
    }),
    ("alternatives_of_1000", || alternatives_of(1000)),
    ("alternatives_of_4096", || alternatives_of(4096)),
    ("all_differ_4096", || all_differ(4096)),
    ("agreeing_4096_and_256_sources", || {
        with_sources(agreeing(4096), 256)
    }),
    ("every_cap_64_feasible", || every_cap(64, 64, false)),
    ("every_cap_64_infeasible", || every_cap(64, 64, true)),
    ("every_cap_64_and_256_sources", || every_cap(64, 256, true)),
    ("sources_256_of_8_feasible", || sources_256(8, false)),
    ("sources_256_of_8_infeasible", || sources_256(8, true)),
    ("sources_256_of_8_named_by_each", sources_named_by_each),
    ("pairs_5000_of_8_feasible", || pairs(8, 5000, 256, false)),
    ("pairs_5000_of_8_infeasible", || pairs(8, 5000, 256, true)),
    ("pairs_65536_of_8", || pairs(8, 65_536, 16, true)),
    ("formats_65536_of_4", || formats(4, 65_536, 8)),
    ("strides_alternate_1000", || strides_alternate(1000)),
    ("widths_alternate_1000", || widths_alternate(1000)),
    ("protection_alternates_1000", || protection_alternates(1000)),
    ("imports_chain_500", || imports_chain(500)),
    ("conflict_of_many_40", || conflict_of_many(40)),
    ("conflict_of_many_400", || conflict_of_many(400)),
    ("split_of_8_with_combinations", || {
        split_with_combinations(8)
    }),
    ("split_of_64_with_combinations", || {
        split_with_combinations(64)
    }),
    ("extents_64", || extents(64)),
    ("wishes_for_20000_strides", preferred_strides),
    ("permitted_lists_of_20000", permitted_lists),
    ("imports_of_5000_devices", imports_of_devices),
    ("writers_and_readers_4096", || writers_and_readers(4096)),
    ("coherent_1000_and_256_sources", || coherent(1000)),
    ("long_names_of_1000", long_names),
    ("rows_every_cap_64", || in_rows(every_cap(64, 64, true))),
    ("rows_split_of_8_with_combinations", || {
        in_rows(split_with_combinations(8))
    }),
    ("rows_split_of_64_with_combinations", || {
        in_rows(split_with_combinations(64))
    }),
    ("rows_of_8_and_1024_sources", || {
        in_rows(with_formats(sources_256(8, true), 1024))
    }),
    ("formats_by_a_third_4096", || formats_in_thirds(4096)),
    ("held_by_4096", || held(4096)),
    ("extents_64_of_64_in_rows", || in_rows(extents_of(64, 64))),
    ("primes_of_23", || primes(23)),
    ("wishes_by_format_of_8", stride_preferences_by_format),
    ("per_format_of_64", || per_format(64)),
    ("imports_named_by_4096", || imports_named(4096)),
    ("alternatives_8_of_4096", || alternatives_8(4096)),
    ("own_sources_1024", || own_sources(1024)),
    ("permitted_lists_alike_of_4096", || permitted_alike(4096)),
    ("pairs_100000_of_64", || pairs(64, 100_000, 64, false)),
];

fn device(driver: &str, number: usize) -> DeviceIdentity {
    DeviceIdentity {
        driver: driver.to_owned(),
        location: format!("bus:{number}"),
        node: format!("/dev/{driver}{number}"),
    }
}

fn participant(number: usize) -> Participant {
    let role = if number == 0 {
        Role::Capture
    } else {
        Role::Import
    };
    Participant::new(format!("device {number}"), device("gpu", number), role)
}

fn heap(number: usize) -> Source {
    Source::new(
        SourceId::new(format!("heap:{number:04}")),
        format!("heap {number}"),
    )
}

fn request(participants: Vec<Participant>, sources: usize) -> Request {
    Request {
        participants,
        sources: (0..sources).map(heap).collect(),
        ..Request::new(Extent::new(640, 480).unwrap())
    }
}

fn with_sources(mut request: Request, sources: usize) -> Request {
    request.sources = (0..sources).map(heap).collect();
    request
}

fn linear(fourccs: &[Fourcc]) -> FormatSet {
    fourccs
        .iter()
        .copied()
        .map(FormatModifier::linear)
        .collect()
}

/// The known formats that the requests contain. The list is fixed: with the solver's table of formats, a request would grow with
/// the table, and its number of instructions could not be compared with the recorded one.
const KNOWN: [Fourcc; 38] = [
    Fourcc::XRGB8888,
    Fourcc::ARGB8888,
    Fourcc::XBGR8888,
    Fourcc::ABGR8888,
    Fourcc::RGBX8888,
    Fourcc::RGBA8888,
    Fourcc::BGRX8888,
    Fourcc::BGRA8888,
    Fourcc::RGB888,
    Fourcc::BGR888,
    Fourcc::RGB565,
    Fourcc::BGR565,
    Fourcc::XRGB2101010,
    Fourcc::ARGB2101010,
    Fourcc::XBGR2101010,
    Fourcc::ABGR2101010,
    Fourcc::XRGB1555,
    Fourcc::ARGB1555,
    Fourcc::XBGR16161616F,
    Fourcc::ABGR16161616F,
    Fourcc::R8,
    Fourcc::YUYV,
    Fourcc::YVYU,
    Fourcc::UYVY,
    Fourcc::VYUY,
    Fourcc::NV12,
    Fourcc::NV21,
    Fourcc::NV16,
    Fourcc::NV61,
    Fourcc::YUV420,
    Fourcc::YVU420,
    Fourcc::YUV422,
    Fourcc::YVU422,
    Fourcc::NV24,
    Fourcc::NV42,
    Fourcc::YUV444,
    Fourcc::YVU444,
    Fourcc::P010,
];

fn many_pairs(formats: usize, modifiers: usize) -> FormatSet {
    let others = (0..formats as u32).map(|number| Fourcc(0x7a7a_0000 + number));
    KNOWN
        .into_iter()
        .chain(others)
        .take(formats)
        .flat_map(|fourcc| {
            (0..modifiers as u64).map(move |number| match number {
                0 => FormatModifier::linear(fourcc),
                _ => FormatModifier::new(fourcc, Modifier(0x0100_0000_0000_0000 | number)),
            })
        })
        .collect()
}

/// Removes all formats that are not linear. For linear formats, the solver itself chooses the strides.
pub fn in_rows(mut request: Request) -> Request {
    let rows = |constraints: &mut Constraints| {
        let formats = constraints.formats.take().into_iter();
        let pairs: Vec<FormatModifier> = formats
            .flat_map(|formats| formats.iter().collect::<Vec<_>>())
            .filter(|pair| pair.modifier == Modifier::LINEAR)
            .collect();
        constraints.formats = Some(pairs.into_iter().collect());
    };
    for one in &mut request.participants {
        one.for_each_choice(rows);
    }
    for source in &mut request.sources {
        rows(&mut source.constraints);
    }
    request
}

/// Replaces the request's sources by new sources, each with the constraints of the request's first source.
fn with_formats(mut request: Request, sources: usize) -> Request {
    let constraints = request.sources[0].constraints.clone();
    request.sources = (0..sources)
        .map(|number| {
            let mut source = heap(number);
            source.constraints = constraints.clone();
            source
        })
        .collect();
    request
}
