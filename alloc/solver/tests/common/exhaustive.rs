//! A reference solver for small requests, by exhaustive search. The search tries every source, every pair of format and modifier,
//! and every combination of the participants' alternatives. For linear layouts it also tries every stride and placement of
//! planes, and for splits every division of the participants into groups.

pub mod division;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use covalent_solver::constraint::{
    Constraints, CpuUse, ImageConstraints, Interface, Participant, PlanePlacement, Role, Source,
};
use covalent_solver::model::{FormatInfo, FormatModifier, Modifier};
use covalent_solver::solve::Request;

use super::checker::ChosenMembers;
use rows::smallest;

/// A source and a pair of format and modifier that serve all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub source: usize,
    pub format: FormatModifier,
    /// The number of kinds of caveats, which is the lowest of all layouts.
    pub caveats: usize,
    /// The index of each member's alternative.
    pub combination: Vec<usize>,
    /// The number of members that copy each frame for themselves.
    pub internal_copies: u64,
}

/// Returns all candidates that serve some of the participants.
pub fn candidates(request: &Request, members: &[usize], copies: bool) -> Vec<Candidate> {
    let mut found = Vec::new();
    for combination in combinations(request, members) {
        let chosen = ChosenMembers {
            request,
            copies,
            taken: BTreeMap::new(),
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
                if let Some(caveats) = best(&chosen, gives, format) {
                    found.push(Candidate {
                        source,
                        format,
                        caveats,
                        combination: combination.clone(),
                        internal_copies: chosen.internal_copies(&[format]),
                    });
                }
            }
        }
    }
    found
}

