//! Checks the three usual jobs: each board has a golden plan for the job, or lists the device that it lacks, with the provenance.

use std::collections::BTreeSet;

use covalent_machine::{Job, Machine, MissingDevice, Provenance};
use covalent_solver::constraint::Role;
use covalent_solver::model::Extent;

use super::all;
use crate::provenance::assert_can_be_looked_up;
use crate::recordings::{boards, read};

/// The usual jobs. Each entry lists the devices that the job needs in addition to a display, with the names of [`MissingDevice`].
const USUAL: [(&str, &[&str]); 3] = [
    ("camera_to_display", &["camera"]),
    ("camera_to_encoder_and_display", &["camera", "encoder"]),
    ("decoder_to_gpu_and_display", &["decoder"]),
];

fn missing(machine: &Machine) -> impl Iterator<Item = &MissingDevice> {
    machine
        .declared
        .iter()
        .flat_map(|declared| &declared.missing)
}

#[test]
fn board_has_a_plan_for_each_usual_job_or_lists_the_device_that_it_lacks() {
    for board in boards() {
        let machine = read(&board);
        let missing: BTreeSet<&str> = missing(&machine)
            .map(|missing| missing.name.as_str())
            .collect();
        for (job, needs) in USUAL {
            let has_plan = all().any(|golden| golden.board == board && golden.name == job);
            let lacked = needs.iter().find(|need| missing.contains(**need));
            match (has_plan, lacked) {
                (true, None) | (false, Some(_)) => {}
                (true, Some(need)) => {
                    panic!("{board} has a plan for {job}, and lists {need} as missing")
                }
                (false, None) => {
                    panic!("{board} has no plan for {job}, and lists no missing device for it")
                }
            }
        }
        let plans = all().filter(|golden| golden.board == board).count();
        assert!(plans >= 2, "{board} has {plans} golden plans");
    }
}

#[test]
fn missing_device_of_a_board_has_a_provenance_and_no_declaration() {
    let mut count = 0;
    for board in boards() {
        let machine = read(&board);
        for missing in missing(&machine) {
            let name = &missing.name;
            count += 1;
            match &missing.provenance {
                Some(Provenance::Measured) | None => {
                    panic!("{board}: the reason why {name} is missing has no provenance")
                }
                Some(provenance) => {
                    assert_can_be_looked_up(&format!("{board}, {name}"), provenance);
                }
            }
            // A job that names the missing device fails with the reason.
            let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
            match name.as_str() {
                "encoder" => job.outputs.push(name.clone()),
                _ => job.cameras.push(name.clone()),
            }
            let error = machine.request(&job).unwrap_err().to_string();
            let expected = format!("{name} is not available: {}", missing.reason);
            assert!(error.contains(&expected), "{board}, {name}: {error}");
            assert!(
                USUAL
                    .iter()
                    .any(|(_, needs)| needs.contains(&name.as_str())),
                "{board} lacks {name}, which no usual job needs"
            );
            // A device that has a declaration must not be listed as missing.
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
            assert!(
                !is_there,
                "{board} declares the {name} that it lists as missing"
            );
        }
    }
    assert!(count > 0);
}
