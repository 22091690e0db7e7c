//! Requests whose participants differ in formats and modifiers.

use covalent_solver::constraint::{FormatSet, ImageConstraints};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;

use super::limits::sources_256;
use super::{heap, in_rows, linear, many_pairs, participant, request};

/// Makes a request in which participants with even numbers accept one format, and participants with odd numbers another one.
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

/// Makes a request in which each participant accepts the same two formats as alternatives. Participants with odd numbers prefer
/// the second format.
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

/// Makes a request in which each participant accepts a different format.
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

/// Makes a request of a few participants with many pairs of format and modifier each. Half of a participant's pairs are unique to
/// it. With `conflicts`, all of them are.
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

/// Makes a request with as many formats as a set may have, and two modifiers for each.
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

/// Makes a request in which each participant accepts two of three formats, so that any two participants agree but three may not.
pub fn formats_in_thirds(count: usize) -> Request {
    let three = [Fourcc::XRGB8888, Fourcc::NV12, Fourcc::YUV420];
    let mut request = alternating(count);
    for (number, one) in request.participants.iter_mut().enumerate() {
        let formats = [three[number % 3], three[(number + 1) % 3]];
        one.for_each_choice(|own| own.formats = Some(linear(&formats)));
    }
    request
}

/// Makes a request with constraints on every single format in every alternative. The participants agree on none of the formats.
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
