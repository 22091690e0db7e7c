//! How many descriptors the process may have, and how many of them stay free.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are wanted: more than this many clients' buffers do not fit a machine's memory either.
const WANTED: u64 = 65_536;
/// Descriptors that stay free, so that no client's are dropped by the kernel: two receptions, and what a frame needs.
const RESERVE: u64 = 64;
/// Descriptors that stay free when a client connects: those who are here already go on making buffers.
const RESERVE_OF_CLIENTS: u64 = 128;

/// The limit with which the process was started, once it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Lets the process have as many descriptors as it may take for itself.
///
/// The usual limit of 1,024 is for programs that call `select`, and three clients' buffers reach it.
pub fn raise_descriptors() {
    let before = getrlimit(Resource::Nofile);
    let most = before.maximum.unwrap_or(WANTED).min(WANTED);
    if before.current.is_some_and(|current| current < most) {
        let raised = Rlimit {
            current: Some(most),
            maximum: before.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => drop(BEFORE.set(before)),
            Err(error) => tracing::info!(%error, "the limit of descriptors stays as it is"),
        }
    }
}

/// Starts another program with the limit that this one was started with: it may well call `select`.
pub fn as_started<T>(start: impl FnOnce() -> T) -> T {
    let raised = getrlimit(Resource::Nofile);
    let lowered = BEFORE.get().map(|before| Rlimit {
        current: before.current,
        maximum: before.maximum,
    });
    let lowered = lowered.is_some_and(|before| setrlimit(Resource::Nofile, before).is_ok());
    let started = start();
    if lowered {
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of descriptors cannot be raised again");
        }
    }
    started
}

/// Tells whether a descriptor is one of the last that the process may have.
///
/// The kernel gives the lowest number that is free, so nearly all below are in use then.
pub fn is_scarce(descriptor: RawFd) -> bool {
    leaves_less_than(descriptor, |limit| RESERVE.min(limit / 4))
}

/// Tells whether a client more would leave too few descriptors for the others; `any` is one that is open.
pub fn is_full(any: impl AsFd) -> bool {
    match rustix::io::fcntl_dupfd_cloexec(any, 0) {
        Ok(next) => leaves_less_than(next.as_raw_fd(), |limit| RESERVE_OF_CLIENTS.min(limit / 2)),
        Err(_) => true,
    }
}

/// Where the limit is very low, most of it is for use all the same: `reserve` says how much is not.
fn leaves_less_than(descriptor: RawFd, reserve: impl FnOnce(u64) -> u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return false;
    };
    let end = limit.saturating_sub(reserve(limit));
    u64::try_from(descriptor).is_ok_and(|number| number >= end)
}
