//! Tries formats and sources, and takes the best by the documented order.

use super::layout;
use super::plan::{Action, Plan, Rejection, Step, Verdict};
use super::request::Request;
use crate::constraint::{
    AddressWindow, Constraints, Contiguity, CpuUse, Field, FormatSet, MergedImage, MergedMemory,
    Participant, Role, Source,
};
use crate::model::{FormatModifier, Fourcc, Layout, Modifier};

/// One source that serves all in one format.
struct Candidate<'a> {
    source: &'a Source,
    layout: Layout,
    terms: MergedImage,
    doubts: Vec<String>,
    importers: usize,
    cpu: CpuUse,
}

/// Returns the best plan, or why no source serves all.
pub(super) fn best(request: &Request) -> Result<Plan, Vec<Rejection>> {
    let formats = formats(request);
    let mut sources: Vec<&Source> = request.sources.iter().collect();
    sources.sort_by(|one, two| one.id.cmp(&two.id));
    let mut found: Vec<Candidate<'_>> = Vec::new();
    let mut rejections = Vec::new();
    for source in sources {
        let mut reason = None;
        let mut served = false;
        for format in &formats {
            match candidate(request, source, *format) {
                Ok(candidate) => {
                    found.push(candidate);
                    served = true;
                }
                // The furthest that any format came is what is worth telling.
                Err(failure) => {
                    if reason.as_ref().is_none_or(|(stage, _)| failure.0 > *stage) {
                        reason = Some(failure);
                    }
                }
            }
        }
        if !served {
            rejections.push(Rejection {
                source: source.id.clone(),
                source_name: source.name.clone(),
                words: reason.map_or_else(|| NO_FORMAT.to_owned(), |(_, words)| words),
            });
        }
    }
    let others = found.len();
    match found
        .into_iter()
        .min_by_key(|candidate| rank(request, candidate))
    {
        Some(chosen) => Ok(plan(request, chosen, others, rejections)),
        None => Err(rejections),
    }
}

/// Why a source falls out, and how far it came: later stages tell more.
type Failure = (u8, String);

const NO_FORMAT: &str = "has no format to try: the participants have none in common";

/// Returns the pairs that all participants take.
fn formats(request: &Request) -> Vec<FormatModifier> {
    let mut sets: Vec<&FormatSet> = request
        .participants
        .iter()
        .filter_map(|participant| participant.constraints.formats.as_ref())
        .collect();
    sets.sort_by_key(|set| set.len());
    let mut sets = sets.into_iter();
    if let Some(first) = sets.next() {
        return sets
            .fold(first.clone(), |common, set| common.intersection(set))
            .into();
    }
    // Nobody asks for a format: the request's wish, or else what the sources name, or else plain pixels.
    if let Some(fourcc) = request.preferred_fourcc {
        return vec![FormatModifier::linear(fourcc)];
    }
    vec![FormatModifier::linear(Fourcc::XRGB8888)]
}

fn candidate<'a>(
    request: &Request,
    source: &'a Source,
    format: FormatModifier,
) -> Result<Candidate<'a>, Failure> {
    let linear = format.modifier == Modifier::LINEAR;
    let gives = source
        .constraints
        .formats
        .as_ref()
        .map_or(linear, |formats| formats.contains(format));
    if !gives || !linear {
        return Err((0, format!("cannot give {format}")));
    }
    for participant in &request.participants {
        if let Some(name) = unknown(&participant.constraints) {
            return Err((
                6,
                format!(
                    "cannot be judged: {} asks for {name}, which this version does not know",
                    participant.name
                ),
            ));
        }
    }
    let mut terms = image_terms(&source.name, &source.constraints, format.fourcc);
    for participant in &request.participants {
        terms = terms.merge(&image_terms(
            &participant.name,
            &participant.constraints,
            format.fourcc,
        ));
    }
    let layout = layout::choose(request.extent, format, &terms).map_err(|field| {
        (
            1,
            format!(
                "has no layout of {format} for all: {}",
                clash(field, &terms)
            ),
        )
    })?;
    check_size(request, source, &layout).map_err(|words| (2, words))?;
    for participant in &request.participants {
        let imports = &participant.constraints.memory.imports;
        if participant.role.imports() && !imports.takes(source, &participant.device) {
            let why = participant
                .demands()
                .into_iter()
                .find(|demand| demand.field == Field::Imports)
                .map_or_else(String::new, |demand| demand.to_string());
            return Err((3, format!("is refused: {why}")));
        }
    }
    let foreign = |participant: &&Participant| !source.is_of(&participant.device);
    let memory = request
        .participants
        .iter()
        .filter(foreign)
        .map(|participant| MergedMemory::of(&participant.name, &participant.constraints.memory))
        .fold(MergedMemory::default(), |all, one| all.merge(&one));
    let doubts = check_memory(source, &layout, &memory).map_err(|words| (4, words))?;
    Ok(Candidate {
        source,
        doubts,
        importers: request
            .participants
            .iter()
            .filter(foreign)
            .filter(|participant| participant.role.imports())
            .count(),
        cpu: request
            .participants
            .iter()
            .map(|participant| participant.constraints.memory.cpu)
            .max()
            .unwrap_or_default(),
        layout,
        terms,
    })
}

