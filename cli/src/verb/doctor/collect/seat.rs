//! Reads which seat manager (seatd or logind) could give this process access to a display.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::snapshot::Seat;
use super::node::node_file;

/// seatd's default socket.
const SOCKET: &str = "/run/seatd.sock";

/// The paths at which seatd may be installed. The PATH of an ordinary user often lacks `/usr/sbin`.
const PROGRAMS: [&str; 3] = ["/usr/bin/seatd", "/usr/sbin/seatd", "/usr/local/bin/seatd"];

/// Reads the state of the seat managers.
///
/// # References
/// seatd(1) for `SEATD_SOCK`; pam_systemd(8) for `XDG_SEAT`; sd_booted(3) and sd_get_seats(3) for the folders.
pub(super) fn seat() -> Seat {
    let socket_path = env::var("SEATD_SOCK").unwrap_or_else(|_| SOCKET.to_owned());
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Seat {
        socket: node_file(&socket_path, || UnixStream::connect(&socket_path)),
        socket_path,
        has_logind: Path::new("/run/systemd/seats").exists(),
        session: set("XDG_SEAT"),
        desktop: set("WAYLAND_DISPLAY").or_else(|| set("DISPLAY")),
        has_seatd: PROGRAMS.iter().any(|path| Path::new(path).exists()),
        has_systemd: Path::new("/run/systemd/system").exists(),
    }
}
