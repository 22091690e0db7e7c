//! Requests that ask much of the solver: each as large as its limits allow in one way or another.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects,
    reason = "each program that measures uses its own share"
)]

use std::collections::BTreeSet;

use covalent_solver::constraint::{
    AddressWindow, Coherency, Constraints, Contiguity, FormatSet, ImageConstraints, Imports,
    Participant, Protection, Role, SideConstraints, Source, SourceId,
};
use covalent_solver::model::{
    DeviceIdentity, Extent, FormatInfo, FormatModifier, Fourcc, Modifier,
};
use covalent_solver::solve::Request;

/// Makes a request.
pub type Shape = fn() -> Request;

/// Every shape by its name.
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
    ("wishes_for_20000_strides", wishes),
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
    ("wishes_by_format_of_8", wishes_by_format),
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

/// Every second participant takes another format than the rest.
pub fn alternating(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        let fourcc = [Fourcc::XRGB8888, Fourcc::NV12][number & 1];
        one.for_each_choice(|own| {
            own.formats = Some(linear(&[fourcc]));
            own.buffers_held = 1;
            own.image.stride.alignment = 64;
        });
        one
    });
    request(participants.collect(), 4)
}

/// Each takes one of two formats, and every second one prefers the other one.
pub fn alternatives_of(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        let fourccs = [Fourcc::XRGB8888, Fourcc::NV12];
        one.for_each_choice(|own| own.formats = Some(linear(&[fourccs[number & 1]])));
        let mut other = one.constraints().clone();
        other.formats = Some(linear(&[fourccs[1 - (number & 1)]]));
        one.push_alternative(other);
        one
    });
    request(participants.collect(), 4)
}

/// Each takes a format of its own.
pub fn all_differ(count: usize) -> Request {
    let mut sources = vec![heap(0)];
    let formats: FormatSet = (0..count)
        .map(|number| FormatModifier::linear(Fourcc(0x7a7a_0000 + number as u32)))
        .collect();
    sources[0].constraints.formats = Some(formats);
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        let fourcc = Fourcc(0x7a7a_0000 + number as u32);
        one.for_each_choice(|own| own.formats = Some(linear(&[fourcc])));
        one
    });
    Request {
        sources,
        ..request(participants.collect(), 0)
    }
}

/// All take the same, each by demands of its own on strides.
pub fn agreeing(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.formats = Some(linear(&[Fourcc::XRGB8888, Fourcc::NV12]));
            own.image.stride.alignment = 1 << (number % 8);
            own.image.stride.maximum = 1_000_000 + number as u32;
            own.memory.contiguity = Contiguity::Contiguous;
            own.memory.address = AddressWindow::of_bits(32);
        });
        one
    });
    request(participants.collect(), 4)
}

fn many_pairs(formats: usize, modifiers: usize) -> FormatSet {
    let known = FormatInfo::all().map(|info| info.fourcc);
    let others = (0..formats as u32).map(|number| Fourcc(0x7a7a_0000 + number));
    known
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

/// Everything at once: eight alternatives each, many pairs, demands by format, many sizes and many sources.
pub fn every_cap(count: usize, sources: usize, conflicts: bool) -> Request {
    let pairs = many_pairs(50, 20);
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.formats = Some(pairs.clone());
            own.buffers_held = 1;
        });
        for format in pairs.iter() {
            let mut constraints = ImageConstraints::default();
            constraints.stride.alignment = 8 << (number % 3);
            constraints.rows_multiple_of = 2;
            one.for_each_choice(|own| {
                own.per_fourcc.insert(format.fourcc, constraints.clone());
            });
        }
        one.for_each_choice(|own| own.image.stride.maximum = 65_536);
        if conflicts && number + 1 == count {
            one.for_each_choice(|own| {
                own.image.stride.minimum = 70_000;
                own.image.stride.maximum = 80_000;
            });
        }
        for step in 1..=8_u32 {
            let mut other = one.constraints().clone();
            other.image.stride.alignment = 16 * step;
            other.memory.preferred = [SourceId::new(format!("heap:{step:04}"))].into();
            one.push_alternative(other);
        }
        one
    });
    let mut request = request(participants.collect(), sources);
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.constraints.formats = Some(pairs.clone());
        source.constraints.image.stride.alignment = 4 << (number % 4);
    }
    request.more_extents = (1..16)
        .map(|number| Extent::new(640 + number * 16, 480).unwrap())
        .collect();
    request
}

