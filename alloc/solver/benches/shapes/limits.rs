//! Requests that are large in several ways at once.

use covalent_solver::constraint::{AddressWindow, Contiguity, ImageConstraints, Role, SourceId};
use covalent_solver::model::{Extent, Fourcc};
use covalent_solver::solve::Request;

use super::formats::alternating;
use super::{linear, many_pairs, participant, request, with_sources};

/// Makes a request that is large in every way: eight further alternatives each, many pairs, constraints on single formats, many
/// sizes and sources.
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

/// Makes a request of a few participants and 256 sources, each with many formats.
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

/// Makes a request in which all participants accept the same formats, each with different constraints on strides.
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

/// Makes a request whose participants together hold more buffers than a plan may have. An alternative of each participant holds
/// even more.
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

/// Makes a request in which half of the participants write and half read. Each writer passes buffers to each reader.
pub fn writers_and_readers(count: usize) -> Request {
    let mut request = agreeing(count);
    for (place, one) in request.participants.iter_mut().enumerate() {
        one.role = [Role::Capture, Role::Import][place & 1];
    }
    request
}

/// Makes a request in which each name has more than a thousand letters.
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
