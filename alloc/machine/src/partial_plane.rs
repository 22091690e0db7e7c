//! The KMS planes that were not chosen for a job without a plan, and the formats of the job's frames that they accept.

use std::fmt;

use serde::Serialize;

use covalent_solver::constraint::{FormatSet, ImageConstraints, Participant, SideConstraints};
use covalent_solver::model::FormatModifier;
use covalent_solver::solve::{Request, Solution, solve};
use covalent_solver::text::printable;

/// The maximum number of planes that are described for a job.
const MAXIMUM_PLANES: usize = 16;

/// The maximum number of formats that are listed for a plane.
const MAXIMUM_FORMATS: usize = 8;

/// The maximum number of formats of a plane that its text names. Further formats are only counted.
const FORMATS_NAMED: usize = 4;

/// A KMS plane that was not chosen for a display, although it accepts the job's frames in some format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartialPlane {
    /// The name of the plane.
    pub plane: String,
    /// The name of the participant whose frames the plane accepts.
    pub from: String,
    /// The formats that the plane and that participant have in common, at most eight.
    pub takes: Vec<FormatModifier>,
    /// The limits that prevent the plane from showing the frames, each as a clause that follows `but`. The list is empty if the
    /// plane and that participant could share a buffer without the other participants.
    pub lacks: Vec<String>,
}

impl fmt::Display for PartialPlane {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self
            .takes
            .iter()
            .take(FORMATS_NAMED)
            .map(|pair| format!("{} in {:#}", pair.fourcc, pair.modifier))
            .collect();
        let more = if self.takes.len() > named.len() {
            " and others"
        } else {
            ""
        };
        let (plane, from) = (printable(&self.plane), printable(&self.from));
        write!(out, "{plane} takes {}{more} from {from}", named.join(", "))?;
        if self.lacks.is_empty() {
            return write!(
                out,
                ", and the two could share a buffer without the other participants"
            );
        }
        let lacks: Vec<_> = self.lacks.iter().map(|lack| printable(lack)).collect();
        write!(out, " but {}", lacks.join(", and "))
    }
}

/// Describes each plane that was not chosen and accepts frames of the job in some format.
///
/// `counts` has the number of planes of each display, and `chosen` the index of the chosen plane of each display. `first` is the
/// index of the first display among the participants of a request; the other displays follow it. `with` makes the request with
/// other planes, and returns `None` if that is not possible.
pub fn partial_planes(
    counts: &[usize],
    chosen: &[usize],
    first: usize,
    mut with: impl FnMut(&[usize]) -> Option<Request>,
) -> Vec<PartialPlane> {
    let mut found: Vec<PartialPlane> = Vec::new();
    for (display, count) in counts.iter().enumerate() {
        for plane in 0..*count {
            if chosen.get(display) == Some(&plane) || found.len() >= MAXIMUM_PLANES {
                continue;
            }
            let mut other = chosen.to_vec();
            if let Some(place) = other.get_mut(display) {
                *place = plane;
            }
            let described =
                with(&other).and_then(|request| describe(&request, first.saturating_add(display)));
            // Several displays may have the same planes, so a description may be in the list already.
            found.extend(described.filter(|own| !found.contains(own)));
        }
    }
    found
}

/// Describes the plane at this index among the participants of a request; `None` if it has no format in common with the producer.
fn describe(request: &Request, place: usize) -> Option<PartialPlane> {
    let plane = request.participants.get(place)?;
    let others = || {
        let all = request.participants.iter().enumerate();
        all.filter(|(number, _)| *number != place)
            .map(|(_, own)| own)
    };
    let producer = others().find(|own| own.role.writes()).or(others().next())?;
    let takes = common(plane, producer);
    if takes.is_empty() {
        return None;
    }
    let mut lacks = sizes(request, plane, &takes);
    if lacks.is_empty() {
        let mut alone = request.clone();
        alone.participants = vec![producer.clone(), plane.clone()];
        if let Solution::Split(split) = solve(&alone) {
            let own = split.conflict().iter();
            let own = own.filter(|demand| demand.owner == plane.name);
            lacks.extend(own.map(|demand| format!("it {}", demand.words)));
            if lacks.is_empty() {
                lacks.push(format!("no source serves it and {}", producer.name));
            }
        }
    }
    Some(PartialPlane {
        plane: plane.name.clone(),
        from: producer.name.clone(),
        takes,
        lacks,
    })
}

/// Returns the first pairs of format and modifier that the plane and the producer have in common, in any of their alternatives. A
/// participant without a list of formats has every pair of the other participant.
fn common(plane: &Participant, producer: &Participant) -> Vec<FormatModifier> {
    let pairs = |own: &Participant| -> Option<FormatSet> {
        let lists: Option<Vec<&FormatSet>> = own
            .choices()
            .map(|choice| choice.formats.as_ref())
            .collect();
        Some(lists?.into_iter().flat_map(FormatSet::iter).collect())
    };
    let both = match (pairs(plane), pairs(producer)) {
        (Some(one), Some(two)) => one.intersection(&two),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return Vec::new(),
    };
    both.iter().take(MAXIMUM_FORMATS).collect()
}

/// Describes the sizes of the request that the plane cannot show with any alternative in any of the formats.
fn sizes(request: &Request, plane: &Participant, takes: &[FormatModifier]) -> Vec<String> {
    let mut lacks = Vec::new();
    for extent in request.extents() {
        type Side = fn(&ImageConstraints) -> &SideConstraints;
        let sides: [(&str, u32, Side); 2] = [
            ("width", extent.width(), |image| &image.width),
            ("height", extent.height(), |image| &image.height),
        ];
        for (what, pixels, side) in sides {
            let of_formats = plane.choices().flat_map(|choice| {
                takes.iter().map(move |pair| {
                    let by_format = choice.per_fourcc.get(&pair.fourcc);
                    let images = std::iter::once(&choice.image).chain(by_format);
                    images.filter_map(|image| limit(side(image), pixels)).next()
                })
            });
            // If every alternative and format has a limit that rules the size out, the first of these limits is reported.
            let limits: Option<Vec<String>> = of_formats.collect();
            if let Some(limit) = limits.and_then(|limits| limits.into_iter().next()) {
                let lack = format!("not {pixels} pixels of {what} ({limit})");
                if !lacks.contains(&lack) {
                    lacks.push(lack);
                }
            }
        }
    }
    lacks
}

/// Describes the limit of a width or height that a number of pixels does not meet; `None` if the number meets all limits.
fn limit(side: &SideConstraints, pixels: u32) -> Option<String> {
    if pixels > side.maximum {
        Some(format!("at most {}", side.maximum))
    } else if pixels < side.minimum {
        Some(format!("at least {}", side.minimum))
    } else if pixels
        .checked_rem(side.multiple_of)
        .is_some_and(|rest| rest != 0)
    {
        Some(format!("in multiples of {}", side.multiple_of))
    } else {
        None
    }
}
