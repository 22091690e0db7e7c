//! Tests that explanations have a bounded length, and that `explain_all` has the complete text.

use covalent_solver::solve::{EXPLANATION_BYTES, EXPLANATION_LINES, Request, Solution, solve};
use covalent_solver::text::printable;

use crate::shapes;
use covalent_solver::constraint::{Contiguity, Imports, SourceId};
use covalent_solver_tests::common::{camera, display, request, system_heap};

fn is_bounded(text: &str) -> bool {
    text.len() <= EXPLANATION_BYTES && text.lines().count() <= EXPLANATION_LINES
}

#[test]
fn explanation_of_256_sources_counts_those_that_it_leaves_out() {
    let solution = solve(&shapes::sources_named_by_each());
    let (short, all) = (solution.explain(), solution.explain_all());
    assert!(is_bounded(&short), "{} bytes", short.len());
    let texts = short
        .lines()
        .filter(|line| line.starts_with("not heap"))
        .count();
    let more = format!("… and {} more sources", 256 - texts);
    assert!(short.contains(&more), "{short}");
    assert!(short.ends_with("`covalent plan --all-reasons` and `explain_all` give all of it\n"));
    assert_eq!(
        all.lines()
            .filter(|line| line.starts_with("not heap"))
            .count(),
        256
    );
    // Each list begins like the complete list.
    let is_of_both =
        |line: &str| line.contains('…') || line.starts_with("this explanation is shortened");
    for line in short.lines().filter(|line| !is_of_both(line)) {
        assert!(all.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn explanation_of_many_participants_names_a_few_and_counts_the_rest() {
    let solution = solve(&shapes::alternating(200));
    let short = solution.explain();
    assert!(is_bounded(&short));
    assert!(short.contains("device 0 and "), "{short}");
    assert!(short.contains(" and 84 more"), "{short}");
    let all = solution.explain_all();
    assert!((0..200).all(|number| all.contains(&format!("device {number} "))));
}

#[test]
fn explanation_of_long_names_has_short_lines() {
    let solution = solve(&shapes::long_names());
    let short = solution.explain();
    assert!(is_bounded(&short), "{} bytes", short.len());
    assert!(short.contains("bytes more)"), "{short}");
}

#[test]
fn rejection_of_each_source_is_bounded_in_data_too() {
    let Solution::Split(split) = solve(&shapes::permitted_lists()) else {
        panic!("none of those sources is there")
    };
    assert_eq!(split.rejections().len(), 256);
    for rejection in split.rejections() {
        assert!(
            rejection.words.len() < 5000,
            "{} bytes",
            rejection.words.len()
        );
    }
    for demand in split.conflict().iter().chain(split.relaxed()) {
        assert!(demand.words.len() < 5000, "{} bytes", demand.words.len());
    }
}

#[test]
fn handovers_of_many_participants_are_listed_up_to_a_bound() {
    let solution = solve(&shapes::writers_and_readers(400));
    let Solution::Share(plan) = &solution else {
        panic!("{}", solution.explain())
    };
    assert_eq!(plan.handovers().len(), 4096);
    let texts = plan.left_out().iter().map(ToString::to_string);
    assert!(
        texts
            .into_iter()
            .any(|words| words.contains("4096 of 40000 hand-overs"))
    );
}

#[test]
fn explanation_of_an_ordinary_request_is_complete() {
    let participants = vec![camera(Contiguity::Scattered), display("vkms")];
    let solution = solve(&request(participants, vec![system_heap(2)]));
    assert_eq!(solution.explain(), solution.explain_all());
}

/// Gives participants and sources names that would move the cursor, forge a line, or reverse the order of letters.
fn with_hostile_names(mut request: Request) -> Request {
    // Identifiers of sources are replaced too. The solution is the same except for names.
    let hostile = |id: &SourceId| SourceId::new(format!("{id}\n\u{200b}"));
    for (number, one) in request.participants.iter_mut().enumerate() {
        one.name = format!("one\nnot heap: forged \u{1b}[2J \u{202e}{number}");
        for own in one.choices_mut() {
            let memory = &mut own.memory;
            if let Some(permitted) = &mut memory.permitted {
                *permitted = permitted.iter().map(hostile).collect();
            }
            match &mut memory.imports {
                Imports::OnlyFrom {
                    sources, reason, ..
                } => {
                    *sources = sources.iter().map(hostile).collect();
                    reason.push_str("\r\u{9b}31m");
                }
                Imports::Nothing { reason } => reason.push_str("\r\u{9b}31m"),
                _ => {}
            }
        }
    }
    for (number, one) in request.sources.iter_mut().enumerate() {
        one.name = format!("heap\u{7}\nno single buffer meets {number}");
        one.id = hostile(&one.id);
    }
    request
}

#[test]
fn names_of_a_request_built_by_hand_are_printable_in_every_line() {
    let mut imports_nothing = shapes::alternating(5);
    imports_nothing.participants[3].for_each_choice(|own| {
        own.memory.imports = Imports::Nothing {
            reason: "it has no unit for that".to_owned(),
        }
    });
    for request in [
        shapes::alternating(3),
        shapes::alternating(200),
        shapes::agreeing(3),
        shapes::imports_chain(4),
        shapes::protection_alternates(4),
        shapes::conflict_of_many(3),
        shapes::strides_alternate(4),
        shapes::coherent(3),
        imports_nothing,
    ] {
        let plain = solve(&request);
        let solution = solve(&with_hostile_names(request));
        let count = |text: &str| text.lines().count();
        assert_eq!(
            count(&plain.explain_all()),
            count(&solution.explain_all()),
            "no name makes a line:\n{}\n{}",
            plain.explain_all(),
            solution.explain_all()
        );
        let mut texts = vec![solution.explain(), solution.explain_all()];
        if let Solution::Split(split) = &solution {
            texts.extend(split.relaxation().map(str::to_owned));
            texts.extend(split.conflict().iter().map(ToString::to_string));
            let plans = split
                .groups()
                .iter()
                .filter_map(|group| group.plan.as_ref());
            texts.extend(plans.flat_map(|plan| [plan.explain(), plan.explain_all()]));
        }
        for line in texts.iter().flat_map(|text| text.split_terminator('\n')) {
            assert_eq!(printable(line), line);
        }
    }
}
