//! Divides participants into groups in all possible ways.

use covalent_solver::constraint::Role;
use covalent_solver::model::Layout;
use covalent_solver::solve::Request;

use super::{candidates, proposed};
use crate::common::checker::unpadded_bytes;
use crate::common::colours::{Loss, loss};

/// Returns the lowest cost of copying of all divisions: the loss, the bytes of a frame, and the number of displays that do not
/// show the producer's buffers; `None` if frames cannot be copied from the producer.
pub fn fewest_copies(request: &Request) -> Option<(Loss, u64, usize)> {
    let proposed = proposed(request);
    let candidates = |members: &[usize]| {
        let mut all = candidates(request, members, true);
        all.retain(|candidate| {
            let pairs = proposed[candidate.source].as_ref();
            pairs.is_none_or(|pairs| pairs.contains(&candidate.format))
        });
        all
    };
    let displays = |group: &[usize]| {
        let roles = group.iter().map(|place| request.participants[*place].role);
        roles.filter(|role| *role == Role::Display).count()
    };
    let served = |place: &usize| !candidates(&[*place]).is_empty();
    let places: Vec<usize> = (0..request.participants.len()).filter(served).collect();
    let maker = request
        .participants
        .iter()
        .position(|participant| participant.role.writes())
        .unwrap_or_default();
    if !places.contains(&maker) {
        return None;
    }
    divisions(&places)
        .into_iter()
        .filter_map(|groups| {
            let mut sum = ((0, 0, 0), 0, 0);
            for group in groups {
                let copied = !group.contains(&maker);
                let costs = candidates(&group).into_iter().map(|candidate| {
                    let info = candidate.format.fourcc.info().unwrap();
                    let bytes = request
                        .extents()
                        .map(|extent| {
                            let layout = Layout::linear(extent, info.fourcc, 1, 0).unwrap();
                            unpadded_bytes(info, &layout)
                        })
                        .max();
                    let bytes = bytes.unwrap();
                    let inside = bytes * candidate.internal_copies;
                    if copied {
                        (loss(request, info.name), bytes + inside)
                    } else {
                        ((0, 0, 0), inside)
                    }
                });
                let cost = costs.min()?;
                let (one, two): (Loss, Loss) = (sum.0, cost.0);
                sum = (
                    (one.0 + two.0, one.1 + two.1, one.2 + two.2),
                    sum.1 + cost.1,
                    sum.2 + if copied { displays(&group) } else { 0 },
                );
            }
            Some(sum)
        })
        .min()
}

/// Returns all divisions of the indices into groups.
fn divisions(places: &[usize]) -> Vec<Vec<Vec<usize>>> {
    let Some((first, rest)) = places.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for division in divisions(rest) {
        for number in 0..division.len() {
            let mut with = division.clone();
            with[number].push(*first);
            all.push(with);
        }
        let mut alone = division;
        alone.push(vec![*first]);
        all.push(alone);
    }
    all
}
