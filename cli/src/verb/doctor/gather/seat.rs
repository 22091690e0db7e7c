//! The seat: who could give this process a display.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::super::snapshot::Seat;
use super::node::seen;

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
        socket: seen(&socket_path, || UnixStream::connect(&socket_path)),
        socket_path,
        has_logind: Path::new("/run/systemd/seats").exists(),
        session: set("XDG_SEAT"),
        desktop: set("WAYLAND_DISPLAY").or_else(|| set("DISPLAY")),
        has_seatd: PROGRAMS.iter().any(|path| Path::new(path).exists()),
        has_systemd: Path::new("/run/systemd/system").exists(),
    }
}
