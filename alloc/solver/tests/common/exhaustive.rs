//! The answers to small requests by trying everything: every source, pair, alternative, stride, placement and division.

use covalent_solver::constraint::{ImageConstraints, PlanePlacement, Source};
use covalent_solver::model::{Extent, FormatInfo, FormatModifier, Layout, Modifier, PlaneLayout};
use covalent_solver::solve::Request;

use super::checker::{Party, judge_extent, judge_layout, picture_bytes};

/// No request that is generated needs a wider row.
const WIDEST: u32 = 1 << 13;

/// One source that serves all in one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub source: usize,
    pub format: FormatModifier,
    /// How many kinds of doubt there are at the least.
    pub doubts: usize,
    /// Which alternative of each member it is.
    pub combination: Vec<usize>,
}

/// Every candidate in which some participants can share.
pub fn candidates(request: &Request, members: &[usize], copies: bool) -> Vec<Candidate> {
    let mut found = Vec::new();
    for combination in combinations(request, members) {
        let party = Party {
            request,
            copies,
            members: members
                .iter()
                .zip(&combination)
                .map(|(place, choice)| {
                    let participant = &request.participants[*place];
                    (participant, participant.choices().nth(*choice).unwrap())
                })
                .collect(),
        };
        for (source, gives) in request.sources.iter().enumerate() {
            for format in universe(request) {
                if let Some(doubts) = best(&party, gives, format) {
                    found.push(Candidate {
                        source,
                        format,
                        doubts,
                        combination: combination.clone(),
                    });
                }
            }
        }
    }
    found
}

fn combinations(request: &Request, members: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for place in members {
        let choices = request.participants[*place].choices().count();
        all = all
            .into_iter()
            .flat_map(|begun: Vec<usize>| {
                (0..choices).map(move |choice| [begun.as_slice(), &[choice]].concat())
            })
            .collect();
    }
    all
}

/// Every pair that anybody mentions, and every known format in rows.
fn universe(request: &Request) -> Vec<FormatModifier> {
    let mut all: Vec<FormatModifier> = FormatInfo::all()
        .map(|info| FormatModifier::linear(info.fourcc))
        .collect();
    for source in &request.sources {
        all.extend(source.constraints.formats.iter().flat_map(|set| set.iter()));
    }
    all.sort();
    all.dedup();
    all
}

/// How many kinds of doubt the best layout leaves; none where there is no layout.
fn best(party: &Party<'_>, source: &Source, format: FormatModifier) -> Option<usize> {
    let doubts = party.judge_source(source, format).ok()?;
    let constraints = party.image_constraints(source, format);
    if format.modifier != Modifier::LINEAR {
        return arranged_by_source(party, source, format, &constraints).map(|more| doubts + more);
    }
    [false, true]
        .into_iter()
        .filter_map(|apart| {
            let sizes = smallest(party.request, format, &constraints, apart)?;
            let in_pieces = party.judge_sizes(source, &sizes).ok()?;
            Some(doubts + usize::from(in_pieces))
        })
        .min()
}

