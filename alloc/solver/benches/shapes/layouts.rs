//! Requests whose participants differ in strides and image sizes.

use covalent_solver::constraint::{Constraints, ImageConstraints, SideConstraints};
use covalent_solver::model::{Extent, Fourcc};
use covalent_solver::solve::Request;

use super::limits::sources_256;
use super::{in_rows, linear, many_pairs, participant, request};

/// Makes a request in which every second participant demands a stride above the maximum stride of the others.
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

/// Makes a request in which participants with even numbers accept one image width, and participants with odd numbers another one.
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

/// Makes a request of participants with eight further alternatives each. No two participants agree on a stride in any
/// alternative.
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

/// Makes a request for many sizes of pictures.
pub fn extents(count: u32) -> Request {
    let mut request = sources_256(8, false);
    request.more_extents = (1..count)
        .map(|number| Extent::new(640 + number, 480 + number).unwrap())
        .collect();
    request
}

/// Makes a request of many participants and many sizes. The first participant does not accept the last size.
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

/// Makes a request with many preferred strides and many avoided multiples, none of which satisfies the constraints.
pub fn preferred_strides() -> Request {
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

/// Makes a request with many preferred strides and many avoided multiples, which differ for each format.
pub fn stride_preferences_by_format() -> Request {
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

/// Makes a request with stride alignments to different primes. An alternative of each participant has twice the alignment. Only
/// the least common multiple of most of the primes exceeds the maximum stride.
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

/// Makes a request of many participants with eight further alternatives each, which differ in strides. Every second participant
/// demands a stride that the others do not accept.
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
