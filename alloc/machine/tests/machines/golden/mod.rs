//! The usual jobs on each board, the plans that are known of them, and the fact on which each plan hangs.

mod allwinner;
mod amd;
mod amlogic;
mod broadcom;
mod intel;
mod mediatek;
mod nvidia;
mod nxp;
mod qualcomm;
mod rockchip;
mod usual;

use std::collections::BTreeSet;

use covalent_machine::{Difference, Job, Machine};
use covalent_solver::model::Extent;
use covalent_solver::solve::{Solution, solve};
use serde_json::{Value, json};

use crate::recorded::read;

/// A job on a board, and the fact that decides its plan.
pub(crate) struct Golden {
    pub(crate) board: &'static str,
    pub(crate) name: &'static str,
    job: fn(&mut Job),
    /// Takes that fact out.
    without: fn(&mut Machine),
}

const fn golden(
    board: &'static str,
    name: &'static str,
    job: fn(&mut Job),
    without: fn(&mut Machine),
) -> Golden {
    Golden {
        board,
        name,
        job,
        without,
    }
}

/// Each with the fact without which it is another: that a source promises one piece or is there at all, that a device takes
/// an arrangement, that strides meet.
const GOLDEN: &[&[Golden]] = &[
    allwinner::GOLDEN,
    amd::GOLDEN,
    amlogic::GOLDEN,
    broadcom::GOLDEN,
    intel::GOLDEN,
    mediatek::GOLDEN,
    nvidia::GOLDEN,
    nxp::GOLDEN,
    qualcomm::GOLDEN,
    rockchip::GOLDEN,
];

pub(crate) fn all() -> impl Iterator<Item = &'static Golden> {
    GOLDEN.iter().copied().flatten()
}

pub(crate) fn job(golden: &Golden) -> Job {
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    (golden.job)(&mut job);
    job
}

/// What of a solution a fact decides: source, format, arrangements, layout and sureness; or the copies and the conflict.
fn outcome(solution: &Solution) -> Value {
    match solution {
        Solution::Share(plan) => json!({
            "source": plan.source().as_str(),
            "format": plan.layout().format().to_string(),
            "modifiers": plan.modifiers(),
            "memory": plan.layout().memory_sizes(),
            "verdict": format!("{:?}", plan.verdict()),
        }),
        Solution::Split(split) => json!({
            "groups": split.groups().len(),
            "copied": split.copied_bytes_per_frame(),
            "conflict": split.conflict().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "explanation": split.explain().lines().collect::<Vec<_>>(),
        }),
    }
}

#[test]
fn usual_jobs_on_each_board_have_the_plans_that_are_known() {
    for golden in all() {
        let asked = read(golden.board).request(&job(golden)).unwrap();
        let solution = solve(&asked.request);
        let mut text = solution.explain();
        for unsure in asked.unknown_of(&solution) {
            text.push_str(&format!("not known of this machine: {unsure}\n"));
        }
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{}__{}", golden.board, golden.name), text);
        });
    }
}

/// What becomes of a job without its fact, a line each: a field's value before and after, or what is listed no longer and anew.
fn changes(before: &Solution, after: &Solution) -> String {
    let (Value::Object(mut before), Value::Object(mut after)) = (outcome(before), outcome(after))
    else {
        panic!("an outcome is an object")
    };
    // The explanation follows from the others. Where they are the same it tells what else the copy is, such as its source.
    let told = [&mut before, &mut after].map(|outcome| outcome.remove("explanation"));
    if before == after {
        for (outcome, told) in [&mut before, &mut after].into_iter().zip(told) {
            outcome.insert("explanation".to_owned(), told.unwrap_or_default());
        }
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut text = String::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                for (word, list, other) in [("no longer", old, new), ("new", new, old)] {
                    for value in list.iter().filter(|value| !other.contains(value)) {
                        text.push_str(&format!("  {name}, {word}: {}\n", line(value)));
                    }
                }
            }
            (Some(old), Some(new)) if old != new => {
                text.push_str(&format!("  {name}: {} -> {}\n", line(old), line(new)));
            }
            // One of them shares and the other copies, and each tells all that it has.
            (None, Some(new)) => text.push_str(&format!("  {name}: {}\n", line(new))),
            _ => {}
        }
    }
    text
}

/// A value in one line, without the quotes of a word.
fn line(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

/// The first value of a participant or a source that differs, and how many more do.
fn fact(difference: &Difference) -> String {
    let explained = difference.explain();
    let mut values = explained
        .lines()
        .take_while(|line| !["Verdicts:", "Plans:"].contains(line))
        .filter(|line| line.starts_with(' '))
        .map(str::trim);
    let first: String = values.next().unwrap().chars().take(160).collect();
    match values.count() {
        0 => first,
        more => format!("{first}, and {more} values more"),
    }
}

/// The snapshot names, for each job, the fact that is taken out and the value that each decided field has without it.
#[test]
fn golden_plan_without_the_fact_that_decides_it_becomes_what_is_known() {
    let mut text = String::new();
    for golden in all() {
        let name = format!("{} {}", golden.board, golden.name);
        let whole = read(golden.board);
        let before = solve(&whole.request(&job(golden)).unwrap().request);
        let mut machine = whole.clone();
        (golden.without)(&mut machine);
        let after = solve(&machine.request(&job(golden)).unwrap().request);
        let changed = changes(&before, &after);
        assert!(!changed.is_empty(), "{name} does not hang on this fact");
        if let Solution::Split(split) = &after {
            assert!(
                !split.conflict().is_empty(),
                "{name} splits without a conflict"
            );
        }
        let fact = fact(&Difference::between(&whole, &machine));
        let shared = |solution: &Solution| matches!(solution, Solution::Share(_));
        let ending = match (shared(&before), shared(&after)) {
            (true, true) => "shares another buffer:",
            (true, false) => "copies:",
            (false, true) => "shares a buffer after all:",
            (false, false) => "copies otherwise:",
        };
        text.push_str(&format!(
            "{name}\n  without: {fact}\n  {ending}\n{changed}\n"
        ));
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("facts_that_decide", text);
    });
}
