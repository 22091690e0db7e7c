//! Checks the seat manager, which opens displays and input devices for programs of ordinary users.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{NodeKind, Seat, Snapshot};
use super::group;

/// The group whose members may open cards. The proposed command starts seatd so that it accepts this group.
const GROUP: &str = "video";

const WHY: &str = "A compositor of an ordinary user can drive a display only through a seat manager: seatd, or logind in a session at the console.";

/// Returns a finding if no seat manager can give the cards to a compositor.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let has_card = snapshot.of_kind(NodeKind::Card).next().is_some();
    let Some(seat) = snapshot.seat.as_ref().filter(|_| has_card) else {
        return Vec::new();
    };
    // Root can open cards without a seat manager. In a desktop session a compositor already runs.
    if snapshot.user.id == 0 || seat.session.is_some() || seat.desktop.is_some() {
        return Vec::new();
    }
    let Some(socket) = &seat.socket else {
        return vec![missing(snapshot, seat)];
    };
    let Some(open_error) = &socket.open_error else {
        return Vec::new();
    };
    let (path, group) = (&seat.socket_path, &socket.group);
    // EACCES means that seatd runs and its socket accepts members of a group that this user is not in.
    if open_error.errno == 13 && socket.mode & 0o060 == 0o060 && group != "root" {
        let what = format!("seatd accepts only group {group}, and this user is not in it ({path})");
        let finding = Finding::new("seat-permission", Severity::Blocks, what, WHY);
        return vec![group::join(snapshot, group, finding)];
    }
    if open_error.errno == 13 {
        let what = format!(
            "seatd accepts only root ({path}: group {group}, mode {:04o})",
            socket.mode
        );
        let finding = Finding::new("seat-permission", Severity::Blocks, what, WHY);
        let line = paste::path(path)
            .and_then(|path| paste::word(&format!("chgrp {GROUP} {path} && chmod 770 {path}")));
        let Some(line) = line else {
            return vec![finding.without_remedy("the path of the socket")];
        };
        let finding = finding.with_command(snapshot.as_root(&format!("sh -c {line}")));
        return vec![finding.with_note(format!(
            "This lasts until seatd ends. To make it permanent, start it as `seatd -g {GROUP}`."
        ))];
    }
    let what = format!("cannot connect to seatd at {path}: {}", open_error.words);
    let finding = Finding::new("seat-manager", Severity::Blocks, what, WHY);
    vec![finding.with_command(start(snapshot, seat))]
}

/// Returns the finding for a machine without seatd and without a session that has a seat.
fn missing(snapshot: &Snapshot, seat: &Seat) -> Finding {
    let what = if seat.has_logind {
        "this session has no seat (a session by ssh never has one), and seatd does not run"
    } else {
        "there is no seat manager: neither seatd nor logind runs"
    };
    let finding = Finding::new("seat-manager", Severity::Blocks, what, WHY);
    let finding = finding.with_command(start(snapshot, seat));
    if seat.has_logind {
        finding.with_note(
            "Or log in at the console of the machine, where logind gives the session a seat.",
        )
    } else {
        finding
    }
}

/// Returns the command that installs seatd if necessary, and starts it.
fn start(snapshot: &Snapshot, seat: &Seat) -> String {
    let run = if seat.has_systemd {
        snapshot.as_root("systemctl enable --now seatd")
    } else {
        snapshot.as_root(&format!(
            "sh -c 'setsid -f seatd -g {GROUP} >/dev/null 2>&1'"
        ))
    };
    if seat.has_seatd {
        run
    } else {
        format!("{} && {run}", snapshot.install("seatd", "seatd", "seatd"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::snapshot::{NodeFile, OpenError};
    use super::super::fixture::desktop;
    use super::*;

    /// The snapshot of a machine without a desktop session, for a user who logged in by ssh.
    fn server(seat: Seat) -> Snapshot {
        Snapshot {
            seat: Some(seat),
            ..desktop()
        }
    }

    fn socket(group: &str, mode: u32, errno: i32) -> Option<NodeFile> {
        Some(NodeFile {
            owner: 0,
            group: group.to_owned(),
            mode,
            acl: Vec::new(),
            open_error: Some(OpenError {
                errno,
                words: "refused".to_owned(),
            }),
        })
    }

    fn line(seat: Seat) -> (String, String) {
        let findings = check(&server(seat));
        let [finding] = findings.as_slice() else {
            panic!("{findings:?}");
        };
        (finding.id.clone(), finding.remedy.clone().unwrap().line)
    }

    #[test]
    fn usable_seat_gives_no_finding() {
        let usable = [
            Seat {
                session: Some("seat0".to_owned()),
                ..Seat::default()
            },
            Seat {
                desktop: Some("wayland-0".to_owned()),
                ..Seat::default()
            },
            Seat {
                socket: Some(NodeFile {
                    owner: 0,
                    group: "video".to_owned(),
                    mode: 0o770,
                    acl: Vec::new(),
                    open_error: None,
                }),
                ..Seat::default()
            },
        ];
        for seat in usable {
            assert!(check(&server(seat)).is_empty());
        }
        assert!(check(&desktop()).is_empty(), "a recording without a seat");
        let mut root = server(Seat::default());
        root.user.id = 0;
        assert!(check(&root).is_empty());
        let mut headless = server(Seat::default());
        headless.nodes.retain(|node| node.kind != NodeKind::Card);
        assert!(check(&headless).is_empty());
    }

    #[test]
    fn missing_seat_manager_is_installed_and_started() {
        let (id, bare) = line(Seat::default());
        assert_eq!(id, "seat-manager");
        assert_eq!(
            bare,
            "sudo apt-get install -y seatd && sudo sh -c 'setsid -f seatd -g video >/dev/null 2>&1'"
        );
        let seat = Seat {
            has_seatd: true,
            has_systemd: true,
            has_logind: true,
            ..Seat::default()
        };
        assert_eq!(line(seat.clone()).1, "sudo systemctl enable --now seatd");
        let stale = Seat {
            socket: socket("video", 0o770, 111),
            ..seat
        };
        assert_eq!(line(stale).0, "seat-manager");
    }

    #[test]
    fn socket_of_another_group_is_remedied_by_joining_the_group() {
        let of = |group, mode| Seat {
            socket_path: "/run/seatd.sock".to_owned(),
            socket: socket(group, mode, 13),
            ..Seat::default()
        };
        assert_eq!(
            line(of("_seatd", 0o770)),
            (
                "seat-permission".to_owned(),
                "sudo usermod -aG _seatd ada".to_owned()
            )
        );
        assert_eq!(line(of("video", 0o770)).1, "exec su -l ada");
        assert!(line(of("root", 0o770)).1.contains("chgrp video"));
    }
}
