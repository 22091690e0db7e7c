//! The reasons why sources and layouts are rejected, as clauses that follow the name of the source.

use super::bounded_text::{self, NAMES_SHOWN, SENTENCE_BYTES, joined_up_to};
use super::caveat::ParticipantIndices;
use super::layout;
use super::layout_choice::LayoutChoice;
use super::names::Names;
use super::pools::PoolNeed;
use super::problem::Problem;
use super::request::Request;
use super::stride;
use crate::constraint::{
    AddressWindow, CommonMultiple, DeviceGroup, Field, MemoryScope, MergedCoded, MergedImage,
    MergedSide, Owners, Participant, PlanePlacement, Source,
};
use crate::model::{Extent, FormatModifier, Rect};

/// The reason why a source is rejected for every format.
#[derive(Clone, Debug)]
pub(super) enum SourceRejection {
    /// The request has an extra field that is not optional.
    Request,
    /// The source has an extra field that is not optional, or its identifier is ambiguous.
    Source,
    /// The CPU has to copy frames, and cannot map the source's memory.
    Copies,
    /// A participant's demand rejects the source.
    Demand(usize, Field),
    /// This participant's device cannot use the source's memory.
    Scope(usize),
    /// No address of the source is reached by all of these participants.
    Address(AddressWindow, ParticipantIndices),
    /// The participants have no format in common.
    NoFormat,
    /// The source allocates only linear rows, and no linear layout is known for the formats that the participants have in common.
    NoRows,
    /// The source has none of the formats that the participants have in common.
    OtherFormats,
}

/// The reason why a source's layout of one format is rejected.
#[derive(Clone, Debug)]
pub(super) enum LayoutRejection {
    /// The CPU accesses pixels, and can only access linear rows.
    Rows,
    /// The modifier is implicit, and these participants are on other devices than the source. Their drivers do not know the
    /// layout.
    Implicit(ParticipantIndices),
    /// No layout satisfies the merged constraints on this field.
    Constraints(Field),
    /// A participant cannot crop the picture out of the coded extent.
    Crop {
        owner: usize,
        /// The coded extent, and the visible rectangle in it.
        coded_and_visible: Box<(Extent, Rect)>,
    },
    /// More buffers are needed than a plan may have.
    Count { needed: u32 },
    /// A dma-buf is larger than the source's largest allocation.
    Maximum { needed: u64, maximum: u64 },
    /// The total size of all buffers overflows 64 bits. No source has that much memory.
    Uncountable,
    /// All buffers together need more memory than the source has free.
    Available {
        needed: u64,
        available: u64,
        count: u32,
    },
    /// All buffers together need more memory than a pool of the source has.
    Pool(Box<PoolNeed>),
}

/// Describes the groups of a participant's device, for a source whose memory serves only other groups.
fn outside_groups(participant: &Participant) -> String {
    let groups = participant.groups.iter().map(DeviceGroup::as_str);
    match participant.groups.len() {
        0 => ", which is in no group".to_owned(),
        _ => bounded_text::cut_to(
            format!(
                ", which is in {}",
                joined_up_to(groups, NAMES_SHOWN, " and ")
            ),
            SENTENCE_BYTES,
        ),
    }
}

