//! The seat: who could give this process a display.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::snapshot::{NodeFile, Refusal, Seat};
use super::node::words;
use super::system::group_name;

/// Where seatd listens, where nobody says otherwise.
const SOCKET: &str = "/run/seatd.sock";

/// Where its program is, whatever this user's PATH has.
const PROGRAMS: [&str; 3] = ["/usr/bin/seatd", "/usr/sbin/seatd", "/usr/local/bin/seatd"];

/// # References
/// seatd(1), for `SEATD_SOCK`; pam_systemd(8), for `XDG_SEAT`; sd_booted(3) and sd_get_seats(3), for the folders.
pub(super) fn seat() -> Seat {
    let socket_path = env::var("SEATD_SOCK").unwrap_or_else(|_| SOCKET.to_owned());
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Seat {
        socket: socket(&socket_path),
        socket_path,
        has_logind: Path::new("/run/systemd/seats").exists(),
        session: set("XDG_SEAT"),
        desktop: set("WAYLAND_DISPLAY").or_else(|| set("DISPLAY")),
        has_seatd: PROGRAMS.iter().any(|path| Path::new(path).exists()),
        has_systemd: Path::new("/run/systemd/system").exists(),
    }
}

fn socket(path: &str) -> Option<NodeFile> {
    let status = rustix::fs::stat(path).ok()?;
    let refusal = UnixStream::connect(path).err().map(|error| Refusal {
        errno: error.raw_os_error().unwrap_or_default(),
        words: words(&error),
    });
    Some(NodeFile {
        owner: status.st_uid,
        group: group_name(status.st_gid),
        mode: status.st_mode & 0o7777,
        refusal,
    })
}
