//! Converts refusals by drivers into constraints of a request.
//!
//! An [`Exclusion`] names a source, a participant, pairs of format and modifier, and a size. [`exclude`] returns a request for
//! which the solver makes no plan with that combination, whichever alternative of the participant is used. Every other plan in
//! which all participants share one buffer is still possible.
//!
//! The constraint is added in one of two places:
//!
//! - If the exclusions cover every format that an alternative of the participant accepts, the alternative's import policy is
//!   changed so that it imports nothing from the source. The solver's explanation then names the participant and the refusal.
//! - Otherwise, and where the source is the participant's own device, the pairs are removed from the formats that the source
//!   offers. This removes no other plan in which all participants share one buffer, because a pair that one of them refuses
//!   cannot be in such a plan. In a split, the groups without the participant lose these pairs of the source too.

use std::collections::{BTreeMap, BTreeSet};

use super::result::Scope;
use covalent_solver::constraint::{Constraints, FormatSet, Imports, Participant, Source, SourceId};
use covalent_solver::model::{DeviceIdentity, FormatInfo, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;

/// The maximum number of causes that a reason names. Further causes are only counted.
const CAUSES_NAMED: usize = 4;

/// A source that must not provide buffers for a participant in some formats and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The identifier of the source.
    pub source: SourceId,
    /// The index of the participant in the request. A name would not identify the participant, because names may be equal. `None`
    /// means that the source cannot allocate such buffers for any participant.
    pub participant: Option<usize>,
    /// The formats and sizes that are excluded.
    pub scope: Scope,
    /// The error of the driver, in a few words for the solver's explanation.
    pub cause: String,
}

/// The pairs of format and modifier that exclusions cover; `None` covers every format or every modifier. A look-up takes time
/// logarithmic in the number of pairs.
#[derive(Debug, Default)]
struct ExcludedFormats(BTreeSet<(Option<Fourcc>, Option<Modifier>)>);

impl ExcludedFormats {
    fn insert(&mut self, scope: &Scope) {
        self.0.insert((scope.fourcc, scope.modifier));
    }

    fn contains(&self, format: FormatModifier) -> bool {
        let (fourcc, modifier) = (Some(format.fourcc), Some(format.modifier));
        [
            (None, None),
            (fourcc, None),
            (None, modifier),
            (fourcc, modifier),
        ]
        .iter()
        .any(|scope| self.0.contains(scope))
    }

    fn is_everything(&self) -> bool {
        self.0.contains(&(None, None))
    }
}

/// The refusals of one source by one participant.
#[derive(Debug, Default)]
struct Refusals<'a> {
    formats: ExcludedFormats,
    causes: BTreeSet<&'a str>,
}