/// Returns the name of a demand that nobody here understands.
fn unknown(constraints: &Constraints) -> Option<&str> {
    let images = std::iter::once(&constraints.image).chain(constraints.per_fourcc.values());
    constraints
        .unknown
        .required()
        .chain(constraints.memory.unknown.required())
        .chain(images.flat_map(|terms| terms.unknown.required()))
        .next()
}

fn image_terms(owner: &str, constraints: &Constraints, fourcc: Fourcc) -> MergedImage {
    let all = MergedImage::of(owner, &constraints.image);
    match constraints.per_fourcc.get(&fourcc) {
        Some(own) => all.merge(&MergedImage::of(owner, own)),
        None => all,
    }
}

/// Says whose demands on a field leave nothing.
fn clash(field: Field, terms: &MergedImage) -> String {
    let owners = |sets: &[&std::collections::BTreeSet<String>]| {
        let mut names: Vec<&str> = sets
            .iter()
            .flat_map(|set| set.iter().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(" and ")
    };
    match field {
        Field::Stride => format!(
            "strides from {} to {} bytes in multiples of {} (set by {})",
            terms.stride_minimum.value,
            terms.stride_maximum.value,
            terms.stride_alignment.value,
            owners(&[
                &terms.stride_minimum.owners,
                &terms.stride_maximum.owners,
                &terms.stride_alignment.owners
            ])
        ),
        Field::Extent => format!(
            "widths from {} to {} and heights from {} to {} (set by {})",
            terms.width_minimum.value,
            terms.width_maximum.value,
            terms.height_minimum.value,
            terms.height_maximum.value,
            owners(&[
                &terms.width_minimum.owners,
                &terms.width_maximum.owners,
                &terms.width_multiple.owners,
                &terms.height_minimum.owners,
                &terms.height_maximum.owners,
                &terms.height_multiple.owners
            ])
        ),
        Field::Planes => format!(
            "one dma-buf and several at once (set by {})",
            owners(&[&terms.placement.owners])
        ),
        Field::Size => "its size is more than can be counted".to_owned(),
        _ => "its format is not known".to_owned(),
    }
}

fn check_size(request: &Request, source: &Source, layout: &Layout) -> Result<(), String> {
    let largest = layout
        .memory_sizes()
        .iter()
        .copied()
        .max()
        .unwrap_or_default();
    if let Some(maximum) = source
        .guarantees
        .maximum_bytes
        .filter(|maximum| largest > *maximum)
    {
        return Err(format!(
            "gives at most {maximum} bytes at a time, and {largest} are needed"
        ));
    }
    let all = layout
        .total_bytes()
        .saturating_mul(u64::from(count(request)));
    if let Some(available) = source
        .guarantees
        .available_bytes
        .filter(|available| all > *available)
    {
        return Err(format!(
            "has {available} bytes left, and {all} are needed for all buffers"
        ));
    }
    Ok(())
}

/// Returns what is not sure about the memory.
fn check_memory(
    source: &Source,
    layout: &Layout,
    memory: &MergedMemory,
) -> Result<Vec<String>, String> {
    let mut doubts = Vec::new();
    let names = |owners: &std::collections::BTreeSet<String>| {
        owners
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let largest = layout
        .memory_sizes()
        .iter()
        .copied()
        .max()
        .unwrap_or_default();
    if memory.contiguity.value != Contiguity::Scattered
        && source.guarantees.contiguous_up_to_bytes < largest
    {
        let verb = if memory.contiguity.value == Contiguity::Contiguous {
            "needs"
        } else {
            "may need"
        };
        doubts.push(format!(
            "{} {verb} memory in one piece, and {} promises that only up to {} bytes of {largest}",
            names(&memory.contiguity.owners),
            source.name,
            source.guarantees.contiguous_up_to_bytes
        ));
    }
    let reached = AddressWindow {
        lowest: memory.lowest_address.value,
        highest: memory.highest_address.value,
    };
    let owners = names(
        &memory
            .lowest_address
            .owners
            .union(&memory.highest_address.owners)
            .cloned()
            .collect(),
    );
    if !reached.overlaps(&source.guarantees.address) {
        return Err(format!(
            "gives memory from {:#x} to {:#x}, and {owners} reaches only from {:#x} to {:#x}",
            source.guarantees.address.lowest,
            source.guarantees.address.highest,
            reached.lowest,
            reached.highest
        ));
    }
    if !reached.contains(&source.guarantees.address) {
        doubts.push(format!(
            "{owners} reaches only addresses from {:#x} to {:#x}, and {} may give others",
            reached.lowest, reached.highest, source.name
        ));
    }
    Ok(doubts)
}

fn count(request: &Request) -> u32 {
    let held = request.participants.iter().fold(0_u32, |sum, participant| {
        sum.saturating_add(participant.constraints.buffers_held)
    });
    request.count.max(held).max(1)
}

/// The order that the module's documentation gives; lower is better.
fn rank<'a>(request: &Request, candidate: &Candidate<'a>) -> impl Ord + use<'a> {
    let source = candidate.source;
    let fourcc = candidate.layout.format().fourcc;
    let own = |role: Option<Role>| {
        request.participants.iter().any(|participant| {
            source.is_of(&participant.device) && role.is_none_or(|role| participant.role == role)
        })
    };
    (
        (!candidate.doubts.is_empty(), candidate.doubts.len()),
        request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        candidate.importers,
        !own(None),
        candidate.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        source.guarantees.cost,
        !own(Some(Role::Display)),
        fourcc.info().map(|info| info.rank()),
        &source.id,
    )
}

