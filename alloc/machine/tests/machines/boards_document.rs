//! Tests that `docs/boards.md` lists the boards, the golden plan for each job, and the devices that each board lacks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use covalent_solver::solve::{Solution, solve};

use crate::golden;
use crate::recordings::{boards, read};

const HEAD: &str = "\
# Boards

The files in `tests/machines` describe boards and GPUs that the project has no access to. They were written from public facts. Each
value has its provenance beside it, and values that are not known are marked. `covalent plan --machine FILE` solves for such a file.

This page lists the plans for the usual jobs at 1920x1080. The whole plans are in `alloc/machine/tests/machines/snapshots`. A test
removes the value that decides each plan from the recording, and checks that the plan changes.

The column *unknown values* counts the values that a plan depends on and that the recording marks as not known. The plan is only as
certain as these values.
";

#[test]
fn boards_document_lists_every_board_with_its_plans_and_missing_devices() {
    let mut text = HEAD.to_owned();
    for board in boards() {
        let machine = read(&board);
        writeln!(
            text,
            "\n## {}\n\n`tests/machines/{board}.json`\n",
            machine.name
        )
        .unwrap();
        text.push_str("| job | plan | unknown values |\n| --- | --- | --- |\n");
        for golden in golden::all().filter(|golden| golden.board == board) {
            let resolved = machine.request(&golden::job(golden)).unwrap();
            let solution = solve(&resolved.request);
            let unknown = resolved.unverified(&solution).len();
            let (job, plan) = (title(golden.name), short(&solution));
            writeln!(text, "| {job} | {plan} | {unknown} |").unwrap();
        }
        let missing: Vec<_> = machine
            .declared
            .iter()
            .flat_map(|declared| &declared.missing)
            .collect();
        if !missing.is_empty() {
            text.push('\n');
        }
        for missing in missing {
            writeln!(text, "- No {}: {}.", missing.name, missing.reason).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/boards.md");
    if std::env::var_os("UPDATE_BOARDS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "docs/boards.md is out of date; UPDATE_BOARDS=1 writes it anew"
    );
}

fn title(job: &str) -> String {
    let words = job.split('_').map(|word| match word {
        "gpu" => "GPU",
        "gl" => "GL",
        "vulkan" => "Vulkan",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn short(solution: &Solution) -> String {
    match solution {
        Solution::Share(plan) => {
            let format = plan.layout().format();
            let modifiers = match plan.modifiers() {
                [] | [_] => format!("{}", format.modifier),
                several => format!("one of {} modifiers", several.len()),
            };
            format!(
                "{}, {modifiers}, from {}",
                format.fourcc,
                plan.source_name()
            )
        }
        Solution::Split(split) => {
            let conflict = split.conflict().iter();
            let owners: BTreeSet<&str> = conflict.map(|demand| demand.owner.as_str()).collect();
            let owners: Vec<&str> = owners.into_iter().collect();
            format!(
                "copies {} bytes a frame: no single buffer meets the constraints of {}",
                split.copied_bytes_per_frame(),
                owners.join(" and ")
            )
        }
    }
}
