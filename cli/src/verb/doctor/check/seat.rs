//! Seats: who gives displays and keyboards to a program that is not root's.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{Kind, Seat, Snapshot};
use super::group;

/// The group that may open cards, and that seatd is told to let in.
const GROUP: &str = "video";

const WHY: &str = "A compositor that is not root's drives a display only by leave of a seat manager: seatd, or logind in a session at the console.";

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let has_card = snapshot.of_kind(Kind::Card).next().is_some();
    let Some(seat) = snapshot.seat.as_ref().filter(|_| has_card) else {
        return Vec::new();
    };
    // Root opens cards itself; in a desktop the compositor runs already.
    if snapshot.user.id == 0 || seat.session.is_some() || seat.desktop.is_some() {
        return Vec::new();
    }
    let Some(socket) = &seat.socket else {
        return vec![missing(snapshot, seat)];
    };
    let Some(refusal) = &socket.refusal else {
        return Vec::new();
    };
    let (path, group) = (&seat.socket_path, &socket.group);
    // EACCES: there is somebody, who lets others in.
    if refusal.errno == 13 && socket.mode & 0o060 == 0o060 && group != "root" {
        let what = format!("seatd lets only group {group} in, and this user is not in it ({path})");
        let finding = Finding::new("seat-permission", Severity::Blocks, what, WHY);
        return vec![group::join(snapshot, group, finding)];
    }
    if refusal.errno == 13 {
        let what = format!(
            "seatd lets only root in ({path}: group {group}, mode {:04o})",
            socket.mode
        );
        let finding = Finding::new("seat-permission", Severity::Blocks, what, WHY);
        let line = paste::path(path)
            .and_then(|path| paste::word(&format!("chgrp {GROUP} {path} && chmod 770 {path}")));
        let Some(line) = line else {
            return vec![finding.unhelped("the path of the socket")];
        };
        let finding = finding.helped_by(snapshot.as_root(&format!("sh -c {line}")));
        return vec![finding.noting(format!(
            "It lasts as long as seatd runs: `seatd -g {GROUP}` does so for good."
        ))];
    }
    let what = format!("nobody answers at {path}: {}", refusal.words);
    let finding = Finding::new("seat-manager", Severity::Blocks, what, WHY);
    vec![finding.helped_by(start(snapshot, seat))]
}

/// No seatd, and no session with a seat.
fn missing(snapshot: &Snapshot, seat: &Seat) -> Finding {
    let what = if seat.has_logind {
        "this session has no seat (by ssh there is none), and no seatd runs"
    } else {
        "nobody gives displays out: neither seatd nor logind runs"
    };
    let finding = Finding::new("seat-manager", Severity::Blocks, what, WHY);
    let finding = finding.helped_by(start(snapshot, seat));
    if seat.has_logind {
        finding.noting("Or log in at the machine's console, where logind gives a seat.")
    } else {
        finding
    }
}

/// The line that has seatd run.
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
    use super::super::super::snapshot::{NodeFile, Refusal};
    use super::super::fixture::desktop;
    use super::*;

    /// A machine without a desktop, seen by ssh.
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
            refusal: Some(Refusal {
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
    fn seat_that_is_there_is_no_finding() {
        let quiet = [
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
                    refusal: None,
                }),
                ..Seat::default()
            },
        ];
        for seat in quiet {
            assert!(check(&server(seat)).is_empty());
        }
        assert!(check(&desktop()).is_empty(), "a recording without a seat");
        let mut root = server(Seat::default());
        root.user.id = 0;
        assert!(check(&root).is_empty());
        let mut headless = server(Seat::default());
        headless.nodes.retain(|node| node.kind != Kind::Card);
        assert!(check(&headless).is_empty());
    }

    #[test]
    fn manager_that_lacks_is_installed_and_started() {
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
    fn socket_of_another_group_is_joined() {
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
