//! From what is known to be refused to constraints.

use std::collections::BTreeSet;

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
    /// Why, in words that end a sentence after "because".
    pub(super) reason: String,
}

/// Returns the request in which no plan takes what is excluded.
///
/// A pair that is excluded in every format becomes a constraint on whose memory the participant imports, so that the
/// solver names it and its reason. One that is excluded in some formats becomes a constraint on the source's formats:
/// the request is for all its participants together, so that what one refuses the source need not give.
pub(super) fn apply(request: &Request, exclusions: &[Exclusion]) -> Request {
    let mut limited = request.clone();
    let formats = candidates(request);
    for exclusion in exclusions {
        if exclusion
            .scope
            .extent
            .is_some_and(|extent| extent != request.extent)
        {
            continue;
        }
        let Some(source) = limited
            .sources
            .iter_mut()
            .find(|source| source.id == exclusion.source)
        else {
            continue;
        };
        let refuser = exclusion.participant.as_ref().and_then(|name| {
            limited
                .participants
                .iter_mut()
                .find(|participant| participant.name == *name)
        });
        match refuser {
            Some(participant)
                if is_whole(participant, &exclusion.scope, &formats)
                    && participant.role.imports()
                    && !source.is_of(&participant.device) =>
            {
                refuse(participant, source, &request.sources, &exclusion.reason);
            }
            _ => {
                let left: FormatSet = formats
                    .iter()
                    .copied()
                    .filter(|format| {
                        source
                            .constraints
                            .formats
                            .as_ref()
                            .is_none_or(|given| given.contains(*format))
                    })
                    .filter(|format| !exclusion.scope.covers_format(*format))
                    .collect();
                source.constraints.formats = Some(left);
            }
        }
    }
    limited
}

/// Returns whether a scope holds every format that a participant takes.
fn is_whole(participant: &Participant, scope: &Scope, candidates: &[FormatModifier]) -> bool {
    match &participant.constraints.formats {
        Some(own) => own.iter().all(|format| scope.covers_format(format)),
        None => candidates.iter().all(|format| scope.covers_format(*format)),
    }
}

/// Takes one source from those whose memory a participant imports.
fn refuse(participant: &mut Participant, source: &Source, all: &[Source], reason: &str) {
    let imports = &participant.constraints.memory.imports;
    let (before, sources): (Option<&str>, BTreeSet<SourceId>) = match imports {
        Imports::Nothing { .. } => return,
        Imports::Any => (None, others(all, source, |_| true)),
        Imports::OnlyFrom { reason, .. } => (
            Some(reason.as_str()),
            others(all, source, |other| {
                imports.takes(other, &participant.device)
            }),
        ),
    };
    participant.constraints.memory.imports = Imports::OnlyFrom {
        devices: BTreeSet::new(),
        sources,
        reason: match before {
            Some(before) => format!("{before}, and {reason}"),
            None => reason.to_owned(),
        },
    };
}

fn others(all: &[Source], source: &Source, taken: impl Fn(&Source) -> bool) -> BTreeSet<SourceId> {
    all.iter()
        .filter(|other| other.id != source.id && taken(other))
        .map(|other| other.id.clone())
        .collect()
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