/// The least memories that hold every size of the request.
fn smallest(
    request: &Request,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
    apart: bool,
) -> Option<Vec<u64>> {
    let without_sizes: Vec<ImageConstraints> = constraints
        .iter()
        .map(|constraints| ImageConstraints {
            size_alignment_bytes: 1,
            minimum_size_bytes: 0,
            maximum_size_bytes: u64::MAX,
            ..(*constraints).clone()
        })
        .collect();
    let step = constraints
        .iter()
        .map(|constraints| constraints.stride.alignment.max(1))
        .max()?;
    let most = constraints
        .iter()
        .map(|constraints| constraints.stride.maximum)
        .min()?;
    let layouts: Vec<Layout> = request
        .extents()
        .map(|extent| {
            let free = Layout::linear(extent, format.fourcc, 1, 0).ok()?;
            for constraints in constraints {
                judge_extent(constraints, &free).ok()?;
            }
            // A wider row never takes less memory, so the first that fits is the smallest.
            (step..=WIDEST.min(most))
                .step_by(step as usize)
                .filter_map(|stride| in_rows(extent, format, constraints, stride, apart))
                .find(|layout| {
                    without_sizes
                        .iter()
                        .all(|constraints| judge_layout(constraints, layout).is_ok())
                })
        })
        .collect::<Option<_>>()?;
    let mut sizes = layouts[0].memory_sizes().to_vec();
    for layout in &layouts {
        for (size, own) in sizes.iter_mut().zip(layout.memory_sizes()) {
            *size = (*own).max(*size);
        }
    }
    for size in &mut sizes {
        *size = up(
            *size,
            constraints
                .iter()
                .map(|constraints| constraints.size_alignment_bytes),
        );
    }
    let least = constraints
        .iter()
        .map(|constraints| constraints.minimum_size_bytes)
        .max()?;
    let missing = least.saturating_sub(sizes.iter().sum());
    let last = sizes.last_mut()?;
    *last = up(
        *last + missing,
        constraints
            .iter()
            .map(|constraints| constraints.size_alignment_bytes),
    );
    layouts
        .iter()
        .map(|layout| layout.with_memory_sizes(sizes.clone()).unwrap())
        .all(|layout| {
            constraints
                .iter()
                .all(|constraints| judge_layout(constraints, &layout).is_ok())
        })
        .then_some(sizes)
}

/// The first number from `least` on that is a multiple of all.
fn up(least: u64, steps: impl Iterator<Item = u64> + Clone) -> u64 {
    let largest = steps.clone().max().unwrap_or(1).max(1);
    let mut number = least.div_ceil(largest) * largest;
    while !steps.clone().all(|step| step == 0 || number % step == 0) {
        number += largest;
    }
    number
}

/// Planes one after another as early as may be, for one stride of the first.
fn in_rows(
    extent: Extent,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
    stride: u32,
    apart: bool,
) -> Option<Layout> {
    let info = format.fourcc.info()?;
    let packed = !apart
        && constraints
            .iter()
            .any(|constraints| constraints.packed_planes);
    let before = constraints
        .iter()
        .map(|constraints| constraints.padding_before_bytes)
        .max()?;
    let padding = constraints
        .iter()
        .map(|constraints| constraints.padding_bytes)
        .max()?;
    let (mut planes, mut sizes) = (Vec::new(), Vec::new());
    let mut end = before;
    // Every row has room for as many columns of the picture as the first plane's.
    let first = info.planes[0];
    for (number, plane) in info.planes.iter().enumerate() {
        let own = u64::from(stride) * u64::from(plane.block_bytes) * u64::from(first.hsub);
        let share = u64::from(first.block_bytes) * u64::from(plane.hsub);
        if own % share != 0 {
            return None;
        }
        let stride_bytes = u32::try_from(own / share).ok()?;
        // Pixels are addressed in their own units, where these are powers of two.
        if plane.block_bytes.is_power_of_two() && stride_bytes % plane.block_bytes != 0 {
            return None;
        }
        let rows = u64::from(plane.rows(extent.height()));
        let multiple = constraints
            .iter()
            .map(|constraints| u64::from(constraints.rows_multiple_of));
        let size_bytes = up(
            u64::from(stride_bytes) * up(rows, multiple),
            constraints
                .iter()
                .map(|constraints| constraints.plane_size_alignment_bytes),
        );
        let begin = if apart { before } else { end };
        let offset_bytes = if packed && number > 0 {
            let before: &PlaneLayout = &planes[number - 1];
            let rows = info.planes[number - 1].rows(extent.height());
            before.offset_bytes + u64::from(before.stride_bytes) * u64::from(rows)
        } else {
            up(
                begin,
                constraints
                    .iter()
                    .map(|constraints| constraints.offset_alignment_bytes),
            )
        };
        end = offset_bytes + size_bytes;
        planes.push(PlaneLayout {
            memory: sizes.len(),
            offset_bytes,
            stride_bytes,
            size_bytes,
        });
        if number + 1 == info.planes.len() {
            sizes.push(end + padding);
        } else if apart {
            sizes.push(end);
        }
    }
    Layout::new(extent, format, planes, sizes).ok()
}