fn plan(
    request: &Request,
    chosen: Candidate<'_>,
    others: usize,
    rejections: Vec<Rejection>,
) -> Plan {
    let source = chosen.source;
    let steps: Vec<Step> = request
        .participants
        .iter()
        .map(|participant| Step {
            participant: participant.name.clone(),
            action: match participant.role {
                Role::Compositor => Action::Accepts,
                Role::CpuRead | Role::CpuWrite => Action::Maps,
                _ if source.is_of(&participant.device) => Action::Exports,
                _ => Action::Imports,
            },
        })
        .collect();
    Plan {
        source: source.id.clone(),
        source_name: source.name.clone(),
        source_device: source.device.clone(),
        count: count(request),
        steps,
        verdict: if chosen.doubts.is_empty() {
            Verdict::Guaranteed
        } else {
            Verdict::Possible
        },
        reasons: reasons(&chosen, others),
        doubts: chosen.doubts,
        layout: chosen.layout,
        rejections,
        terms: Box::new(chosen.terms),
    }
}

fn reasons(chosen: &Candidate<'_>, found: usize) -> Vec<String> {
    let mut reasons = Vec::new();
    let importers = match chosen.importers {
        0 => "nobody has to import foreign memory".to_owned(),
        1 => "one participant imports it".to_owned(),
        many => format!("{many} participants import it"),
    };
    reasons.push(if found > 1 {
        format!("best of {found} ways that work: {importers}")
    } else {
        format!("the only way that works: {importers}")
    });
    let terms = &chosen.terms;
    let bounds = [
        (
            "stride at least",
            u64::from(terms.stride_minimum.value),
            &terms.stride_minimum.owners,
        ),
        (
            "stride at most",
            u64::from(terms.stride_maximum.value),
            &terms.stride_maximum.owners,
        ),
        (
            "strides in multiples of",
            u64::from(terms.stride_alignment.value),
            &terms.stride_alignment.owners,
        ),
        (
            "plane offsets in multiples of",
            terms.offset_alignment.value,
            &terms.offset_alignment.owners,
        ),
        (
            "memory of at least",
            terms.minimum_size.value,
            &terms.minimum_size.owners,
        ),
        (
            "padding behind the picture of",
            terms.padding.value,
            &terms.padding.owners,
        ),
    ];
    for (what, bytes, owners) in bounds {
        if !owners.is_empty() {
            let names: Vec<_> = owners.iter().map(String::as_str).collect();
            reasons.push(format!(
                "{what} {bytes} bytes, set by {}",
                names.join(" and ")
            ));
        }
    }
    reasons
}