/// A few participants and many sources, each with many formats.
pub fn sources_256(count: usize, conflicts: bool) -> Request {
    let pairs = many_pairs(50, 10);
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.formats = Some(pairs.clone());
            own.image.stride.alignment = 64;
            own.memory.contiguity = Contiguity::Contiguous;
        });
        if conflicts {
            one.for_each_choice(|own| {
                own.image.stride.minimum = 4096 * (1 + number as u32);
                own.image.stride.maximum = 4096 * (1 + number as u32);
            });
        }
        one
    });
    let mut request = request(participants.collect(), 256);
    for source in &mut request.sources {
        source.constraints.formats = Some(pairs.clone());
    }
    request
}

/// A few participants, each of which imports from 255 of 256 sources by name, another one left out by each.
pub fn sources_named_by_each() -> Request {
    let mut request = sources_256(8, false);
    for (place, one) in request.participants.iter_mut().enumerate() {
        let named = || (0..256).filter(|number| number % 8 != place);
        one.for_each_choice(|own| {
            own.memory.imports = Imports::OnlyFrom {
                devices: BTreeSet::new(),
                sources: named().map(|number| heap(number).id).collect(),
                reason: "its driver was tried with these".to_owned(),
            }
        });
    }
    request
}

/// A few participants with many pairs each, of which half are their own.
pub fn pairs(count: usize, length: usize, sources: usize, conflicts: bool) -> Request {
    let formats = 100.min(length / 50);
    let own = |number: usize| -> FormatSet {
        many_pairs(formats, length / formats)
            .iter()
            .map(|pair| match pair.modifier {
                Modifier::LINEAR if conflicts => {
                    FormatModifier::new(pair.fourcc, Modifier(number as u64 + 1))
                }
                Modifier(modifier) if conflicts || modifier & 1 == 1 => {
                    FormatModifier::new(pair.fourcc, Modifier(modifier | (number as u64 + 1) << 32))
                }
                _ => pair,
            })
            .collect()
    };
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|one| one.formats = Some(own(number)));
        one
    });
    let mut request = request(participants.collect(), sources);
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.constraints.formats = Some(own(number % count));
    }
    request
}

/// As many formats as there can be, with two arrangements each.
pub fn formats(count: usize, formats: usize, sources: usize) -> Request {
    let all: FormatSet = (0..formats / 2)
        .flat_map(|number| {
            let fourcc = Fourcc(0x7a7a_0000 + number as u32);
            [
                FormatModifier::linear(fourcc),
                FormatModifier::new(fourcc, Modifier(0x0100_0000_0000_0001)),
            ]
        })
        .collect();
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.formats = Some(all.clone());
            own.image.stride.alignment = 64;
        });
        one
    });
    let mut request = request(participants.collect(), sources);
    for source in &mut request.sources {
        source.constraints.formats = Some(all.clone());
    }
    request
}

/// Every second participant demands longer rows than the rest take.
pub fn strides_alternate(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::XRGB8888])));
        if number & 1 == 0 {
            one.for_each_choice(|own| own.image.stride.maximum = 3000 + number as u32);
        } else {
            one.for_each_choice(|own| own.image.stride.minimum = 9000 + number as u32);
        }
        one
    });
    request(participants.collect(), 4)
}

/// Every second participant takes pictures of another width alone.
pub fn widths_alternate(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.image.width = SideConstraints::exactly(640 + (number as u32 & 1))
        });
        one
    });
    request(participants.collect(), 4)
}

/// Every second participant takes protected memory alone, and the others none.
pub fn protection_alternates(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.memory.protection = [Protection::Required, Protection::Rejected][number & 1]
        });
        one
    });
    let mut request = request(participants.collect(), 4);
    request.sources[1].guarantees.protected = true;
    request
}

/// Each imports from its own device and its neighbour's, which each give memory.
pub fn imports_chain(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.memory.imports =
                Imports::only_from(device("gpu", number + 1), "it shares a bus with that alone")
        });
        one
    });
    let mut request = request(participants.collect(), 256);
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.device = Some(device("gpu", number));
    }
    request
}

/// Each refuses another source, so that only all together leave none.
pub fn conflict_of_many(count: usize) -> Request {
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        let others = || (0..count).filter(|other| *other != number);
        one.for_each_choice(|own| {
            own.memory.permitted = Some(others().map(|other| heap(other).id).collect())
        });
        one
    });
    request(participants.collect(), count)
}