impl SourceRejection {
    /// Describes the rejection as a clause that follows the name of the source.
    pub(super) fn describe<'a>(&self, problem: &Problem<'a>, source: &'a Source) -> String {
        let words = self.describe_unbounded(problem, source);
        problem.work.charge(words.len() >> 3);
        bounded_text::cut_to(words, SENTENCE_BYTES)
    }

    fn describe_unbounded<'a>(&self, problem: &Problem<'a>, source: &'a Source) -> String {
        let names = |extra_fields: Vec<String>| {
            problem.work.charge(extra_fields.len().saturating_mul(32));
            joined_up_to(extra_fields.iter().map(String::as_str), NAMES_SHOWN, ", ")
        };
        match self {
            Self::Request => format!(
                "cannot be evaluated: the request requires {}, which this version of the solver does not know",
                names(problem.request.extra_fields.required())
            ),
            Self::Source => {
                let own = source.extra_fields.required().into_iter();
                let number = problem.sources.iter().position(|own| own.id == source.id);
                let pools = number.map(|number| problem.pools.extra_field_names(number));
                let all: Vec<_> = own
                    .chain(source.constraints.extra_field_names())
                    .chain(pools.into_iter().flatten())
                    .collect();
                if all.is_empty() {
                    return "is ambiguous: another source has the same identifier".to_owned();
                }
                format!(
                    "cannot be evaluated: it requires {}, which this version of the solver does not know",
                    names(all)
                )
            }
            Self::Copies => "cannot be mapped by the CPU, which has to copy the pixels".to_owned(),
            Self::Demand(participant, field) => {
                let why = problem.demand(*participant, *field);
                match field {
                    Field::Unknown => format!("cannot be evaluated: {why}"),
                    Field::Cpu => format!("cannot be mapped by the CPU: {why}"),
                    Field::Coherency if source.guarantees.has_shadow_copy == Some(true) => {
                        format!("has a shadow copy on its device, which no driver updates: {why}")
                    }
                    Field::Coherency => format!("needs cache maintenance: {why}"),
                    Field::Protection if source.guarantees.protected => {
                        format!("allocates protected memory: {why}")
                    }
                    Field::Protection => format!("allocates memory that is not protected: {why}"),
                    Field::Exports => format!("cannot export its memory: {why}"),
                    _ => format!("does not meet a constraint: {why}"),
                }
            }
            Self::Scope(participant) => {
                let participant = problem.participant(*participant).participant;
                let scope = &source.guarantees.scope;
                let groups = match scope {
                    MemoryScope::Groups(_) => outside_groups(participant),
                    _ => String::new(),
                };
                format!(
                    "allocates memory only for {}, and {} is on {}{groups}",
                    bounded_text::cut_to(scope.describe(NAMES_SHOWN), SENTENCE_BYTES),
                    bounded_text::name(&participant.name),
                    participant.device
                )
            }
            Self::Address(window, owners) => format!(
                "allocates memory at addresses from {:#x} to {:#x}, and {} can access only those from {:#x} to {:#x}",
                source.guarantees.address.lowest,
                source.guarantees.address.highest,
                Names::new(problem, source).joined(owners.iter().copied()),
                window.lowest,
                window.highest
            ),
            Self::NoFormat => "was not tried: the participants have no format in common".to_owned(),
            Self::NoRows => "supports only linear rows, and no linear layout is known of the formats that the participants have in common; their own devices can allocate these".to_owned(),
            Self::OtherFormats => {
                "supports none of the formats that the participants have in common".to_owned()
            }
        }
    }
}

impl LayoutRejection {
    /// Returns the position of the failed check in the order of checks. If a source fails several checks, the rejection by the
    /// latest check is reported.
    pub(super) fn stage(&self) -> u8 {
        match self {
            Self::Rows
            | Self::Implicit(_)
            | Self::Constraints(_)
            | Self::Crop { .. }
            | Self::Count { .. } => 1,
            Self::Maximum { .. } => 2,
            Self::Uncountable | Self::Available { .. } | Self::Pool(_) => 3,
        }
    }

    /// Returns whether the source would be accepted if it had more memory.
    pub(super) fn is_lack_of_memory(&self) -> bool {
        matches!(
            self,
            Self::Maximum { .. } | Self::Available { .. } | Self::Pool(_)
        )
    }

    /// Describes the rejection as a clause that follows the name of the source.
    pub(super) fn describe<'a>(
        &self,
        problem: &Problem<'a>,
        source: &'a Source,
        format: FormatModifier,
        merged: &MergedImage,
    ) -> String {
        match self {
            Self::Rows => {
                format!("allocates {format}, and the CPU needs linear rows to access pixels")
            }
            Self::Implicit(owners) => format!(
                "does not report the layout of {format}, and {} {} on another device",
                Names::new(problem, source).joined(owners.iter().copied()),
                if owners.len() > 1 { "are" } else { "is" }
            ),
            Self::Constraints(field) => {
                let info = format.fourcc.info().filter(|_| *field == Field::Stride);
                let pixels = info
                    .and_then(|info| stride::pixels_missed(info, merged))
                    .map_or_else(String::new, |bytes| {
                        format!(", and rows consist of whole pixels of {bytes} bytes")
                    });
                let needed = (*field == Field::Size)
                    .then(|| bytes_needed(problem, format, merged))
                    .flatten()
                    .map_or_else(String::new, |bytes| {
                        format!(", and {bytes} bytes are needed")
                    });
                format!(
                    "has no layout of {format} that meets all constraints: {}{pixels}{needed}",
                    describe_constraints(*field, merged, Names::new(problem, source))
                )
            }
            Self::Crop {
                owner,
                coded_and_visible,
            } => {
                let (extent, visible) = coded_and_visible.as_ref();
                let names = Names::new(problem, source);
                let set_by = set_by(&merged.limiting_owners(Field::Extent), names);
                format!(
                    "has no layout of {format} that meets all constraints: the picture is {visible} of {extent} coded pixels{set_by}, and {}",
                    problem.demand(*owner, Field::Crop)
                )
            }
            Self::Count { needed } => format!(
                "would have to allocate {needed} buffers, and a plan has at most {}",
                Request::MAXIMUM_BUFFERS
            ),
            Self::Maximum { needed, maximum } => {
                format!(
                    "allocates at most {maximum} bytes for one dma-buf, and {needed} are needed"
                )
            }
            Self::Uncountable => {
                "would have to allocate buffers whose total size overflows 64 bits".to_owned()
            }
            Self::Available {
                needed,
                available,
                count,
            } => {
                let buffer_bytes = needed.checked_div((*count).into()).unwrap_or(0);
                let fitting = available.checked_div(buffer_bytes).unwrap_or(0);
                format!(
                    "has too little memory: {fitting} of {count} buffers fit in the {available} bytes that are left, and {needed} are needed"
                )
            }
            Self::Pool(need) => need.describe_shortage(&problem.pools, source),
        }
    }
}

