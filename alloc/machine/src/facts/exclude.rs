//! From what is known to be refused to constraints.
//!
//! An exclusion names a source, a participant, pairs of format and modifier, and a size. In the request that comes of it no plan
//! takes what is named, by whichever of a participant's alternatives, and every other way to share is as it was.
//!
//! Where everything is named that a participant takes in one of its alternatives, that alternative imports nothing from the
//! source, so that the solver tells whose refusal it was and why. Anything less is taken from what the source gives: the
//! request is for all its participants together, so what one refuses the source need not give.

use std::collections::{BTreeMap, BTreeSet};

use super::fact::Scope;
use covalent_solver::constraint::{Constraints, FormatSet, Imports, Participant, Source, SourceId};
use covalent_solver::model::{DeviceIdentity, FormatInfo, FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::Request;

/// How many causes a reason names; of more it says how many there are.
const CAUSES_NAMED: usize = 4;

/// A source that must not be taken for a participant, in some pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The source.
    pub source: SourceId,
    /// Who refuses it, by its place among the request's participants, whose names may be equal; the source itself gives
    /// nothing where there is none.
    pub participant: Option<usize>,
    /// In which pictures.
    pub scope: Scope,
    /// What came back, in a few words.
    pub cause: String,
}

/// The pairs of format and modifier that exclusions name. Looking one up takes a logarithm of their number.
#[derive(Debug, Default)]
struct Named(BTreeSet<(Option<Fourcc>, Option<Modifier>)>);

impl Named {
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

/// What one participant refuses of one source.
#[derive(Debug, Default)]
struct Refused<'a> {
    named: Named,
    causes: BTreeSet<&'a str>,
}

/// Returns the request in which no plan takes what is excluded, and every other way to share is left.
pub fn exclude(request: &Request, exclusions: &[Exclusion]) -> Request {
    let mut refused: BTreeMap<(&SourceId, usize), Refused<'_>> = BTreeMap::new();
    let mut not_given: BTreeMap<&SourceId, Named> = BTreeMap::new();
    for exclusion in exclusions {
        let Exclusion { source, scope, .. } = exclusion;
        // The buffers hold pictures of all of the request's sizes.
        let is_of_a_size = |own| request.extents().any(|extent| extent == own);
        if !scope.extent.is_none_or(is_of_a_size) {
            continue;
        }
        match exclusion.participant {
            Some(place) => {
                let refused = refused.entry((source, place)).or_default();
                refused.named.insert(scope);
                refused.causes.insert(&exclusion.cause);
            }
            None => not_given.entry(source).or_default().insert(scope),
        }
    }
    let mut limited = request.clone();
    let mut imports: BTreeMap<usize, Vec<(&SourceId, &Refused<'_>)>> = BTreeMap::new();
    for ((source, place), refused) in &refused {
        // Whoever is not in the request takes nothing that could be excluded.
        let Some(participant) = request.participants.get(*place) else {
            continue;
        };
        if is_stranger(participant, source, request) {
            imports.entry(*place).or_default().push((source, refused));
            if participant
                .choices()
                .all(|choice| is_whole(choice, &refused.named))
            {
                continue;
            }
        }
        let given = not_given.entry(source).or_default();
        given.0.extend(refused.named.0.iter().copied());
    }
    for (place, refusals) in imports {
        refuse(
            &mut limited.participants[place],
            &request.sources,
            &refusals,
        );
    }
    let rows = rows(&request.sources);
    for source in &mut limited.sources {
        if let Some(named) = not_given.get(&source.id) {
            take_away(source, named, &rows);
        }
    }
    limited
}

/// Returns whether a participant imports a source's memory as a stranger's, so that it can be told not to.
fn is_stranger(participant: &Participant, id: &SourceId, request: &Request) -> bool {
    let mut sources = request.sources.iter().filter(|source| source.id == *id);
    participant.role.imports() && !sources.any(|source| source.is_of(&participant.device))
}

/// Returns whether everything is named that is taken by one of a participant's alternatives.
fn is_whole(choice: &Constraints, named: &Named) -> bool {
    match &choice.formats {
        Some(own) => own.iter().all(|format| named.contains(format)),
        None => named.is_everything(),
    }
}

/// Takes sources from those whose memory is imported by the alternatives in which nothing else is taken.
fn refuse(participant: &mut Participant, all: &[Source], refusals: &[(&SourceId, &Refused<'_>)]) {
    let device = participant.device.clone();
    for choice in participant.choices_mut() {
        let whole: Vec<_> = refusals
            .iter()
            .filter(|(_, refused)| is_whole(choice, &refused.named))
            .collect();
        let imports = &mut choice.memory.imports;
        if let Some(fewer) = without(imports, &device, all, &whole) {
            *imports = fewer;
        }
    }
}

/// Returns whose memory is imported when that of some sources is not; none where it is not imported anyway.
fn without(
    imports: &Imports,
    device: &DeviceIdentity,
    all: &[Source],
    refusals: &[&(&SourceId, &Refused<'_>)],
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
    for (source, refused) in refusals {
        // What is not taken anyway needs no second reason.
        if sources.remove(*source) {
            for cause in &refused.causes {
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
        Imports::Any => None,
    };
    let rest = (more > 0).then(|| format!("it refused for {more} more reasons"));
    let reason = before.into_iter().chain(reasons).chain(rest);
    Some(Imports::OnlyFrom {
        devices: BTreeSet::new(),
        sources,
        reason: reason.collect::<Vec<_>>().join(", and "),
    })
}

/// Takes pairs from what a source gives.
fn take_away(source: &mut Source, named: &Named, rows: &FormatSet) {
    let given = source.constraints.formats.as_ref().unwrap_or(rows);
    let left: FormatSet = given.iter().filter(|pair| !named.contains(*pair)).collect();
    if left.len() < given.len() {
        source.constraints.formats = Some(left);
    }
}

/// Returns what a source gives that lists nothing: rows in every format that is known, and in those that others list.
fn rows(sources: &[Source]) -> FormatSet {
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
