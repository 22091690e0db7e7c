//! The three usual jobs: each board has a golden plan for each of them, or says what it lacks and how that is known.

use std::collections::BTreeSet;

use covalent_machine::{Job, Machine, Missing, Provenance};
use covalent_solver::constraint::Role;
use covalent_solver::model::Extent;

use super::all;
use crate::provenance::assert_can_be_looked_up;
use crate::recorded::{boards, read};

/// The usual jobs, and what each of them needs beside a display, by the names that [`Missing`] goes by.
const USUAL: [(&str, &[&str]); 3] = [
    ("camera_to_display", &["camera"]),
    ("camera_to_encoder_and_display", &["camera", "encoder"]),
    ("decoder_to_gpu_and_display", &["decoder"]),
];

fn missing(machine: &Machine) -> impl Iterator<Item = &Missing> {
    machine
        .declared
        .iter()
        .flat_map(|declared| &declared.missing)
}

#[test]
fn every_board_does_each_usual_job_or_says_what_it_lacks() {
    for board in boards() {
        let machine = read(&board);
        let lacks: BTreeSet<&str> = missing(&machine)
            .map(|missing| missing.name.as_str())
            .collect();
        for (job, needs) in USUAL {
            let is_done = all().any(|golden| golden.board == board && golden.name == job);
            let lacked = needs.iter().find(|need| lacks.contains(**need));
            match (is_done, lacked) {
                (true, None) | (false, Some(_)) => {}
                (true, Some(need)) => panic!("{board} does {job}, and says that it has no {need}"),
                (false, None) => panic!("{board} has no golden plan for {job}, and says not why"),
            }
        }
        let plans = all().filter(|golden| golden.board == board).count();
        assert!(plans >= 2, "{board} has {plans} golden plans");
    }
}

#[test]
fn what_a_board_lacks_is_known_from_somewhere_and_not_there() {
    let mut count = 0;
    for board in boards() {
        let machine = read(&board);
        for missing in missing(&machine) {
            let name = &missing.name;
            count += 1;
            match &missing.grounds {
                Some(Provenance::Measured) | None => panic!("{board}: nothing tells of its {name}"),
                Some(grounds) => assert_can_be_looked_up(&format!("{board}, {name}"), grounds),
            }
            // Who asks for it all the same is told why it is not there.
            let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
            match name.as_str() {
                "encoder" => job.outputs.push(name.clone()),
                _ => job.cameras.push(name.clone()),
            }
            let error = machine.request(&job).unwrap_err().to_string();
            let told = format!("{name} could not be asked: {}", missing.why);
            assert!(error.contains(&told), "{board}, {name}: {error}");
            assert!(
                USUAL
                    .iter()
                    .any(|(_, needs)| needs.contains(&name.as_str())),
                "{board} lacks {name}, which no usual job needs"
            );
            // An encoder that is recorded is not missing.
            let mut participants = machine
                .declared
                .iter()
                .flat_map(|declared| &declared.participants)
                .map(|recorded| &recorded.participant);
            let is_there = match name.as_str() {
                "encoder" => participants.any(|own| own.role == Role::Output),
                "decoder" => participants.any(|own| own.name.contains("dec")),
                _ => participants.any(|own| own.role == Role::Capture),
            };
            assert!(!is_there, "{board} has a {name} after all");
        }
    }
    assert!(count > 0);
}