/// Returns the number of bytes that the image takes with the same constraints, except for a maximum size. The result is `None` if
/// there is still no layout, or if the maximum size is not the reason.
fn bytes_needed(
    problem: &Problem<'_>,
    format: FormatModifier,
    merged: &MergedImage,
) -> Option<u64> {
    let mut unbounded = merged.clone();
    unbounded.maximum_size_bytes.value = u64::MAX;
    let needed = LayoutChoice::ALL
        .into_iter()
        .filter(|choice| !choice.preferred)
        .filter_map(|choice| {
            layout::choose(
                problem.request.extents(),
                format,
                &unbounded,
                choice,
                || None,
            )
            .ok()
        })
        .map(|layouts| layouts.first.total_bytes())
        .min()?;
    (needed > merged.maximum_size_bytes.value).then_some(needed)
}

/// Lists the owners of constraints in brackets. The text is empty if there are no owners.
fn set_by(all: &Owners, names: Names<'_, '_>) -> String {
    if all.is_empty() {
        String::new()
    } else {
        format!(" (set by {})", names.joined(all.iter()))
    }
}

/// Describes the merged constraints on a field that no layout satisfies, with their owners.
fn describe_constraints(field: Field, merged: &MergedImage, names: Names<'_, '_>) -> String {
    let set_by = |all: &Owners| set_by(all, names);
    match field {
        Field::Stride => format!(
            "a stride {}{}{}{}",
            between(
                u64::from(merged.stride.minimum.value),
                u64::from(merged.stride.maximum.value),
                u64::from(u32::MAX),
                "bytes"
            ),
            strides(merged),
            only_strides(merged),
            set_by(&merged.limiting_owners(field))
        ),
        Field::Extent => format!(
            "a width {} and a height {}{}{}",
            side(&merged.width),
            side(&merged.height),
            merged
                .coded
                .as_deref()
                .map_or_else(String::new, coded_sides),
            set_by(&merged.limiting_owners(field))
        ),
        Field::Planes if merged.placement.value == PlanePlacement::SinglePlane => format!(
            "all planes in one dma-buf, and each plane in a dma-buf of its own{}",
            set_by(&merged.placement.owners)
        ),
        Field::Planes => format!(
            "at most {} planes{}",
            merged.maximum_planes.value,
            set_by(&merged.limiting_owners(field))
        ),
        Field::Size => format!(
            "{}{}",
            sizes(merged),
            set_by(&merged.limiting_owners(field))
        ),
        _ => "the memory layout of this format is not known".to_owned(),
    }
}

/// Describes the constraints on the coded extent and on the position of the picture in it.
fn coded_sides(coded: &MergedCoded) -> String {
    let free = MergedSide::default();
    let sides = [("width", &coded.width), ("height", &coded.height)]
        .map(|(name, own)| (*own != free).then(|| format!(", a coded {name} {}", side(own))));
    let offsets = [("column", &coded.x), ("row", &coded.y)].map(|(name, offset)| {
        let (least, most) = (offset.minimum.value, offset.maximum.value);
        let step = steps(offset.multiple_of.value);
        let range = match (least, most) {
            (0, u32::MAX) => String::new(),
            _ => format!(
                " {}",
                between(least.into(), most.into(), u32::MAX.into(), "pixels")
            ),
        };
        (!range.is_empty() || !step.is_empty())
            .then(|| format!(", a first {name} of the picture{range}{step}"))
    });
    sides.into_iter().chain(offsets).flatten().collect()
}

