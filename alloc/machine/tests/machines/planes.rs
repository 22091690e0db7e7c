//! Tests of the planes of a card: which plane a plan uses, and which other planes would accept frames of the job.

use covalent_machine::{Job, Machine, MachineError};
use covalent_solver::constraint::{Constraints, FormatSet, Plane, PlaneKind, Role};
use covalent_solver::model::{Extent, FormatModifier, Fourcc};
use covalent_solver::solve::{Solution, solve};

/// Makes a machine with a decoder of NV12 and a card. Only the card's overlay plane shows NV12, up to a width of 4096 pixels.
fn machine() -> Machine {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/reports/19-a-plane-reads-what-the-gpu-cannot/machine.json"
    );
    let mut machine = Machine::from_json(&std::fs::read(path).unwrap()).unwrap();
    for declared in &mut machine.declared {
        declared.size = None;
    }
    let nv12 = FormatModifier::linear(Fourcc::NV12);
    edit(&mut machine, "rkvdec capture", |own| {
        own.formats = Some([nv12].into());
    });
    edit(&mut machine, "rockchip-drm primary plane", |own| {
        let rgb = |pair: &FormatModifier| *pair != nv12;
        let formats = own.formats.iter().flat_map(FormatSet::iter);
        own.formats = Some(formats.filter(rgb).collect());
    });
    edit(&mut machine, "rockchip-drm overlay plane", |own| {
        own.image.width.maximum = 4096;
    });
    machine
}

fn edit(machine: &mut Machine, name: &str, change: impl Fn(&mut Constraints)) {
    let declared = machine.declared.iter_mut();
    let mut all = declared.flat_map(|declared| &mut declared.participants);
    let found = all.find(|recorded| recorded.participant.name == name);
    found.unwrap().participant.for_each_choice(&change);
}

fn job(width: u32, height: u32) -> Job {
    let mut job = Job::new(Extent::new(width, height).unwrap(), 4);
    job.cameras.push("/dev/video0".into());
    job.displays.push("/dev/dri/card0".into());
    job
}

/// Solves a job. Returns the solution, the names of the participants, and the text about each plane that was not chosen.
fn solved(machine: &Machine, job: &Job) -> (Solution, Vec<String>, Vec<String>) {
    let resolved = machine.request(job).unwrap();
    let names = resolved.request.participants.iter();
    (
        solve(&resolved.request),
        names.map(|own| own.name.clone()).collect(),
        resolved.planes.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn plane_that_shows_the_picture_is_the_plans_and_no_other_is_named() {
    let (solution, names, planes) = solved(&machine(), &job(1920, 1080));
    assert!(matches!(solution, Solution::Share(_)));
    assert_eq!(names[1], "rockchip-drm overlay plane");
    assert_eq!(planes, Vec::<String>::new());
}

#[test]
fn plane_that_is_too_small_is_named_with_its_limit_where_there_is_no_plan() {
    let (solution, _, planes) = solved(&machine(), &job(8192, 4320));
    assert!(matches!(solution, Solution::Split(_)));
    // The cursor plane has none of the decoder's formats.
    assert_eq!(
        planes,
        [
            "rockchip-drm overlay plane takes NV12 in LINEAR from rkvdec capture but not 8192 pixels of width (at most 4096)"
        ]
    );
}

#[test]
fn plane_whose_memory_is_at_fault_is_named_with_its_demand() {
    let mut machine = machine();
    for name in ["rockchip-drm overlay plane", "rockchip-drm primary plane"] {
        edit(&mut machine, name, |own| {
            own.memory.permitted = Some([].into());
        });
    }
    edit(&mut machine, "rockchip-drm primary plane", |own| {
        own.formats = Some([FormatModifier::linear(Fourcc::NV12)].into());
    });
    let (solution, names, planes) = solved(&machine, &job(1920, 1080));
    assert!(matches!(solution, Solution::Split(_)));
    let other = if names[1] == "rockchip-drm primary plane" {
        "rockchip-drm overlay plane"
    } else {
        "rockchip-drm primary plane"
    };
    assert_eq!(
        planes,
        [format!(
            "{other} takes NV12 in LINEAR from rkvdec capture but it permits no source"
        )]
    );
}

#[test]
fn plane_that_could_share_without_the_others_is_listed() {
    let mut machine = machine();
    edit(&mut machine, "rockchip-drm primary plane", |own| {
        own.formats = Some([FormatModifier::linear(Fourcc::NV12)].into());
    });
    edit(&mut machine, "panfrost GBM", |own| {
        own.formats = Some([FormatModifier::linear(Fourcc::XRGB8888)].into());
    });
    let mut job = job(1920, 1080);
    job.gbm.push("/dev/dri/renderD128".into());
    let (solution, names, planes) = solved(&machine, &job);
    assert!(matches!(solution, Solution::Split(_)));
    assert_eq!(names[1], "rockchip-drm primary plane");
    assert_eq!(
        planes,
        [
            "rockchip-drm overlay plane takes NV12 in LINEAR from rkvdec capture, and the two could share a buffer without the other participants"
        ]
    );
}

#[test]
fn card_that_is_named_twice_gets_a_plane_on_each_output() {
    let mut machine = machine();
    let declared = machine.declared.iter_mut();
    let all = declared.flat_map(|declared| &mut declared.participants);
    let planes = all.filter(|recorded| recorded.participant.role == Role::Display);
    for (recorded, (id, possible_crtcs)) in planes.zip([(31, 0b01), (32, 0b11), (33, 0b10)]) {
        let own = &mut recorded.participant;
        let kind = own.plane.map_or(PlaneKind::Overlay, |plane| plane.kind);
        own.plane = Some(Plane {
            kind,
            id: Some(id),
            possible_crtcs,
        });
        own.for_each_choice(|choice| {
            choice.formats = Some([FormatModifier::linear(Fourcc::NV12)].into());
        });
    }
    let mut job = job(1920, 1080);
    job.displays.push("/dev/dri/card0".into());
    let (solution, names, _) = solved(&machine, &job);
    assert!(matches!(solution, Solution::Share(_)));
    assert_eq!(
        names[1..3],
        ["rockchip-drm primary plane", "rockchip-drm overlay plane"]
    );
    job.displays.push("/dev/dri/card0".into());
    let error = machine.request(&job).map(|_| ()).unwrap_err();
    assert!(matches!(error, MachineError::TooManyDisplays(_)), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("3 displays of rockchip-drm at"), "{text}");
}
