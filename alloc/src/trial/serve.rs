//! The code of the helper process, which allocates and tries buffers on request, and ends when the program closes the socket.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use thiserror::Error;

use super::backends::Backends;
use super::measure::{MeasuredCycle, cycles};
use super::wire::{self, BufferDescription, HelperReply, HelperRequest, VERSION, WireError};
use crate::backend::{self, Allocated, Backend, FormatFilter};
use crate::buffer::Buffer;
use crate::constraint::Participant;
use crate::solve::{Plan, Request};
use covalent_machine::trial_results::{Outcome, Refusal, plan_of};

/// Why the helper process ends with an error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The standard input is not a socket, because a user started the program in a shell.
    #[error(
        "the standard input is not a socket: this program is started by other programs; run `covalent matrix` or `covalent plan --prove` instead"
    )]
    NoSocket,
    /// The standard input cannot be duplicated.
    #[error("dup of the socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The program at the other end sent a message that is not valid, or the socket failed.
    #[error("the communication with the program that started this helper failed: {0}")]
    Protocol(String),
}

/// Serves requests over the socket that is the standard input, until the program closes it.
///
/// The main function of a helper program consists of this call. `covalent-prove` is such a program, and an application may ship
/// its own. Plans are tried on every backend of this crate.
///
/// # Errors
/// [`ServeError`].
pub fn serve() -> Result<(), ServeError> {
    // The backends whose drivers run in this process come first, because the DRM backend would otherwise try the GBM participant
    // of a card as the card itself.
    let backends = backend::in_process().into_iter().chain(backend::all());
    serve_with(backends.collect())
}

/// Serves requests as [`serve`] does, with the given backends: those of this crate ([`backend::all`], [`backend::in_process`]),
/// or an application's.
///
/// The backends are called in order, and the result of the first that supports a participant or source is used.
///
/// # Errors
/// [`ServeError`].
pub fn serve_with(backends: Vec<Box<dyn Backend>>) -> Result<(), ServeError> {
    let input = io::stdin();
    if rustix::net::sockopt::socket_type(&input).is_err() {
        return Err(ServeError::NoSocket);
    }
    let socket = input.as_fd().try_clone_to_owned()?;
    // Core dumps are disabled, because a driver that aborts in each trial would fill the disk with them.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    exit_when_socket_closes(socket.try_clone()?);
    serve_requests(&socket, Backends::new(backends))
}

/// Ends this process when the program closes the socket, also while a driver hangs in a trial.
fn exit_when_socket_closes(socket: OwnedFd) {
    thread::spawn(move || {
        loop {
            let mut watched = [PollFd::new(&socket, PollFlags::RDHUP)];
            match poll(&mut watched, None) {
                Err(Errno::INTR) => {}
                _ => std::process::exit(0),
            }
        }
    });
}

