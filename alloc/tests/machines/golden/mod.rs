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

use covalent_alloc::machine::{Difference, Job, Machine};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::{Solution, solve};
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
            "explanation": split.explain(),
        }),
        other => panic!("{other:?}"),
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

#[test]
fn golden_plan_changes_or_splits_without_the_fact_that_decides_it() {
    for golden in all() {
        let name = format!("{} {}", golden.board, golden.name);
        let before = solve(&read(golden.board).request(&job(golden)).unwrap().request);
        let mut machine = read(golden.board);
        (golden.without)(&mut machine);
        let after = solve(&machine.request(&job(golden)).unwrap().request);
        assert_ne!(outcome(&before), outcome(&after), "{name}");
        if let Solution::Split(split) = &after {
            assert!(
                !split.conflict().is_empty(),
                "{name} splits without a conflict"
            );
        }
        let difference = Difference::between(&read(golden.board), &machine);
        assert!(!difference.is_empty(), "{name}");
        assert!(!difference.explain().is_empty());
    }
}
