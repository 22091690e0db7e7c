//! The usual jobs on each board, their expected plans (golden plans), and the value of the recording that decides each plan.

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
mod usual_jobs;

use std::collections::BTreeSet;

use covalent_machine::{Difference, Job, Machine};
use covalent_solver::model::Extent;
use covalent_solver::solve::{Solution, solve};
use serde_json::{Value, json};

use crate::recordings::read;

/// A job on a board, and the value of the recording that decides its plan.
pub(crate) struct Golden {
    pub(crate) board: &'static str,
    pub(crate) name: &'static str,
    job: fn(&mut Job),
    /// Removes the deciding value from the recording.
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

/// The jobs of all boards. The deciding value of a plan is, for example, the existence of a source, a guarantee of contiguous
/// memory, a modifier that a device accepts, or a stride alignment.
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

/// Returns the fields of a solution that a value may decide. For a plan these are source, format, modifiers, layout and verdict.
/// For a split these are groups, copied bytes and conflict.
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
fn job_on_each_board_has_the_expected_plan() {
    for golden in all() {
        let resolved = read(golden.board).request(&job(golden)).unwrap();
        let solution = solve(&resolved.request);
        let mut text = solution.explain();
        for value in resolved.unverified(&solution) {
            text.push_str(&format!("not known about this machine: {value}\n"));
        }
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("{}__{}", golden.board, golden.name), text);
        });
    }
}

/// Returns the differences between two solutions, one line each: the values of a field before and after, or the items that were
/// removed from a list or added to it.
fn changes(before: &Solution, after: &Solution) -> String {
    let (Value::Object(mut before), Value::Object(mut after)) = (outcome(before), outcome(after))
    else {
        panic!("an outcome is an object")
    };
    // The explanation follows from the other fields, and also names the source of the copy. It is compared only if the other
    // fields are equal.
    let explanations = [&mut before, &mut after].map(|outcome| outcome.remove("explanation"));
    if before == after {
        for (outcome, explanation) in [&mut before, &mut after].into_iter().zip(explanations) {
            outcome.insert("explanation".to_owned(), explanation.unwrap_or_default());
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
            // One solution is a plan and the other is a split, so their fields differ. Every field of the second solution is
            // listed.
            (None, Some(new)) => text.push_str(&format!("  {name}: {}\n", line(new))),
            _ => {}
        }
    }
    text
}

/// Returns a value as one line, a string without quotes.
fn line(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

/// Returns the first value of a participant or a source that differs, and the number of further values that differ.
fn removed_value(difference: &Difference) -> String {
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

/// For each job, the snapshot lists the value that is removed and how each field of the plan changes.
#[test]
fn plan_without_the_value_that_decides_it_changes_as_expected() {
    let mut text = String::new();
    for golden in all() {
        let name = format!("{} {}", golden.board, golden.name);
        let whole = read(golden.board);
        let before = solve(&whole.request(&job(golden)).unwrap().request);
        let mut machine = whole.clone();
        (golden.without)(&mut machine);
        let after = solve(&machine.request(&job(golden)).unwrap().request);
        let changed = changes(&before, &after);
        assert!(
            !changed.is_empty(),
            "{name} does not depend on the removed value"
        );
        if let Solution::Split(split) = &after {
            assert!(
                !split.conflict().is_empty(),
                "{name} splits without a conflict"
            );
        }
        let removed = removed_value(&Difference::between(&whole, &machine));
        let shared = |solution: &Solution| matches!(solution, Solution::Share(_));
        let ending = match (shared(&before), shared(&after)) {
            (true, true) => "shares another buffer:",
            (true, false) => "copies:",
            (false, true) => "shares a buffer after all:",
            (false, false) => "copies otherwise:",
        };
        text.push_str(&format!(
            "{name}\n  without: {removed}\n  {ending}\n{changed}\n"
        ));
    }
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("deciding_values", text);
    });
}
