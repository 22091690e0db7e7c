//! The helper process itself: allocates and tries what it is asked, and ends when nobody asks any more.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use thiserror::Error;

use super::measure::{Turn, turns as turns_of};
use super::trials::{self, Held, Machine};
use super::wire::{self, Answer, Described, Question, VERSION, WireError};
use crate::solve::{Plan, Request};
use covalent_machine::facts::plan_of;
use covalent_machine::facts::{Outcome, Refusal};

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
/// This is all that a helper program does: `covalent-prove` is one, and an application may ship its own.
///
/// # Errors
/// [`ServeError`].
pub fn serve() -> Result<(), ServeError> {
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
    answer(&socket)
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

fn answer(socket: &OwnedFd) -> Result<(), ServeError> {
    let mut machine = Machine::default();
    let mut held: Option<(Request, Held)> = None;
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
                let outcome = match allocate(&mut machine, &request) {
                    Ok(allocated) => {
                        held = Some((*request, allocated));
                        Outcome::Proved
                    }
                    Err(outcome) => outcome,
                };
                let buffer = held.as_ref().and_then(|(_, held)| held.buffer());
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
                    Some((request, held)) => {
                        trials::attempt(&mut machine, request, held, &participant)
                    }
                    None => Some(Outcome::Untestable("nothing is allocated".to_owned())),
                },
            },
            Question::MeasureAllocation { request, turns } => {
                held = None;
                measured(measure_allocation(&mut machine, &request, turns))
            }
            Question::MeasureImport { participant, turns } => {
                let importer = match &held {
                    Some((_, held)) => trials::importer(&mut machine, held, &participant),
                    None => Err(Outcome::Untestable("nothing is allocated".to_owned())),
                };
                measured(importer.and_then(|mut import| {
                    // Once before it counts: the buffer may owe its pages until somebody asks for them.
                    drop(import()?);
                    turns_of(turns, import)
                }))
            }
            Question::Release => {
                held = None;
                Answer::Released
            }
            Question::Redeclare {
                participant,
                extent,
            } => {
                held = None;
                let declared = trials::redeclare(&mut machine, &participant, extent);
                Answer::Redeclared {
                    participant: declared.map(Box::new),
                }
            }
            Question::RedeclareSource { source, extent } => {
                held = None;
                let declared = trials::redeclare_source(&mut machine, &source, extent);
                Answer::RedeclaredSource {
                    source: declared.map(Box::new),
                }
            }
            Question::Declare { drivers, extent } => {
                held = None;
                Answer::Declared {
                    declared: trials::declare(&mut machine, &drivers, extent),
                }
            }
        };
        send(socket, &reply, &[])?;
    }
}

fn send(socket: &OwnedFd, answer: &Answer, fds: &[BorrowedFd<'_>]) -> Result<(), ServeError> {
    wire::send(socket, answer, fds).map_err(|error| ServeError::Talk(error.to_string()))
}

fn measured(turns: Result<Vec<Turn>, Outcome>) -> Answer {
    let (turns, outcome) = match turns {
        Ok(turns) => (turns, Outcome::Proved),
        Err(outcome) => (Vec::new(), outcome),
    };
    Answer::Measured { turns, outcome }
}

fn measure_allocation(
    machine: &mut Machine,
    request: &Request,
    turns: u32,
) -> Result<Vec<Turn>, Outcome> {
    let plan = planned(request)?;
    turns_of(turns, || trials::allocate(machine, &plan))
}

fn allocate(machine: &mut Machine, request: &Request) -> Result<Held, Outcome> {
    trials::allocate(machine, &planned(request)?)
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
