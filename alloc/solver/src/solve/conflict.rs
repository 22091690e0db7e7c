//! The search for the smallest set of demands that conflict, and for the cheapest demands to give up.

use super::demands::{Demands, without};
use super::feasibility::{FeasibilityCache, MAXIMUM_SEARCHES, cut_short};
use super::problem::{Problem, View};
use super::search;
use super::work::{LeftOut, MORE_WORK, Part, Phase};
use crate::constraint::Demand;

/// The reason why no source serves all participants.
pub(super) struct Conflict {
    /// An irreducible set of demands that no source meets together, in the order of demands.
    pub(super) demands: Vec<Demand>,
    /// Whether it is certain that no source meets all of these demands.
    pub(super) is_proven: bool,
    /// Whether the search for a smaller conflict, or for the demands to give up, was cut short.
    pub(super) is_cut_short: bool,
    /// The demands to give up. A source meets all other demands. They are in the order of demands.
    pub(super) relaxed: Vec<Demand>,
    /// The plan that meets all demands except those to give up.
    pub(super) relaxed_plan: Option<super::Plan>,
    /// What the search did not try.
    pub(super) left_out: Vec<LeftOut>,
}

/// Searches for the reason why no source serves all participants. The sets of demands in the result are empty if no source serves
/// the participants even without any demands.
///
/// `is_searched` states whether the preceding search for a plan tried every source, format and combination.
pub(super) fn conflict(problem: &Problem<'_>, is_searched: bool) -> Conflict {
    conflict_within(problem, is_searched, MAXIMUM_SEARCHES)
}

fn conflict_within(problem: &Problem<'_>, is_searched: bool, searches: usize) -> Conflict {
    problem.work.begin(Phase::Conflict);
    let everyone = problem.all_participants();
    let combinations: Vec<_> = problem.combinations(&everyone).collect();
    let view = View {
        members: &everyone,
        kept: None,
        cpu_copies: false,
    };
    let demands = Demands::new(
        problem,
        FeasibilityCache::new(problem, view, &combinations, searches),
    );
    let is_capped = problem.is_capped(&everyone);
    let ended_early = !is_searched && !is_capped;
    // If the search for a plan was cut short, a source may meet all demands.
    if ended_early
        && demands
            .feasibility
            .is_feasible(&demands.kept(&demands.all()))
            != Some(false)
    {
        let words =
            format!("{MORE_WORK}: it is not known which constraints conflict, or whether any do");
        return Conflict {
            demands: Vec::new(),
            is_proven: false,
            is_cut_short: true,
            relaxed: Vec::new(),
            relaxed_plan: None,
            left_out: vec![LeftOut::new(Part::Conflict, words)],
        };
    }
    let conflict = if demands.is_feasible(&[]) {
        // The first search is for any irreducible conflict. Its cached results answer most of the later feasibility checks.
        let mut any = demands.irreducible(&demands.all());
        any.sort_unstable();
        // With many participants it does not matter which of several conflicts of the same size is reported, so only a smaller
        // conflict is searched for.
        let up_to = any
            .len()
            .saturating_sub(usize::from(problem.has_many_participants()));
        demands.smallest(up_to).unwrap_or(any)
    } else {
        Vec::new()
    };
    let is_cut_short = demands.feasibility.is_spent();
    let is_proven = is_searched || ended_early || demands.is_proven(&conflict);
    problem.work.begin(Phase::Relaxation);
    demands.feasibility.allow_checks();
    let relaxed = demands.cheapest_relaxation(&conflict);
    let relaxed_plan = (!relaxed.is_empty()).then(|| {
        let kept = demands.kept(&without(&demands.all(), &relaxed));
        let view = View {
            kept: Some(&kept),
            ..view
        };
        search::best(problem, view, false).ok()
    });
    let relaxed_plan = relaxed_plan.flatten();
    let mut left_out = Vec::new();
    if demands.feasibility.left() == 0 {
        left_out.push(LeftOut::new(Part::Conflict, cut_short()));
    } else {
        if is_cut_short {
            let words = format!(
                "{MORE_WORK}: a smaller or a different set of constraints may conflict too"
            );
            left_out.push(LeftOut::new(Part::Conflict, words));
        }
        let is_whole = |plan: &super::Plan| {
            let left_out = plan.left_out().iter();
            left_out
                .into_iter()
                .all(|left| left.part != Part::Candidates)
        };
        let is_planned = relaxed.is_empty() || relaxed_plan.as_ref().is_some_and(is_whole);
        if demands.feasibility.is_spent() || !is_planned {
            let words =
                format!("{MORE_WORK}: there may be other constraints that are cheaper to remove");
            left_out.push(LeftOut::new(Part::Relaxation, words));
        }
    }
    // A relaxation is reported only together with a plan that proves that it is sufficient.
    let relaxed = match relaxed_plan {
        Some(_) => relaxed,
        None => Vec::new(),
    };
    Conflict {
        demands: demands.describe(&conflict),
        is_proven,
        is_cut_short: !left_out.is_empty(),
        relaxed: demands.describe(&relaxed),
        relaxed_plan,
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::{Constraints, Field, Participant, Role, Source, SourceId};
    use crate::model::{DeviceIdentity, Extent};
    use crate::solve::work::Work;
    use crate::solve::{BUDGET, Request, Solution, solve};

    /// Makes a request of three participants that never agree on a stride, with an alternative each, and a fourth participant
    /// without demands.
    fn request() -> Request {
        let mut request = Request::new(Extent::new(64, 4).unwrap());
        let heap = Source::new(SourceId::new("heap"), "heap");
        request.sources.push(heap);
        for (number, step) in [48, 80, 112, 1].into_iter().enumerate() {
            let device = DeviceIdentity {
                driver: "gpu".to_owned(),
                location: String::new(),
                node: String::new(),
            };
            let mut one = Participant::new(format!("device {number}"), device, Role::Import);
            let stepping = |step| {
                let mut own = Constraints::default();
                own.image.stride.alignment = step;
                own.image.stride.maximum = 1024;
                own.buffers_held = 1;
                own
            };
            one.set_choices(stepping(step), vec![stepping(step * 2)]);
            request.participants.push(one);
        }
        request
    }

    #[test]
    fn conflict_that_is_cut_short_after_any_search_is_still_a_conflict() {
        let request = request();
        let problem = Problem::new(
            &request,
            Work::new(BUDGET),
            &std::collections::BTreeMap::new(),
        )
        .unwrap();
        let whole = conflict_within(&problem, true, MAXIMUM_SEARCHES);
        assert!(!whole.is_cut_short && whole.demands.len() == 3 && whole.relaxed.len() == 1);
        let mut cut_short = 0;
        for searches in 0..200 {
            let found = conflict_within(&problem, true, searches);
            cut_short += usize::from(found.is_cut_short);
            let mut shown = request.clone();
            for participant in &mut shown.participants {
                for field in Field::ALL {
                    let is_told =
                        |demand: &Demand| demand.owner == participant.name && demand.field == field;
                    if !found.demands.iter().any(is_told) {
                        participant.relax(field);
                    }
                }
            }
            assert!(
                matches!(solve(&shown), Solution::Split(_)),
                "{searches} searches"
            );
            // A relaxation is reported only together with a plan.
            assert_eq!(found.relaxed.is_empty(), found.relaxed_plan.is_none());
        }
        assert!(
            (10..200).contains(&cut_short),
            "{cut_short} searches were cut short"
        );
        let nothing = conflict_within(&problem, true, 0);
        assert!(nothing.is_cut_short && nothing.demands.len() == 8 && nothing.relaxed.is_empty());
    }
}
