//! The demands that cannot stand together.

use super::candidate;
use super::request::Request;
use crate::constraint::{Demand, Field};

/// Conflicts of up to this many demands are found by trying all; larger ones are irreducible, but a smaller may exist.
const SMALLEST_UP_TO: usize = 2;

/// Returns an irreducible set of demands that no source meets together: without any one of them, one does.
///
/// Empty where no source serves even those who demand nothing.
pub(super) fn conflict(request: &Request) -> Vec<Demand> {
    let demands: Vec<Demand> = {
        let mut all: Vec<_> = request
            .participants
            .iter()
            .flat_map(crate::constraint::Participant::demands)
            .collect();
        all.sort();
        all
    };
    let all: Vec<usize> = (0..demands.len()).collect();
    if !stands(request, &demands, &[]) {
        return Vec::new();
    }
    for size in 1..=SMALLEST_UP_TO {
        for subset in subsets(&all, size) {
            if !stands(request, &demands, &subset) {
                return pick(&demands, &subset);
            }
        }
    }
    // Take away what is not needed for the conflict; what cannot be taken away is irreducible.
    let mut kept = all.clone();
    for demand in all {
        let without: Vec<usize> = kept
            .iter()
            .copied()
            .filter(|other| *other != demand)
            .collect();
        if !stands(request, &demands, &without) {
            kept = without;
        }
    }
    pick(&demands, &kept)
}

fn pick(demands: &[Demand], places: &[usize]) -> Vec<Demand> {
    places
        .iter()
        .filter_map(|place| demands.get(*place).cloned())
        .collect()
}

/// Returns whether some source meets these demands alone.
fn stands(request: &Request, demands: &[Demand], kept: &[usize]) -> bool {
    let mut request = request.clone();
    for participant in &mut request.participants {
        for field in Field::ALL {
            let keeps = kept
                .iter()
                .filter_map(|place| demands.get(*place))
                .any(|demand| demand.field == field && demand.owner == participant.name);
            if !keeps {
                participant.constraints.relax(field);
            }
        }
    }
    candidate::best(&request).is_ok()
}

fn subsets(all: &[usize], size: usize) -> Vec<Vec<usize>> {
    let Some(rest) = size.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let mut found = Vec::new();
    for (place, first) in all.iter().enumerate() {
        let behind = all.get(place.saturating_add(1)..).unwrap_or_default();
        for mut subset in subsets(behind, rest) {
            subset.insert(0, *first);
            found.push(subset);
        }
    }
    found
}
