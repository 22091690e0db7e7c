//! Tests of the names by which a job selects devices of a recording.

use covalent_machine::{Difference, Job, MachineError};
use covalent_solver::constraint::Role;
use covalent_solver::model::{Extent, FormatModifier, Fourcc};

use crate::recordings::read;

#[test]
fn gbm_of_a_card_is_found_by_either_of_its_nodes() {
    // The first card of this guest has a render node, so GBM uses the render node.
    let machine = read("guest-venus");
    let size = Extent::new(640, 480).unwrap();
    for node in ["/dev/dri/card0", "/dev/dri/renderD128", "virtio_gpu GBM"] {
        let mut job = Job::new(size, 4);
        job.gbm.push(node.into());
        let resolved = machine.request(&job).unwrap();
        assert_eq!(
            resolved.request.participants[0].name, "virtio_gpu GBM",
            "{node}"
        );
    }
}

#[test]
fn camera_that_lists_no_formats_is_limited_to_the_linear_format_of_the_job() {
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
    let resolved = machine.request(&job).unwrap();
    let formats = resolved.request.participants[0]
        .constraints()
        .formats
        .as_ref();
    let linear = [FormatModifier::linear(Fourcc::NV12)];
    assert!(formats.unwrap().iter().eq(linear));
}

#[test]
fn plan_for_an_ambiguous_camera_is_compared_as_not_known() {
    let one = read("raspberry-pi-4");
    let mut two = one.clone();
    for declared in &mut two.declared {
        let cameras = declared.participants.iter();
        let cameras = cameras.filter(|recorded| recorded.participant.role == Role::Capture);
        let mut copies: Vec<_> = cameras.cloned().collect();
        for recorded in &mut copies {
            recorded.participant.name.push_str(" again");
        }
        declared.participants.extend(copies);
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
fn unknown_or_ambiguous_device_is_an_error_that_lists_the_candidates() {
    let machine = read("raspberry-pi-4");
    let size = Extent::new(1920, 1080).unwrap();
    let error_of = |change: fn(&mut Job)| {
        let mut job = Job::new(size, 4);
        change(&mut job);
        machine.request(&job).map(|_| ()).unwrap_err().to_string()
    };
    let absent = error_of(|job| job.cameras.push("/dev/video7".into()));
    assert!(
        absent.contains("unicam capture (/dev/video0), bcm2835-isp capture (/dev/video14)"),
        "{absent}"
    );
    let ambiguous = error_of(|job| job.others.push("vc4".into()));
    assert!(
        ambiguous.contains("vc4 primary plane") && ambiguous.contains("vc4 overlay plane"),
        "{ambiguous}"
    );
    assert!(matches!(
        machine.request(&Job::new(size, 4)),
        Err(MachineError::NoParticipants)
    ));
    let mut other = Job::new(size, 4);
    other.cameras.push("/dev/video0".into());
    let guest = read("guest-virtio").request(&other);
    let unrecorded = guest.map(|_| ()).unwrap_err().to_string();
    assert!(
        unrecorded.contains("recorded at 640x480, and not at 1920x1080"),
        "{unrecorded}"
    );
}

#[test]
fn device_that_a_board_lacks_is_an_error_with_the_reason() {
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    job.cameras.push("/dev/video20".into());
    job.outputs.push("/dev/video11".into());
    let error = read("raspberry-pi-5")
        .request(&job)
        .map(|_| ())
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("there are: none; encoder is not available: the BCM2712 has no hardware"),
        "{message}"
    );
}

#[test]
fn planes_of_one_node_are_told_apart_by_their_names() {
    let machine = read("raspberry-pi-5");
    let plane = |machine: &covalent_machine::Machine| {
        let declared = machine.declared.iter();
        let all = declared.flat_map(|declared| &declared.participants);
        let mut planes = all.filter(|recorded| recorded.participant.role == Role::Display);
        planes.next().unwrap().participant.device.node.clone()
    };
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    job.others.push(plane(&machine));
    let error = machine.request(&job).unwrap_err().to_string();
    assert!(error.contains("vc4 overlay plane"), "{error}");
    assert!(error.ends_with("name one of them by its name"), "{error}");
}

#[test]
fn display_is_the_first_plane_of_the_card_that_can_show_the_buffer() {
    let machine = read("tegra-x1");
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    job.cameras.push("/dev/video0".into());
    job.displays.push("tegra".into());
    let shown = |machine: &covalent_machine::Machine| {
        let resolved = machine.request(&job).unwrap();
        resolved.request.participants[1].name.clone()
    };
    assert_eq!(shown(&machine), "tegra primary plane");
    let mut without = machine;
    for declared in &mut without.declared {
        for recorded in &mut declared.participants {
            if recorded.participant.name == "tegra primary plane" {
                recorded
                    .participant
                    .for_each_choice(|own| own.formats = Some([].into()));
            }
        }
    }
    assert_eq!(shown(&without), "tegra overlay plane");
}
