//! How devices of a recording are called.

use covalent_machine::{Difference, Job, MachineError};
use covalent_solver::constraint::Role;
use covalent_solver::model::{Extent, FormatModifier, Fourcc};

use crate::recorded::read;

#[test]
fn gbm_of_a_card_is_found_by_either_of_its_nodes() {
    // GBM of this guest's first card is on the render node, as the card has one.
    let machine = read("guest-venus");
    let size = Extent::new(640, 480).unwrap();
    for node in ["/dev/dri/card0", "/dev/dri/renderD128", "virtio_gpu GBM"] {
        let mut job = Job::new(size, 4);
        job.gbm.push(node.into());
        let asked = machine.request(&job).unwrap();
        assert_eq!(
            asked.request.participants[0].name, "virtio_gpu GBM",
            "{node}"
        );
    }
}

#[test]
fn camera_that_lists_no_formats_is_asked_for_rows_of_one() {
    let mut machine = read("raspberry-pi-4");
    for declared in &mut machine.declared {
        for recorded in &mut declared.participants {
            recorded
                .participant
                .for_each_choice(|own| own.formats = None);
        }
    }
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    job.cameras.push("/dev/video0".into());
    job.format = Some(Fourcc::NV12);
    let asked = machine.request(&job).unwrap();
    let formats = asked.request.participants[0].constraints().formats.as_ref();
    let rows = [FormatModifier::linear(Fourcc::NV12)];
    assert!(formats.unwrap().iter().eq(rows));
}

#[test]
fn plan_of_a_camera_that_may_be_several_is_not_known_rather_than_not_there() {
    let one = read("raspberry-pi-4");
    let mut two = one.clone();
    for declared in &mut two.declared {
        let cameras = declared.participants.iter();
        let cameras = cameras.filter(|recorded| recorded.participant.role == Role::Capture);
        let mut again: Vec<_> = cameras.cloned().collect();
        for recorded in &mut again {
            recorded.participant.name.push_str(" again");
        }
        declared.participants.extend(again);
    }
    let difference = Difference::between(&one, &two);
    let plans = difference.plans.iter().filter_map(|plan| plan.two.as_ref());
    let plans: Vec<_> = plans.collect();
    assert!(!plans.is_empty());
    for plan in plans {
        assert!(plan.starts_with("not known: "), "{plan}");
    }
}

#[test]
fn device_that_is_not_there_or_may_be_several_is_told() {
    let machine = read("raspberry-pi-4");
    let size = Extent::new(1920, 1080).unwrap();
    let ask = |change: fn(&mut Job)| {
        let mut job = Job::new(size, 4);
        change(&mut job);
        machine.request(&job).map(|_| ()).unwrap_err().to_string()
    };
    let absent = ask(|job| job.cameras.push("/dev/video7".into()));
    assert!(
        absent.contains("unicam capture (/dev/video0), rpi-hevc-dec capture (/dev/video19)"),
        "{absent}"
    );
    let several = ask(|job| job.others.push("vc4".into()));
    assert!(
        several.contains("vc4 primary plane") && several.contains("vc4 overlay plane"),
        "{several}"
    );
    assert!(matches!(
        machine.request(&Job::new(size, 4)),
        Err(MachineError::NobodyNamed)
    ));
    let mut other = Job::new(Extent::new(640, 480).unwrap(), 4);
    other.cameras.push("unicam".into());
    let unrecorded = machine.request(&other).map(|_| ()).unwrap_err().to_string();
    assert!(
        unrecorded.contains("recorded at 1920x1080, and not at 640x480"),
        "{unrecorded}"
    );
}

#[test]
fn device_that_a_board_lacks_is_told_with_the_reason() {
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    job.cameras.push("/dev/video20".into());
    job.outputs.push("/dev/video11".into());
    let lacking = read("raspberry-pi-5")
        .request(&job)
        .map(|_| ())
        .unwrap_err();
    let words = lacking.to_string();
    assert!(
        words.contains("there are: none; encoder could not be asked: the BCM2712 has no hardware"),
        "{words}"
    );
}
