//! Tests of each pair of a participant and a source of a recorded guest. `covalent matrix` solves thousands of such pairs.

use covalent_machine::trial_results::{pair, plan_of, without_other_formats};
use covalent_solver::model::{Extent, FormatModifier, Fourcc};
use covalent_solver::solve::{Request, Solution, solve, solve_shared};

use crate::recordings;

/// Calls `check` with the request of every pair, in three formats.
fn for_each_pair(mut check: impl FnMut(&Request, FormatModifier)) {
    let machine = recordings::read("guest-virtio");
    let declared = machine.declared.first().unwrap();
    let size = Extent::new(640, 480).unwrap();
    for source in &declared.sources {
        for participant in &declared.participants {
            for fourcc in [Fourcc::XRGB8888, Fourcc::NV12, Fourcc::YUYV] {
                let format = FormatModifier::linear(fourcc);
                let request = pair(&participant.participant, &source.source, format, size);
                check(&request, format);
            }
        }
    }
}

#[test]
fn shared_solution_of_a_pair_is_that_of_the_whole_solver() {
    let (mut plans, mut splits) = (0, 0);
    for_each_pair(|request, _| match (solve_shared(request), solve(request)) {
        (Ok(plan), Solution::Share(expected)) => {
            assert_eq!(plan, expected);
            plans += 1;
        }
        (Err(rejections), Solution::Split(split)) => {
            assert_eq!(rejections, split.rejections());
            splits += 1;
        }
        (shared, solution) => panic!("{shared:?}, and {solution}"),
    });
    assert!(plans > 50 && splits > 50, "{plans} plans, {splits} splits");
}

#[test]
fn request_without_other_formats_is_shorter_and_has_the_same_plan() {
    let length = |request: &Request| serde_json::to_string(request).unwrap().len();
    let (mut whole, mut short) = (0, 0);
    for_each_pair(|request, format| {
        let Some(plan) = plan_of(request) else { return };
        let small = without_other_formats(request, format.fourcc);
        assert_eq!(plan_of(&small), Some(plan));
        whole += length(request);
        short += length(&small);
    });
    assert!(short * 3 < whole, "{short} of {whole} bytes");
}