/// Returns the pairs in which each source may be proposed, whichever demands are given up. A source may be proposed in all of its
/// pairs, unless it would serve all participants if it had more memory. Such a source is proposed only in pairs that all
/// participants accept.
pub fn proposed(request: &Request) -> Vec<Option<BTreeSet<FormatModifier>>> {
    let members: Vec<usize> = (0..request.participants.len()).collect();
    let lacks = |source: &Source| {
        let mut ample = request.clone();
        let mut source = source.clone();
        source.guarantees.maximum_bytes = None;
        source.guarantees.available_bytes = None;
        source.guarantees.pools.clear();
        ample.sources = vec![source];
        ample.pools.clear();
        !candidates(&ample, &members, false).is_empty()
    };
    let accepts = |participant: &Participant, format: FormatModifier| {
        participant.choices().any(|choice| {
            let formats = choice.formats.as_ref();
            formats.is_none_or(|formats| formats.contains(format))
        })
    };
    let common = |format: &FormatModifier| {
        let mut all = request.participants.iter();
        all.all(|participant| accepts(participant, *format))
    };
    request
        .sources
        .iter()
        .map(|source| lacks(source).then(|| universe(request).into_iter().filter(common).collect()))
        .collect()
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

/// Returns all pairs that occur in the request, and all known formats with the modifier `LINEAR`.
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

/// Returns the minimum number of kinds of caveats of all layouts; `None` if there is no layout.
fn best(chosen: &ChosenMembers<'_>, source: &Source, format: FormatModifier) -> Option<usize> {
    let caveats = chosen.check_source(source, format).ok()?;
    let constraints = chosen.image_constraints(source, format);
    let is_read = |constraints: &Constraints| constraints.memory.cpu != CpuUse::None;
    let is_tiled = format.modifier != Modifier::LINEAR && !format.modifier.is_implicit();
    if is_tiled && chosen.members.iter().any(|(_, own)| is_read(own)) {
        return None;
    }
    if format.modifier != Modifier::LINEAR {
        return driver_layout(chosen, source, format, &constraints).map(|more| caveats + more);
    }
    [false, true]
        .into_iter()
        .filter_map(|disjoint| {
            let sizes = smallest(chosen, format, &constraints, disjoint)?;
            Some(caveats + chosen.check_sizes(source, &sizes).ok()?)
        })
        .min()
}

/// Checks a layout that a driver chooses. It takes at least as much memory as linear rows without constraints.
fn driver_layout(
    chosen: &ChosenMembers<'_>,
    source: &Source,
    format: FormatModifier,
    constraints: &[&ImageConstraints],
) -> Option<usize> {
    let free = ImageConstraints::default();
    let linear = FormatModifier::linear(format.fourcc);
    let planes = linear.fourcc.info()?.planes.len();
    // Only the demands on extents are checked, because the driver chooses strides and the number of rows.
    let extents: Vec<ImageConstraints> = constraints
        .iter()
        .map(|own| ImageConstraints {
            width: own.width.clone(),
            height: own.height.clone(),
            coded: own.coded.clone(),
            ..free.clone()
        })
        .collect();
    let extents: Vec<&ImageConstraints> = extents.iter().collect();
    let sizes = smallest(chosen, linear, &extents, false)?;
    for constraints in constraints {
        if constraints.maximum_planes < planes as u32
            || constraints.maximum_size_bytes < sizes.iter().sum()
        {
            return None;
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
    let of_memory = chosen.check_sizes(source, &sizes).ok()?;
    // Constraints and preferences on the layout are a caveat, except for constraints on the image's size. A device's own driver
    // meets its constraints. Tiles have neither rows nor strides to which a constraint could apply.
    let is_own = |participant: &Participant| source.is_of(&participant.device);
    let tiled = |constraints: &ImageConstraints| {
        let gives = &source.constraints.image;
        (constraints.placement != PlanePlacement::Either
            && constraints.placement != gives.placement)
            || constraints.size_alignment_bytes > 1
            || constraints.minimum_size_bytes > gives.minimum_size_bytes
            || constraints.maximum_size_bytes != u64::MAX
            || constraints.padding_bytes > 0
            || constraints.padding_bytes_per_macroblock > 0
    };
    let demanding = chosen.members.iter().any(|(participant, constraints)| {
        let own = constraints.per_fourcc.get(&format.fourcc);
        let is_own = is_own(participant);
        std::iter::once(&constraints.image)
            .chain(own)
            .any(|constraints| {
                // With the explicit modifiers of these requests, an image has as many memory planes as its format. With an
                // implicit modifier, the number of memory planes is not known.
                if format.modifier.is_implicit()
                    && constraints.maximum_planes < source.constraints.image.maximum_planes
                {
                    return true;
                }
                if is_own {
                    return false;
                }
                if !format.modifier.is_implicit() {
                    return tiled(constraints);
                }
                constraints.stride.minimum > 0
                    || constraints.stride.first_plane_alignment > 1
                    || constraints.stride.maximum != u32::MAX
                    || constraints.stride.alignment > 1
                    || constraints.stride.packed
                    || !constraints.stride.rounded_up_to.is_empty()
                    || constraints.offset_alignment_bytes > 1
                    || constraints.plane_size_alignment_bytes > 1
                    || constraints.rows_multiple_of > 1
                    || constraints.padding_rows > 0
                    || constraints.size_alignment_bytes > 1
                    || constraints.minimum_size_bytes > 0
                    || constraints.maximum_size_bytes != u64::MAX
                    || constraints.padding_before_bytes > 0
                    || constraints.padding_bytes > 0
                    || constraints.padding_bytes_per_macroblock > 0
                    || constraints.packed_planes
                    || constraints.placement != PlanePlacement::Either
            })
    });
    if format.modifier.is_implicit()
        && chosen.members.iter().any(|(participant, _)| {
            let is_device = !matches!(
                participant.role,
                Role::Compositor | Role::CpuRead | Role::CpuWrite
            );
            is_device && !is_own(participant)
        })
    {
        return None;
    }
    let implicit = format.modifier.is_implicit()
        && chosen.members.iter().any(|(participant, _)| {
            !is_own(participant)
                || participant.interface == Some(Interface::Vulkan)
                || matches!(participant.role, Role::Capture | Role::Output)
        });
    Some(of_memory + usize::from(demanding) + usize::from(implicit))
}