/// Participants with eight alternatives each, of which none goes with anybody's.
pub fn split_with_combinations(count: usize) -> Request {
    let pairs = many_pairs(50, 10);
    let participants = (0..count).map(|number| {
        let mut one = participant(number);
        one.for_each_choice(|own| own.formats = Some(pairs.clone()));
        let exactly = |one: &mut Constraints, step: usize| {
            let stride = 4096 + 64 * (number * 9 + step) as u32;
            one.image.stride.minimum = stride;
            one.image.stride.maximum = stride;
        };
        one.for_each_choice(|own| exactly(own, 0));
        for step in 1..=8 {
            let mut other = one.constraints().clone();
            exactly(&mut other, step);
            one.push_alternative(other);
        }
        one
    });
    let mut request = request(participants.collect(), 64);
    for source in &mut request.sources {
        source.constraints.formats = Some(pairs.clone());
    }
    request
}

/// Buffers for many sizes.
pub fn extents(count: u32) -> Request {
    let mut request = sources_256(8, false);
    request.more_extents = (1..count)
        .map(|number| Extent::new(640 + number, 480 + number).unwrap())
        .collect();
    request
}

/// Many strides that are wished for or better avoided, none of which can be had.
pub fn wishes() -> Request {
    let mut request = sources_256(8, false);
    for (place, one) in request.participants.iter_mut().enumerate() {
        one.for_each_choice(|own| {
            let stride = &mut own.image.stride;
            stride.preferred = (0..10_000)
                .map(|number| 1 + 64 * (number * 8 + place as u32))
                .collect();
            stride.avoided_multiples = (0..10_000).map(|number| 7 + number).collect();
        });
    }
    request
}

/// Long lists of sources that are taken, none of which is there.
pub fn permitted_lists() -> Request {
    let mut request = alternating(64);
    let list: BTreeSet<_> = (0..20_000)
        .map(|number| SourceId::new(format!("elsewhere:{number}")))
        .collect();
    for one in &mut request.participants {
        one.for_each_choice(|own| own.memory.permitted = Some(list.clone()));
    }
    with_sources(request, 256)
}

/// Long lists of devices whose memory is imported.
pub fn imports_of_devices() -> Request {
    let mut request = alternating(64);
    let devices: BTreeSet<_> = (0..5000)
        .map(|number| device("elsewhere", number))
        .collect();
    for one in &mut request.participants {
        one.for_each_choice(|own| {
            own.memory.imports = Imports::OnlyFrom {
                devices: devices.clone(),
                sources: BTreeSet::new(),
                reason: "its driver was tried with these".to_owned(),
            }
        });
    }
    let mut request = with_sources(request, 256);
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.device = Some(device("card", number));
    }
    request
}

/// Half of all write and half read, so that each of one half hands over to each of the other.
pub fn writers_and_readers(count: usize) -> Request {
    let mut request = agreeing(count);
    for (place, one) in request.participants.iter_mut().enumerate() {
        one.role = [Role::Capture, Role::Import][place & 1];
    }
    request
}

/// Many who need memory of which no device keeps a copy, and sources of which nothing tells that.
pub fn coherent(count: usize) -> Request {
    let mut request = with_sources(agreeing(count), 256);
    for one in &mut request.participants {
        one.for_each_choice(|own| own.memory.coherency = Coherency::Untransferred);
    }
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.device = Some(device("gpu", number));
    }
    request
}

/// Names of a thousand letters.
pub fn long_names() -> Request {
    let mut request = with_sources(alternating(1000), 256);
    for one in &mut request.participants {
        one.name = format!("{}{}", "n".repeat(1000), one.name);
    }
    for source in &mut request.sources {
        source.name = format!("{}{}", "s".repeat(1000), source.name);
        source.guarantees.address.lowest = 1 << 40;
    }
    for one in &mut request.participants {
        one.for_each_choice(|own| own.memory.address = AddressWindow::of_bits(32));
    }
    request
}

/// The same with rows alone, which the solver lays out by itself: so no stride is left to the source.
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

/// The same with more sources like the first.
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

/// Each takes two of three formats: all conflict only by three.
pub fn formats_in_thirds(count: usize) -> Request {
    let three = [Fourcc::XRGB8888, Fourcc::NV12, Fourcc::YUV420];
    let mut request = alternating(count);
    for (number, one) in request.participants.iter_mut().enumerate() {
        let formats = [three[number % 3], three[(number + 1) % 3]];
        one.for_each_choice(|own| own.formats = Some(linear(&formats)));
    }
    request
}

/// Each holds buffers, all of them more than there can be, and by an alternative even more.
pub fn held(count: usize) -> Request {
    let mut request = agreeing(count);
    for (number, one) in request.participants.iter_mut().enumerate() {
        one.for_each_choice(|own| own.buffers_held = 1 + (number as u32 & 3));
        let mut other = one.constraints().clone();
        other.buffers_held = 4;
        one.push_alternative(other);
    }
    request
}