/// A source that arranges pixels by itself takes at least as much memory as rows without any demands.
fn arranged_by_source(
    party: &Party<'_>,
    source: &Source,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
) -> Option<usize> {
    let free = ImageConstraints::default();
    let linear = FormatModifier::linear(format.fourcc);
    let planes = linear.fourcc.info()?.planes.len();
    let sizes = smallest(party.request, linear, &[&free], false)?;
    for extent in party.request.extents() {
        let layout = Layout::linear(extent, format.fourcc, 1, 0).ok()?;
        for constraints in constraints {
            judge_extent(constraints, &layout).ok()?;
            if constraints.maximum_planes < planes as u32
                || constraints.maximum_size_bytes < sizes.iter().sum()
            {
                return None;
            }
        }
    }
    let placements = |placement| {
        constraints
            .iter()
            .any(|constraints| constraints.placement == placement)
    };
    if planes > 1 && placements(PlanePlacement::Together) && placements(PlanePlacement::Disjoint) {
        return None;
    }
    let in_pieces = party.judge_sizes(source, &sizes).ok()?;
    // Whoever has any demand or wish on the arrangement, beyond the sides, may not find it met.
    let demanding = party.members.iter().any(|(_, constraints)| {
        let own = constraints.per_fourcc.get(&format.fourcc);
        std::iter::once(&constraints.image)
            .chain(own)
            .any(|constraints| {
                constraints.stride.minimum > 0
                    || constraints.stride.maximum != u32::MAX
                    || constraints.stride.alignment > 1
                    || constraints.stride.packed
                    || constraints.offset_alignment_bytes > 1
                    || constraints.plane_size_alignment_bytes > 1
                    || constraints.rows_multiple_of > 1
                    || constraints.size_alignment_bytes > 1
                    || constraints.minimum_size_bytes > 0
                    || constraints.maximum_size_bytes != u64::MAX
                    || constraints.padding_before_bytes > 0
                    || constraints.padding_bytes > 0
                    || constraints.packed_planes
                    || constraints.placement != PlanePlacement::Either
                    || constraints.maximum_planes != u32::MAX
            })
    });
    let untold = format.modifier.is_implicit()
        && party
            .members
            .iter()
            .any(|(participant, _)| !source.is_of(&participant.device));
    Some(
        [in_pieces, demanding, untold]
            .into_iter()
            .filter(|doubt| *doubt)
            .count(),
    )
}

/// The least that a division copies: how many pictures lose their colours, and how many bytes a frame.
pub fn fewest_copies(request: &Request) -> (usize, u64) {
    let served = |place: &usize| !candidates(request, &[*place], true).is_empty();
    let places: Vec<usize> = (0..request.participants.len()).filter(served).collect();
    let maker = request
        .participants
        .iter()
        .position(|participant| participant.role.writes())
        .unwrap_or_default();
    if !places.contains(&maker) {
        return (0, 0);
    }
    divisions(&places)
        .into_iter()
        .filter_map(|groups| {
            let mut sum = (0, 0);
            for group in groups {
                let copied = !group.contains(&maker);
                let costs = candidates(request, &group, true)
                    .into_iter()
                    .map(|candidate| {
                        if !copied {
                            return (0, 0);
                        }
                        let info = candidate.format.fourcc.info().unwrap();
                        let bytes = request
                            .extents()
                            .map(|extent| {
                                let layout = Layout::linear(extent, info.fourcc, 1, 0).unwrap();
                                picture_bytes(info, &layout)
                            })
                            .max();
                        (usize::from(info.name == "R8"), bytes.unwrap())
                    });
                let cost = costs.min()?;
                sum = (sum.0 + cost.0, sum.1 + cost.1);
            }
            Some(sum)
        })
        .min()
        .unwrap()
}

/// Every division of places into groups.
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
