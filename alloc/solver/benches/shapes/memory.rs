//! Requests whose participants differ in the memory that they accept.

use std::collections::BTreeSet;

use covalent_solver::constraint::{Coherency, Imports, Protection, SourceId};
use covalent_solver::solve::Request;

use super::formats::alternating;
use super::limits::{agreeing, sources_256};
use super::{device, heap, participant, request, with_sources};

/// Makes a request in which every second participant requires protected memory, and the others reject it.
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

/// Makes a request in which each participant imports from its own device and the next one. Each device is a source.
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

/// Makes a request in which each participant has a long list of devices whose memory it imports. No source belongs to one of
/// them.
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

/// Makes a request in which each participant imports from half of the 256 sources: those with a certain bit set or clear in their
/// number.
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

/// Makes a request in which each participant imports nothing and has a source on its own device.
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

/// Makes a request with long lists of permitted sources, none of which exists.
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

/// Makes a request with long lists of permitted sources that are equal for all participants. None of these sources exists.
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

/// Makes a request in which each participant rejects a different source. Only all participants together reject every source.
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

/// Makes a request of many participants that need memory without a shadow copy. Whether the sources have a shadow copy is not
/// known.
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

/// Makes a request of a few participants. Each imports by name from all sources except an eighth of them, a different eighth for
/// each participant.
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
