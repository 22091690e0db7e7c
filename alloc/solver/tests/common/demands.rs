//! Determines which of a request's demands can be met together.

use std::collections::BTreeSet;

use covalent_solver::constraint::{Demand, Field, Participant};
use covalent_solver::model::FormatModifier;
use covalent_solver::solve::{Request, candidates};

use super::exhaustive;

/// Returns whether a coded extent that is larger than the picture may be needed. Only then the inability to crop is a demand.
pub fn pads(request: &Request) -> bool {
    let choices = request.participants.iter().flat_map(Participant::choices);
    let mut all = choices.chain(request.sources.iter().map(|source| &source.constraints));
    all.any(|own| {
        let images = std::iter::once(&own.image).chain(own.per_fourcc.values());
        images
            .filter_map(|image| image.coded.as_ref())
            .any(|coded| {
                [&coded.width, &coded.height]
                    .iter()
                    .any(|side| side.minimum > 1 || side.multiple_of > 1)
                    || coded.x.minimum > 0
                    || coded.y.minimum > 0
            })
    })
}

/// Returns the request with only those demands for which `kept` returns true.
fn with_only(request: &Request, kept: impl Fn(&str, Field) -> bool) -> Request {
    let crops_always = !pads(request);
    let is_fixed = |field| field == Field::Crop && crops_always;
    let mut request = request.clone();
    for participant in &mut request.participants {
        for field in Field::ALL {
            if !is_fixed(field) && !kept(&participant.name, field) {
                participant.relax(field);
            }
        }
    }
    request
}

/// Returns a filter that keeps only these demands.
pub fn among(demands: &[Demand]) -> impl Fn(&str, Field) -> bool {
    let set: BTreeSet<(String, Field)> = demands
        .iter()
        .map(|demand| (demand.owner.clone(), demand.field))
        .collect();
    move |owner, field| set.contains(&(owner.to_owned(), field))
}

/// Determines whether some source meets some of a request's demands in a format in which the source may be proposed.
pub struct Feasibility<'a> {
    request: &'a Request,
    proposed: Vec<Option<BTreeSet<FormatModifier>>>,
}

impl<'a> Feasibility<'a> {
    /// Prepares a request.
    pub fn of(request: &'a Request) -> Self {
        Self {
            request,
            proposed: exhaustive::proposed(request),
        }
    }

    /// Returns whether some source meets the demands for which `kept` returns true.
    pub fn shares(&self, kept: impl Fn(&str, Field) -> bool) -> bool {
        let found = candidates(&with_only(self.request, kept));
        found.into_iter().any(|(id, format, _)| {
            let sources = self.request.sources.iter().zip(&self.proposed);
            sources
                .filter(|(source, _)| source.id == id)
                .any(|(_, proposed)| {
                    proposed
                        .as_ref()
                        .is_none_or(|pairs| pairs.contains(&format))
                })
        })
    }
}
