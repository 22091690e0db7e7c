//! The helper process itself: allocates and tries what it is asked, and ends when nobody asks any more.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use thiserror::Error;

use super::backends::Backends;
use super::measure::{MeasuredCycle, turns as turns_of};
use super::wire::{self, Answer, Described, Question, VERSION, WireError};
use crate::backend::{self, Allocated, Backend};
use crate::buffer::Buffer;
use crate::constraint::Participant;
use crate::solve::{Plan, Request};
use covalent_machine::trial_results::{Outcome, Refusal, plan_of};

/// Why the helper process ended in the middle.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its standard input is no socket: a person started it.
    #[error(
        "this program is started by others and asked over a socket; `covalent matrix` and `covalent plan --prove` do so"
    )]
    NoSocket,
    /// Its standard input cannot be kept.
    #[error("the socket cannot be kept: {0}")]
    Socket(#[from] io::Error),
    /// Who started it does not talk as it should.
    #[error("who started this program is gone or speaks otherwise: {0}")]
    Talk(String),
}

/// Answers questions over the socket that is the standard input, until the other side closes it.
///
/// This is all that a helper program does: `covalent-prove` is one, and an application may ship its own. It tries plans on every
/// backend of this crate.
///
/// # Errors
/// [`ServeError`].
pub fn serve() -> Result<(), ServeError> {
    // Those in this process before DRM, which would take a card's GBM for the card.
    let backends = backend::in_process().into_iter().chain(backend::all());
    serve_with(backends.collect())
}

/// Does what [`serve`] does with backends of one's own: those of this crate ([`backend::all`], [`backend::in_process`]) or others.
///
/// The first backend that answers for a participant or a source counts.
///
/// # Errors
/// [`ServeError`].
pub fn serve_with(backends: Vec<Box<dyn Backend>>) -> Result<(), ServeError> {
    let input = io::stdin();
    if rustix::net::sockopt::socket_type(&input).is_err() {
        return Err(ServeError::NoSocket);
    }
    let socket = input.as_fd().try_clone_to_owned()?;
    // A driver that aborts shall not fill the disk.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    watch(socket.try_clone()?);
    answer(&socket, Backends::new(backends))
}

/// Ends this process when the other side is gone, however stuck a trial is.
fn watch(socket: OwnedFd) {
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

fn answer(socket: &OwnedFd, mut backends: Backends) -> Result<(), ServeError> {
    let mut held: Option<Allocated> = None;
    loop {
        let question = match wire::receive(socket, None) {
            Ok((question, _)) => question,
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(ServeError::Talk(error.to_string())),
        };
        let reply = match question {
            Question::Hello { .. } => Answer::Hello { version: VERSION },
            Question::Allocate { request } => {
                // The old buffer first: its queue may be the one that is asked next.
                held = None;
                let outcome = match planned(&request).and_then(|plan| backends.allocate(&plan)) {
                    Ok(allocated) => {
                        held = Some(allocated);
                        Outcome::Proved
                    }
                    Err(outcome) => outcome,
                };
                let buffer = held.as_ref().and_then(|held| held.buffers.first());
                let fds: Vec<BorrowedFd<'_>> = buffer.map_or_else(Vec::new, |buffer| {
                    (0..buffer.memory_count())
                        .filter_map(|memory| buffer.memory_fd(memory))
                        .collect()
                });
                let answer = Answer::Allocated {
                    outcome,
                    buffer: buffer.and_then(Described::of),
                };
                send(socket, &answer, &fds)?;
                continue;
            }
            Question::Attempt { participant } => Answer::Attempted {
                outcome: match &mut held {
                    Some(allocated) => backends.trial(allocated, &participant),
                    None => Some(Outcome::Untestable("nothing is allocated".to_owned())),
                },
            },
            Question::MeasureAllocation { request, turns } => {
                held = None;
                measured(measure_allocation(&mut backends, &request, turns))
            }
            Question::MeasureImport { participant, turns } => measured(measure_import(
                &mut backends,
                held.as_ref(),
                &participant,
                turns,
            )),
            Question::Release => {
                held = None;
                Answer::Released
            }
            Question::Redeclare {
                participant,
                extent,
            } => {
                held = None;
                let declared = backends.redeclare(&participant, extent);
                Answer::Redeclared {
                    participant: declared.map(Box::new),
                }
            }
            Question::RedeclareSource { source, extent } => {
                held = None;
                let declared = backends.redeclare_source(&source, extent);
                Answer::RedeclaredSource {
                    source: declared.map(Box::new),
                }
            }
            Question::Declare { drivers, extent } => {
                held = None;
                Answer::Declared {
                    declared: backends.declare(&drivers, extent),
                }
            }
        };
        send(socket, &reply, &[])?;
    }
}

fn send(socket: &OwnedFd, answer: &Answer, fds: &[BorrowedFd<'_>]) -> Result<(), ServeError> {
    wire::send(socket, answer, fds).map_err(|error| ServeError::Talk(error.to_string()))
}

fn measured(turns: Result<Vec<MeasuredCycle>, Outcome>) -> Answer {
    let (turns, outcome) = match turns {
        Ok(turns) => (turns, Outcome::Proved),
        Err(outcome) => (Vec::new(), outcome),
    };
    Answer::Measured { turns, outcome }
}

fn measure_allocation(
    backends: &mut Backends,
    request: &Request,
    turns: u32,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let plan = planned(request)?;
    turns_of(turns, || backends.allocate(&plan))
}

fn measure_import(
    backends: &mut Backends,
    held: Option<&Allocated>,
    participant: &Participant,
    turns: u32,
) -> Result<Vec<MeasuredCycle>, Outcome> {
    let untestable = |why: &str| Outcome::Untestable(why.to_owned());
    let allocated = held.ok_or_else(|| untestable("nothing is allocated"))?;
    let mut importer = backends.importer(participant)?;
    if allocated.owner.is_some() {
        return Err(untestable("a queue's own memory keeps its device busy"));
    }
    let buffer: &Buffer = allocated
        .buffers
        .first()
        .ok_or_else(|| untestable("nothing is allocated"))?;
    let mut import = || importer(buffer).map_err(|error| error.outcome());
    // Once before it counts: the buffer may owe its pages until somebody asks for them.
    drop(import()?);
    turns_of(turns, import)
}

fn planned(request: &Request) -> Result<Plan, Outcome> {
    plan_of(request).ok_or_else(|| {
        Outcome::Refused(Refusal::structural(
            "the solver",
            "solve",
            "the request has no plan here: both programs must be of one version",
        ))
    })
}