fn serve_requests(socket: &OwnedFd, mut backends: Backends) -> Result<(), ServeError> {
    let mut kept: Option<Allocated> = None;
    loop {
        let request = match wire::receive(socket, None) {
            Ok((request, _)) => request,
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(ServeError::Protocol(error.to_string())),
        };
        let reply = match request {
            HelperRequest::Hello { left_out, .. } => {
                let reporter = socket.try_clone()?;
                // The error is ignored: if the program has ended, the next receive finds that the socket is closed, and this
                // process ends.
                let report = move |fourcc| {
                    let _ = wire::send(&reporter, &HelperReply::Asks { fourcc }, &[]);
                };
                backends.set_format_filter(&FormatFilter::without(left_out).with_visitor(report));
                HelperReply::Hello { version: VERSION }
            }
            HelperRequest::Allocate { request } => {
                // The kept buffer is freed first, because it may be memory of the V4L2 queue that the next allocation uses.
                kept = None;
                let outcome = match planned(&request).and_then(|plan| backends.allocate(&plan)) {
                    Ok(allocated) => {
                        kept = Some(allocated);
                        Outcome::Accepted
                    }
                    Err(outcome) => outcome,
                };
                let buffer = kept.as_ref().and_then(|kept| kept.buffers.first());
                let fds: Vec<BorrowedFd<'_>> = buffer.map_or_else(Vec::new, |buffer| {
                    (0..buffer.dmabuf_count())
                        .filter_map(|memory| buffer.dmabuf_fd(memory))
                        .collect()
                });
                let reply = HelperReply::Allocated {
                    outcome,
                    buffer: buffer.and_then(BufferDescription::of),
                };
                send(socket, &reply, &fds)?;
                continue;
            }
            HelperRequest::Attempt { participant } => HelperReply::Attempted {
                outcome: match &mut kept {
                    Some(allocated) => backends.trial(allocated, &participant),
                    None => Some(Outcome::Untestable(
                        "the helper process has no allocated buffer".to_owned(),
                    )),
                },
            },
            HelperRequest::MeasureAllocation { request, count } => {
                kept = None;
                measured(measure_allocation(&mut backends, &request, count))
            }
            HelperRequest::MeasureImport { participant, count } => measured(measure_import(
                &mut backends,
                kept.as_ref(),
                &participant,
                count,
            )),
            HelperRequest::Release => {
                kept = None;
                HelperReply::Released
            }
            HelperRequest::Redeclare {
                participant,
                extent,
            } => {
                kept = None;
                let declared = backends.redeclare(&participant, extent);
                HelperReply::Redeclared {
                    participant: declared.map(Box::new),
                }
            }
            HelperRequest::RedeclareSource { source, extent } => {
                kept = None;
                let declared = backends.redeclare_source(&source, extent);
                HelperReply::RedeclaredSource {
                    source: declared.map(Box::new),
                }
            }
            HelperRequest::Declare { drivers, extent } => {
                kept = None;
                HelperReply::Declared {
                    declared: backends.declare(&drivers, extent),
                }
            }
            HelperRequest::Copiers { extent } => {
                kept = None;
                HelperReply::Copiers {
                    copiers: backends.copiers(extent),
                }
            }
        };
        send(socket, &reply, &[])?;
    }
}

fn send(socket: &OwnedFd, reply: &HelperReply, fds: &[BorrowedFd<'_>]) -> Result<(), ServeError> {
    wire::send(socket, reply, fds).map_err(|error| ServeError::Protocol(error.to_string()))
}

/// Makes the reply to a request to measure something.
fn measured(result: Result<Vec<MeasuredCycle>, Outcome>) -> HelperReply {
    let (cycles, outcome) = match result {
        Ok(cycles) => (cycles, Outcome::Accepted),
        Err(outcome) => (Vec::new(), outcome),
    };
    HelperReply::Measured { cycles, outcome }
}

fn measure_allocation(
    backends: &mut Backends,
    request: &Request,
    count: u32,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let plan = planned(request)?;
    cycles(count, || backends.allocate(&plan))
}

fn measure_import(
    backends: &mut Backends,
    kept: Option<&Allocated>,
    participant: &Participant,
    count: u32,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let untestable = |why: &str| Outcome::Untestable(why.to_owned());
    let allocated = kept.ok_or_else(|| untestable("the helper process has no allocated buffer"))?;
    let mut importer = backends.importer(participant)?;
    if allocated.owner.is_some() {
        return Err(untestable(
            "the buffer is memory of a V4L2 queue, whose device is busy until the buffer is freed",
        ));
    }
    let buffer: &Buffer = allocated
        .buffers
        .first()
        .ok_or_else(|| untestable("the helper process has no allocated buffer"))?;
    let mut import = || importer(buffer).map_err(|error| error.outcome());
    // The first import is not measured, because some drivers allocate the buffer's pages only at the first import.
    drop(import()?);
    cycles(count, import)
}

/// Solves a request of which only one plan is a solution.
fn planned(request: &Request) -> Result<Plan, Outcome> {
    plan_of(request).ok_or_else(|| {
        Outcome::Refused(Refusal::structural(
            "the solver",
            "solve",
            "the request has no plan in this process; use the helper program of the same version",
        ))
    })
}
