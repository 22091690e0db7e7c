//! `docs/boards.md` lists the boards, what each golden plan comes to, and what each board lacks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use covalent_solver::solve::{Solution, solve};

use crate::golden;
use crate::recorded::{boards, read};

const HEAD: &str = "\
# Boards

Machines that nobody here has, written down from public facts in `tests/machines`: where each value is from stands beside it, and so
does what nobody knows. `covalent plan --machine FILE` solves for them. These are the plans for the usual jobs, at 1920x1080; each is
kept whole in `alloc/machine/tests/machines/snapshots`, and a test takes the fact that decides it out of the recording and sees it change.

*Rests on* counts the values behind a plan of which the recording says that they are not known: the plan holds as far as they do.
";

#[test]
fn boards_and_their_plans_are_listed() {
    let mut text = HEAD.to_owned();
    for board in boards() {
        let machine = read(&board);
        writeln!(
            text,
            "\n## {}\n\n`tests/machines/{board}.json`\n",
            machine.name
        )
        .unwrap();
        text.push_str("| job | plan | rests on |\n| --- | --- | --- |\n");
        for golden in golden::all().filter(|golden| golden.board == board) {
            let asked = machine.request(&golden::job(golden)).unwrap();
            let solution = solve(&asked.request);
            let unknown = asked.unknown_of(&solution).len();
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
            writeln!(text, "- No {}: {}.", missing.name, missing.why).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/boards.md");
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
            let arrangements = match plan.modifiers() {
                [] | [_] => format!("{}", format.modifier),
                several => format!("one of {} arrangements", several.len()),
            };
            format!(
                "{}, {arrangements}, from {}",
                format.fourcc,
                plan.source_name()
            )
        }
        Solution::Split(split) => {
            let conflict = split.conflict().iter();
            let owners: BTreeSet<&str> = conflict.map(|demand| demand.owner.as_str()).collect();
            let owners: Vec<&str> = owners.into_iter().collect();
            format!(
                "copies {} bytes a frame: no buffer serves {}",
                split.copied_bytes_per_frame(),
                owners.join(" and ")
            )
        }
    }
}
