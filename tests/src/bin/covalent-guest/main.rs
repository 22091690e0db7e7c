//! `covalent-guest`: the guest's init process. It prepares the guest, then runs commands for the host.
//!
//! The guest has no other init system, and udev is its only service. The same program also launches each command ([`launch`]) and
//! transfers files ([`files`]).

use std::fs::File;
use std::io;
use std::process::ExitCode;

use rustix::system::{RebootCommand, reboot};

mod boot;
mod command;
mod control_group;
mod files;
mod launch;
mod serve;

/// The exit status for invalid arguments.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|verb| verb.to_str()) {
        Some("launch") => launch::run(&arguments[1..]),
        Some("put") => files::put(&arguments[1..]),
        Some("get") => files::get(&arguments[1..]),
        Some("serve") => on_stdin(),
        _ if rustix::process::getpid().as_raw_nonzero().get() == 1 => first_process(),
        _ => {
            eprintln!(
                "covalent-guest is the first process of the guest that `./x vm` boots.\n\
                 usage: covalent-guest serve   (messages on stdin, a socket; for tests)\n\
                 \x20      covalent-guest put PATH MODE | get PATH"
            );
            ExitCode::from(USAGE)
        }
    }
}

/// Serves the process at the other end of stdin. The machine is not prepared or changed.
fn on_stdin() -> ExitCode {
    let result = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)
        .map_err(io::Error::from)
        .and_then(|port| serve::Server::new(File::from(port), None)?.run(None));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("covalent-guest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs as the init process of the guest, and then powers the guest off.
fn first_process() -> ExitCode {
    if let Err(error) = guest() {
        // The host shows the console's log when a guest ends unexpectedly.
        eprintln!("covalent-guest: {error}");
    }
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        eprintln!("covalent-guest: power off: {error}");
    }
    ExitCode::FAILURE
}

/// Mounts the file systems, and serves the host until it sends `PowerOff` or closes the port.
fn guest() -> io::Result<()> {
    boot::mount_early()?;
    let port = boot::open_port()?;
    serve::Server::new(port, control_group::Groups::open())?.run(Some(boot::prepare))?;
    boot::unmount_out();
    Ok(())
}
