//! Determines the interface and the plane of participants in old files, which lack these two fields.
//!
//! A file of version 1 may lack the fields `interface` and `plane` of a participant. In such a file the participant's name states
//! both: the driver, followed by `GBM`, `image`, `primary plane` and so on. Names are parsed only for participants of a file that
//! have neither field. The result is set on the participants of a request and not in the [`Machine`](crate::Machine), so that a
//! file is written again as it was read.

use covalent_solver::constraint::{Interface, Participant, Plane, PlaneKind, Role};

/// Returns the interface of a participant of a file; the kernel's own interface if neither the field nor the name states one.
pub(super) fn interface_of(participant: &Participant) -> Interface {
    let (by_name, _) = read_name(participant);
    participant.interface.or(by_name).unwrap_or_default()
}

/// Returns the kind of plane that a participant of a file is; `None` if neither the field nor the name states it.
pub(super) fn plane_kind(participant: &Participant) -> Option<PlaneKind> {
    let (_, by_name) = read_name(participant);
    participant.plane.or(by_name).map(|plane| plane.kind)
}

/// Sets the interface and the plane of a participant if only its name states them.
pub(super) fn fill_in(participant: &mut Participant) {
    let (interface, plane) = read_name(participant);
    participant.interface = participant.interface.or(interface);
    participant.plane = participant.plane.or(plane);
}

/// Returns the interface and the plane that a participant's name states. Both are `None` if either field is set.
fn read_name(participant: &Participant) -> (Option<Interface>, Option<Plane>) {
    if participant.interface.is_some() || participant.plane.is_some() {
        return (None, None);
    }
    let rest = participant.name.strip_prefix(&participant.device.driver);
    let Some(mut words) = rest
        .and_then(|rest| rest.strip_prefix(' '))
        .map(|rest| rest.split(' '))
    else {
        return (None, None);
    };
    match (participant.role, words.next(), words.next()) {
        (Role::Import, Some("GBM"), _) => (Some(Interface::Gbm), None),
        (Role::Import | Role::Render, Some("image"), _) => (Some(Interface::Vulkan), None),
        (Role::Display, Some(kind), Some("plane")) => {
            let kind = match kind {
                "primary" => PlaneKind::Primary,
                "overlay" => PlaneKind::Overlay,
                "cursor" => PlaneKind::Cursor,
                _ => return (None, None),
            };
            let id = words.next().and_then(|number| number.parse().ok());
            let plane = Plane {
                kind,
                id,
                possible_crtcs: 0,
            };
            (None, Some(plane))
        }
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_solver::model::DeviceIdentity;

    fn read(name: &str, role: Role) -> Participant {
        let identity = DeviceIdentity {
            driver: "vkms".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        let mut participant = Participant::new(name, identity, role);
        fill_in(&mut participant);
        participant
    }

    #[test]
    fn participant_of_an_old_file_has_the_interface_and_plane_of_its_name() {
        for (name, role, expected) in [
            ("vkms GBM", Role::Import, Some(Interface::Gbm)),
            (
                "vkms GBM (/dev/dri/card1)",
                Role::Import,
                Some(Interface::Gbm),
            ),
            ("vkms image", Role::Import, Some(Interface::Vulkan)),
            (
                "vkms image (rendered)",
                Role::Render,
                Some(Interface::Vulkan),
            ),
            ("vkms images", Role::Import, None),
            ("vkms import", Role::Import, None),
            ("vkms GBM", Role::Display, None),
            ("GBM", Role::Import, None),
        ] {
            assert_eq!(read(name, role).interface, expected, "{name}");
        }
        for (name, expected) in [
            (
                "vkms primary plane 35",
                Some((PlaneKind::Primary, Some(35))),
            ),
            ("vkms cursor plane", Some((PlaneKind::Cursor, None))),
            (
                "vkms overlay plane 40 (/dev/dri/card1)",
                Some((PlaneKind::Overlay, Some(40))),
            ),
            ("vkms primary", None),
            ("vkms other plane 3", None),
            ("my primary plane 3", None),
        ] {
            let expected = expected.map(|(kind, id)| Plane {
                kind,
                id,
                possible_crtcs: 0,
            });
            assert_eq!(read(name, Role::Display).plane, expected, "{name}");
        }
    }

    #[test]
    fn participant_with_an_interface_keeps_it_whatever_its_name() {
        let mut participant = read("my renderer", Role::Import);
        participant.name = "vkms GBM".to_owned();
        participant.interface = Some(Interface::Kernel);
        fill_in(&mut participant);
        assert_eq!(participant.interface, Some(Interface::Kernel));
    }
}
