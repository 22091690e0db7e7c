//! From what is known to be refused to constraints.

use std::collections::{BTreeMap, BTreeSet};

use super::fact::Scope;
use crate::constraint::{FormatSet, Imports, Participant, Source, SourceId};
use crate::model::{FormatModifier, Fourcc};
use crate::solve::Request;

/// A source that must not be taken for a participant, in some pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exclusion {
    /// The source.
    pub(super) source: SourceId,
    /// Who refuses it; the source itself gives nothing where there is none.
    pub(super) participant: Option<String>,
    /// In which pictures.
    pub(super) scope: Scope,
    /// What came back, in a few words.
    pub(super) cause: String,
}

/// Returns the request in which no plan takes what is excluded.
///
/// A pair that is excluded in every format becomes a constraint on whose memory the participant imports, so that the
/// solver names it and its reason. One that is excluded in some formats becomes a constraint on the source's formats:
/// the request is for all its participants together, so that what one refuses the source need not give.
pub(super) fn apply(request: &Request, exclusions: &[Exclusion]) -> Request {
    let mut limited = request.clone();
    let formats = candidates(request);
    let mut refused: BTreeMap<usize, Vec<&Exclusion>> = BTreeMap::new();
    for exclusion in exclusions {
        let is_of_this_size = exclusion
            .scope
            .extent
            .is_none_or(|extent| extent == request.extent);
        let source = limited
            .sources
            .iter_mut()
            .find(|source| source.id == exclusion.source);
        let (true, Some(source)) = (is_of_this_size, source) else {
            continue;
        };
        let refuser = exclusion.participant.as_ref().and_then(|name| {
            request
                .participants
                .iter()
                .position(|participant| participant.name == *name)
        });
        if let Some(place) = refuser {
            let participant = request.participants.get(place);
            if participant.is_some_and(|one| is_whole(one, source, &exclusion.scope, &formats)) {
                refused.entry(place).or_default().push(exclusion);
                continue;
            }
        }
        let left: FormatSet = formats
            .iter()
            .copied()
            .filter(|format| gives(source, *format))
            .filter(|format| !exclusion.scope.covers_format(*format))
            .collect();
        source.constraints.formats = Some(left);
    }
    for (place, exclusions) in refused {
        if let Some(participant) = limited.participants.get_mut(place) {
            refuse(participant, &request.sources, &exclusions);
        }
    }
    limited
}

/// Returns whether a source gives a format, as far as it says.
fn gives(source: &Source, format: FormatModifier) -> bool {
    source
        .constraints
        .formats
        .as_ref()
        .is_none_or(|given| given.contains(format))
}

/// Returns whether a scope holds every format that a participant imports, which it then does not from this source.
fn is_whole(
    participant: &Participant,
    source: &Source,
    scope: &Scope,
    candidates: &[FormatModifier],
) -> bool {
    let all = match &participant.constraints.formats {
        Some(own) => own.iter().all(|format| scope.covers_format(format)),
        None => candidates.iter().all(|format| scope.covers_format(*format)),
    };
    all && participant.role.imports() && !source.is_of(&participant.device)
}

/// Takes sources from those whose memory a participant imports.
fn refuse(participant: &mut Participant, all: &[Source], exclusions: &[&Exclusion]) {
    let imports = &participant.constraints.memory.imports;
    let mut sources: BTreeSet<SourceId> = all
        .iter()
        .filter(|source| imports.takes(source, &participant.device))
        .map(|source| source.id.clone())
        .collect();
    let mut by_cause: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for exclusion in exclusions {
        // What is not taken anyway needs no second reason.
        if sources.remove(&exclusion.source) {
            by_cause
                .entry(&exclusion.cause)
                .or_default()
                .push(exclusion.source.as_str());
        }
    }
    if by_cause.is_empty() {
        return;
    }
    let reasons = by_cause
        .into_iter()
        .map(|(cause, sources)| format!("it refused memory of {} ({cause})", sources.join(", ")));
    let before = match imports {
        Imports::OnlyFrom { reason, .. } | Imports::Nothing { reason } => Some(reason.clone()),
        Imports::Any => None,
    };
    let reason = before
        .into_iter()
        .chain(reasons)
        .collect::<Vec<_>>()
        .join(", and ");
    participant.constraints.memory.imports = Imports::OnlyFrom {
        devices: BTreeSet::new(),
        sources,
        reason,
    };
}

/// Returns every pair that a plan of this request could be in.
fn candidates(request: &Request) -> Vec<FormatModifier> {
    let listed = request
        .participants
        .iter()
        .filter_map(|participant| participant.constraints.formats.as_ref());
    let mut pairs: BTreeSet<FormatModifier> = listed.flat_map(FormatSet::iter).collect();
    // Where nobody lists any, the request's wish is tried, or plain pixels.
    pairs.insert(FormatModifier::linear(
        request.preferred_fourcc.unwrap_or(Fourcc::XRGB8888),
    ));
    pairs.extend(
        request
            .sources
            .iter()
            .filter_map(|source| source.constraints.formats.as_ref())
            .flat_map(FormatSet::iter),
    );
    pairs.into_iter().collect()
}