/// Returns the request with further constraints, so that no plan of the solver uses an excluded combination. Every other plan in
/// which all participants share one buffer is still possible.
pub fn exclude(request: &Request, exclusions: &[Exclusion]) -> Request {
    let mut by_participant: BTreeMap<(&SourceId, usize), Refusals<'_>> = BTreeMap::new();
    let mut not_offered: BTreeMap<&SourceId, ExcludedFormats> = BTreeMap::new();
    for exclusion in exclusions {
        let Exclusion { source, scope, .. } = exclusion;
        // A buffer holds pictures of every size of the request, so the buffer is excluded if one of the sizes is refused.
        let is_requested = |own| request.extents().any(|extent| extent == own);
        if !scope.extent.is_none_or(is_requested) {
            continue;
        }
        match exclusion.participant {
            Some(number) => {
                let refusals = by_participant.entry((source, number)).or_default();
                refusals.formats.insert(scope);
                refusals.causes.insert(&exclusion.cause);
            }
            None => not_offered.entry(source).or_default().insert(scope),
        }
    }
    let mut limited = request.clone();
    if by_participant.is_empty() && not_offered.is_empty() {
        return limited;
    }
    let mut imports: BTreeMap<usize, Vec<(&SourceId, &Refusals<'_>)>> = BTreeMap::new();
    for ((source, number), refusals) in &by_participant {
        // An exclusion of a participant that is not in the request is ignored.
        let Some(participant) = request.participants.get(*number) else {
            continue;
        };
        if imports_foreign(participant, source, request) {
            imports.entry(*number).or_default().push((source, refusals));
            if participant
                .choices()
                .all(|choice| covers_all(choice, &refusals.formats))
            {
                continue;
            }
        }
        let formats = not_offered.entry(source).or_default();
        formats.0.extend(refusals.formats.0.iter().copied());
    }
    for (number, refusals) in imports {
        restrict_imports(
            &mut limited.participants[number],
            &request.sources,
            &refusals,
        );
    }
    let linear = linear_formats(&request.sources);
    for source in &mut limited.sources {
        if let Some(excluded) = not_offered.get(&source.id) {
            remove_formats(source, excluded, &linear);
        }
    }
    limited
}

/// Returns whether the participant imports the source's memory from another device. Only then does its import policy apply to the
/// source.
fn imports_foreign(participant: &Participant, id: &SourceId, request: &Request) -> bool {
    let mut sources = request.sources.iter().filter(|source| source.id == *id);
    participant.role.imports() && !sources.any(|source| source.is_of(&participant.device))
}

/// Returns whether all formats that an alternative accepts are excluded.
fn covers_all(choice: &Constraints, excluded: &ExcludedFormats) -> bool {
    match &choice.formats {
        Some(own) => own.iter().all(|format| excluded.contains(format)),
        None => excluded.is_everything(),
    }
}

/// Removes sources from the import policy of each alternative whose formats are all excluded.
fn restrict_imports(
    participant: &mut Participant,
    all: &[Source],
    refusals: &[(&SourceId, &Refusals<'_>)],
) {
    let device = participant.device.clone();
    for choice in participant.choices_mut() {
        let complete: Vec<_> = refusals
            .iter()
            .filter(|(_, refusals)| covers_all(choice, &refusals.formats))
            .collect();
        let imports = &mut choice.memory.imports;
        if let Some(restricted) = without_sources(imports, &device, all, &complete) {
            *imports = restricted;
        }
    }
}

/// Returns the import policy without some sources; `None` if the policy allows none of these sources anyway.
fn without_sources(
    imports: &Imports,
    device: &DeviceIdentity,
    all: &[Source],
    refusals: &[&(&SourceId, &Refusals<'_>)],
) -> Option<Imports> {
    if refusals.is_empty() {
        return None;
    }
    let mut sources: BTreeSet<SourceId> = all
        .iter()
        .filter(|source| imports.takes(source, device))
        .map(|source| source.id.clone())
        .collect();
    let mut by_cause: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, refusals) in refusals {
        // A source that the policy already excludes needs no further reason.
        if sources.remove(*source) {
            for cause in &refusals.causes {
                by_cause.entry(cause).or_default().push(source.as_str());
            }
        }
    }
    if by_cause.is_empty() {
        return None;
    }
    let more = by_cause.len().saturating_sub(CAUSES_NAMED);
    let reasons = by_cause
        .into_iter()
        .take(CAUSES_NAMED)
        .map(|(cause, sources)| format!("it refused memory of {} ({cause})", sources.join(", ")));
    let before = match imports {
        Imports::OnlyFrom { reason, .. } | Imports::Nothing { reason } => Some(reason.clone()),
        Imports::Any | Imports::Unknown { .. } => None,
    };
    let rest = (more > 0).then(|| format!("it refused memory for {more} more reasons"));
    let reason = before.into_iter().chain(reasons).chain(rest);
    Some(Imports::OnlyFrom {
        devices: BTreeSet::new(),
        sources,
        reason: reason.collect::<Vec<_>>().join(", and "),
    })
}

/// Removes excluded pairs from the formats that a source offers.
fn remove_formats(source: &mut Source, excluded: &ExcludedFormats, linear: &FormatSet) {
    let offered = source.constraints.formats.as_ref().unwrap_or(linear);
    let left: FormatSet = offered
        .iter()
        .filter(|pair| !excluded.contains(*pair))
        .collect();
    if left.len() < offered.len() {
        source.constraints.formats = Some(left);
    }
}

/// Returns the formats of a source that lists none. These are all known formats, and all formats that other sources list, with
/// the modifier `LINEAR`.
fn linear_formats(sources: &[Source]) -> FormatSet {
    let listed = sources
        .iter()
        .filter_map(|source| source.constraints.formats.as_ref())
        .flat_map(FormatSet::iter)
        .filter(|pair| pair.modifier == Modifier::LINEAR);
    FormatInfo::all()
        .map(|info| FormatModifier::linear(info.fourcc))
        .chain(listed)
        .collect()
}
