//! Tests that a participant is identified by its fields and not by its name, which is only displayed.

use covalent_alloc::constraint::{Plane, PlaneKind};
use covalent_alloc::machine::{Declared, Job, Machine, RecordedParticipant};
use covalent_alloc::trial::{Interface, ParticipantSelector};

use super::*;

fn named(name: &str, interface: Option<Interface>) -> Participant {
    let mut participant = Participant::new(name, device("vkms"), Role::Import);
    participant.interface = interface;
    participant
}

#[test]
fn interface_of_a_participant_does_not_depend_on_its_name() {
    for name in ["vkms GBM", "vkms image", "my renderer (GBM)", ""] {
        assert_eq!(
            Interface::of(&named(name, None)),
            Interface::Kernel,
            "{name}"
        );
        for interface in [Interface::Kernel, Interface::Gbm, Interface::Vulkan] {
            let participant = named(name, Some(interface));
            assert_eq!(Interface::of(&participant), interface, "{name}");
            let selector = ParticipantSelector::of(&participant);
            assert!(selector.matches(&participant), "{name}");
            assert!(
                !selector.matches(&named(name, Some(Interface::Gbm)))
                    || interface == Interface::Gbm
            );
        }
    }
}

#[test]
fn participant_without_interface_and_plane_is_written_without_these_fields() {
    let mut participant = named("vkms import", None);
    let text = serde_json::to_string(&participant).unwrap();
    assert!(
        !text.contains("\"interface\"") && !text.contains("\"plane\""),
        "{text}"
    );
    participant.interface = Some(Interface::Kernel);
    participant.plane = Some(Plane {
        kind: PlaneKind::Primary,
        id: None,
        possible_crtcs: 0,
    });
    let text = serde_json::to_string(&participant).unwrap();
    let again: Participant = serde_json::from_str(&text).unwrap();
    assert_eq!(again, participant);
    // A field with its default value does not count as a field of a newer version.
    assert!(again.extra_fields.required().is_empty());
}

fn machine(participants: Vec<Participant>) -> Vec<u8> {
    let mut machine = Machine::new("machine", "a test");
    machine.declared.push(Declared {
        participants: participants
            .into_iter()
            .map(RecordedParticipant::measured)
            .collect(),
        ..Declared::default()
    });
    machine.to_json().unwrap().into_bytes()
}

#[test]
fn interface_is_derived_from_the_name_only_in_files_without_the_field() {
    let old = Machine::from_json(&machine(vec![named("vkms GBM", None)])).unwrap();
    let recorded = &old.declared[0].participants[0];
    assert_eq!(Interface::of(&recorded.to_participant()), Interface::Gbm);
    // The recorded participant itself is unchanged.
    assert_eq!(recorded.participant.interface, None);
    let new = machine(vec![
        named("vkms GBM", Some(Interface::Kernel)),
        named("my renderer (GBM)", Some(Interface::Gbm)),
    ]);
    let new = Machine::from_json(&new).unwrap();
    let read: Vec<_> = new.declared[0]
        .participants
        .iter()
        .map(|recorded| Interface::of(&recorded.to_participant()))
        .collect();
    assert_eq!(read, [Interface::Kernel, Interface::Gbm]);
    // In a request that names devices, the GBM participant of a card is found by its interface.
    let mut job = Job::new(vga(), 1);
    job.gbm = vec!["/dev/vkms".to_owned()];
    let request = new.request(&job).unwrap().request;
    assert_eq!(request.participants[0].name, "my renderer (GBM)");
}

#[test]
fn display_of_a_card_is_its_primary_plane_whatever_its_name() {
    let plane = |name: &str, kind| {
        let mut participant = Participant::new(name, device("vkms"), Role::Display);
        participant.plane = Some(Plane {
            kind,
            id: Some(1),
            possible_crtcs: 0,
        });
        participant
    };
    let bytes = machine(vec![
        plane("vkms primary of mine", PlaneKind::Overlay),
        plane("left screen", PlaneKind::Primary),
    ]);
    let mut job = Job::new(vga(), 1);
    job.displays = vec!["/dev/vkms".to_owned()];
    let request = Machine::from_json(&bytes)
        .unwrap()
        .request(&job)
        .unwrap()
        .request;
    assert_eq!(request.participants[0].name, "left screen");
}