/// Describes the constraints on the width or the height.
fn side(merged: &MergedSide) -> String {
    let (least, most) = (merged.minimum.value, merged.maximum.value);
    let range = between(least.into(), most.into(), u32::MAX.into(), "pixels");
    format!("{range}{}", steps(merged.multiple_of.value))
}

/// Describes the stride alignments. The alignment of the first plane is left out if the alignment of every plane implies it.
fn strides(merged: &MergedImage) -> String {
    let all = merged.stride.alignment.value;
    let first = merged.stride.first_plane_alignment.value;
    if all.and(first) == all {
        steps(all)
    } else if all.is_one() {
        format!("{} for the first plane", steps(first))
    } else {
        format!("{}, and{} for the first plane", steps(all), steps(first))
    }
}

/// Describes the constraints that allow only one stride for each width.
fn only_strides(merged: &MergedImage) -> String {
    let packed = merged.stride.packed.value;
    let packed = packed.then(|| ", and rows without a gap between them".to_owned());
    let rounded = merged.stride.rounded_up_to.value.iter();
    let rounded =
        rounded.map(|step| format!(", and rows rounded up to {step} bytes and no further"));
    packed.into_iter().chain(rounded).collect()
}

/// Describes all constraints on the size of memory.
fn sizes(merged: &MergedImage) -> String {
    let (least, most) = (
        merged.minimum_size_bytes.value,
        merged.maximum_size_bytes.value,
    );
    let step = merged.size_alignment_bytes.value;
    let (rows, planes) = (
        merged.rows_multiple_of.value,
        merged.plane_size_alignment_bytes.value,
    );
    let (before, after) = (
        merged.padding_before_bytes.value,
        merged.padding_bytes.value,
    );
    let blocks = merged.padding_bytes_per_macroblock.value;
    let more = merged.padding_rows.value;
    let bounds = match (least, most) {
        (0, u64::MAX) if step.is_one() => None,
        (0, u64::MAX) => Some(format!("memory{}", steps(step))),
        (0, most) => Some(format!("memory of at most {most} bytes{}", steps(step))),
        _ => Some(format!(
            "memory {}{}",
            between(least, most, u64::MAX, "bytes"),
            steps(step)
        )),
    };
    let all = [
        bounds,
        (!rows.is_one()).then(|| format!("memory for a multiple of {rows} rows")),
        (!planes.is_one()).then(|| format!("plane sizes{} bytes", steps(planes))),
        (before > 0).then(|| format!("{before} bytes of padding before the image")),
        (after > 0).then(|| format!("{after} bytes of padding after the image")),
        (more > 0).then(|| format!("memory for {more} more rows")),
        (blocks > 0)
            .then(|| format!("{blocks} bytes after the image for each block of 16x16 pixels")),
        merged
            .packed_planes
            .value
            .then(|| "planes without a gap between them".to_owned()),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        "a size that overflows 64 bits".to_owned()
    } else {
        all.join(", ")
    }
}

/// Describes the multiples that a length must be of; empty if every length is permitted.
fn steps(of: CommonMultiple) -> String {
    if of.is_one() {
        String::new()
    } else {
        format!(" in multiples of {of}")
    }
}

/// Describes a range of lengths. `unbounded` is the value of `most` that stands for no maximum.
fn between(least: u64, most: u64, unbounded: u64, unit: &str) -> String {
    if least == most {
        format!("of {least} {unit}")
    } else if most == unbounded {
        format!("of at least {least} {unit}")
    } else {
        format!("from {least} to {most} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use crate::constraint::{FormatSet, Participant, Role, Source, SourceId};
    use crate::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use crate::solve::{Request, solve};

    #[test]
    fn buffers_whose_sizes_overflow_are_rejected() {
        let device = DeviceIdentity {
            driver: "gpu".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        let mut gpu = Participant::new("gpu", device, Role::Import);
        gpu.for_each_choice(|own| {
            own.formats = Some(FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]));
            own.image.minimum_size_bytes = 1 << 63;
        });
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        request.count = 2;
        request.participants.push(gpu);
        let heap = Source::new(SourceId::new("heap"), "heap");
        request.sources.push(heap);
        let words = solve(&request).explain();
        let why = "not heap: it would have to allocate buffers whose total size overflows 64 bits";
        assert!(words.contains(why), "{words}");
        request.count = 1;
        assert!(solve(&request).possible().is_ok());
    }
}