/// Many participants and sizes, the last of which nobody takes.
pub fn extents_of(count: usize, sizes: u32) -> Request {
    let mut request = sources_256(count, false);
    request.more_extents = (1..sizes)
        .map(|number| Extent::new(640 + number, 480 + number).unwrap())
        .collect();
    for (number, one) in request.participants.iter_mut().enumerate() {
        one.for_each_choice(|own| own.image.width.maximum = 640 + sizes - 2 + number as u32);
    }
    request
}

/// Strides in multiples of a prime each, with an alternative of twice that: only most of them together are too large.
pub fn primes(count: usize) -> Request {
    let primes = (2_u32..).filter(|number| (2..*number).all(|divisor| number % divisor != 0));
    let participants = (0..count).zip(primes).map(|(number, prime)| {
        let mut one = participant(number);
        one.for_each_choice(|own| {
            own.image.stride.alignment = prime;
            own.image.stride.maximum = 1 << 24;
        });
        let mut other = one.constraints().clone();
        other.image.stride.alignment = prime * 2;
        one.push_alternative(other);
        one
    });
    request(participants.collect(), 16)
}

/// Many strides that are wished for and avoided, other ones in each format.
pub fn wishes_by_format() -> Request {
    let mut request = in_rows(sources_256(8, false));
    for (place, one) in request.participants.iter_mut().enumerate() {
        let formats = one.constraints().formats.clone().unwrap();
        for (number, pair) in formats.iter().enumerate() {
            let mut constraints = ImageConstraints::default();
            let first = (place * 50 + number) as u32;
            constraints.stride.preferred = (0..200).map(|step| 3 + 64 * (first + step)).collect();
            constraints.stride.avoided_multiples = (0..200).map(|step| 5 + first + step).collect();
            one.for_each_choice(|own| {
                own.per_fourcc.insert(pair.fourcc, constraints.clone());
            });
        }
    }
    request
}

/// Demands of their own on every format, by every alternative, of participants that never agree on one of them.
pub fn per_format(count: usize) -> Request {
    let mut request = in_rows(sources_256(count, false));
    for (place, one) in request.participants.iter_mut().enumerate() {
        let formats = one.constraints().formats.clone().unwrap();
        for (number, pair) in formats.iter().enumerate() {
            let mut constraints = ImageConstraints::default();
            if number % count == place {
                constraints.stride.maximum = 1;
            } else {
                constraints.stride.minimum = 1 + (place + number) as u32;
            }
            one.for_each_choice(|own| {
                own.per_fourcc.insert(pair.fourcc, constraints.clone());
            });
        }
        one.push_alternative(one.constraints().clone());
    }
    request
}

/// Each imports from the half of all sources that have a bit of its number.
pub fn imports_named(count: usize) -> Request {
    let mut request = with_sources(agreeing(count), 256);
    for (place, one) in request.participants.iter_mut().enumerate() {
        let named = || (0..256).filter(|number| number >> (place % 8) & 1 == place >> 3 & 1);
        one.for_each_choice(|own| {
            own.memory.imports = Imports::OnlyFrom {
                devices: BTreeSet::new(),
                sources: named().map(|number| heap(number).id).collect(),
                reason: "its driver was tried with these".to_owned(),
            }
        });
    }
    request
}

/// Many participants with eight alternatives each, which differ in strides, and no two of whom agree.
pub fn alternatives_8(count: usize) -> Request {
    let mut request = strides_alternate(count);
    for one in &mut request.participants {
        for step in 0..8 {
            let mut other = one.constraints().clone();
            other.image.stride.alignment = 1 << step;
            other.buffers_held = step;
            one.push_alternative(other);
        }
    }
    request
}

/// Each has a source of its own, and imports nothing.
pub fn own_sources(count: usize) -> Request {
    let mut request = with_sources(agreeing(count), count);
    for one in &mut request.participants {
        one.for_each_choice(|own| {
            own.memory.imports = Imports::Nothing {
                reason: "it has no unit for that".to_owned(),
            }
        });
    }
    for (number, source) in request.sources.iter_mut().enumerate() {
        source.device = Some(device("gpu", number));
    }
    request
}

/// Long lists of sources that are taken, the same for each, none of which is there.
pub fn permitted_alike(count: usize) -> Request {
    let mut request = with_sources(agreeing(count), 1024);
    let list: BTreeSet<_> = (0..64)
        .map(|number| SourceId::new(format!("heap:{number:04}/elsewhere")))
        .collect();
    for one in &mut request.participants {
        one.for_each_choice(|own| own.memory.permitted = Some(list.clone()));
    }
    request
}
