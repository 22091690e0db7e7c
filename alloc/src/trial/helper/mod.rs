//! The helper process, from the side of the program that asks: it tries buffers on drivers, and may die of them.

use crate::text::printable_path;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use thiserror::Error;

use super::contract::Planned;
use super::declare::Drivers;
use super::measure::MeasuredCycle;
use super::wire::{self, Answer, Question, VERSION, WireError};
use crate::backend::Declared;
use crate::buffer::Buffer;
use crate::constraint::Participant;
use crate::model::Extent;
use crate::solve::Request;
use covalent_machine::trial_results::{Outcome, Refusal};

mod running;
mod trial;

use running::{Running, died};

/// The name of the helper program, beside the one that runs.
const PROGRAM: &str = "covalent-prove";
/// The variable that names another.
const VARIABLE: &str = "COVALENT_PROVE";

/// How many bytes the helper may say on its standard error. Pages are taken as they are written.
const MOST_WORDS: u64 = 4 << 20;

/// Why there is no helper process.
#[derive(Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The program is nowhere.
    #[error(
        "the helper program that tries buffers is not there: {looked}; build it (`cargo build -p covalent-cli`) and put it beside this program, or set {VARIABLE} to its path"
    )]
    Missing {
        /// Where it was looked for.
        looked: String,
    },
    /// The program does not start.
    #[error("the helper program {program} does not start: {source}", program = printable_path(program))]
    Start {
        /// Its path.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program does not talk as it should.
    #[error("{program} is not the helper program of this version: {why}", program = printable_path(program))]
    Stranger {
        /// Its path.
        program: PathBuf,
        /// What it said or did not say.
        why: String,
    },
}

crate::debug_as_display!(HelperError);

/// A helper process that tries buffers on drivers. Started when it is first needed, and again after it died.
#[derive(Debug)]
pub struct Helper {
    program: PathBuf,
    deadline: Duration,
    running: Option<Running>,
    /// What the process that runs has allocated.
    allocated: Option<Request>,
    deaths: u32,
}

impl Helper {
    /// How long a trial may take: drivers answer in milliseconds, an emulated machine that is busy in seconds.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// Finds the helper program: the one that `COVALENT_PROVE` names, or `covalent-prove` beside this program.
    ///
    /// # Errors
    /// [`HelperError::Missing`], with where it was looked for.
    pub fn find() -> Result<Self, HelperError> {
        let missing = |looked: String| HelperError::Missing { looked };
        if let Some(named) = std::env::var_os(VARIABLE) {
            let program = PathBuf::from(named);
            return if program.is_file() {
                Ok(Self::new(program))
            } else {
                Err(missing(format!(
                    "{VARIABLE} names {}, which is no file",
                    program.display()
                )))
            };
        }
        let own = std::env::current_exe()
            .map_err(|error| missing(format!("this program's own path is not known ({error})")))?;
        let program = own.with_file_name(PROGRAM);
        if program.is_file() {
            Ok(Self::new(program))
        } else {
            Err(missing(format!(
                "no {}, and {VARIABLE} is not set",
                program.display()
            )))
        }
    }

    /// Takes a helper program by its path.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            deadline: Self::DEADLINE,
            running: None,
            allocated: None,
            deaths: 0,
        }
    }

    /// Gives each trial this long.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The program's path.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// How many processes died or were ended for giving no answer.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Starts the process, where none runs, so that errors show before the first trial.
    ///
    /// # Errors
    /// [`HelperError::Start`], [`HelperError::Stranger`].
    pub fn start(&mut self) -> Result<(), HelperError> {
        self.running().map(|_| ())
    }

    fn running(&mut self) -> Result<&mut Running, HelperError> {
        let running = match self.running.take() {
            Some(running) => running,
            None => {
                self.allocated = None;
                let running = self.spawn()?;
                self.greet(&running)?;
                running
            }
        };
        Ok(self.running.insert(running))
    }

    fn spawn(&self) -> Result<Running, HelperError> {
        let failed = |source| HelperError::Start {
            program: self.program.clone(),
            source,
        };
        let (socket, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|error| failed(error.into()))?;
        // Its words go to memory rather than to a pipe: it must not wait for a reader.
        let words = words().map_err(|error| failed(error.into()))?;
        let child = Command::new(&self.program)
            .stdin(other)
            .stdout(Stdio::null())
            .stderr(words.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(Running {
            child,
            socket,
            words,
        })
    }

    fn greet(&self, running: &Running) -> Result<(), HelperError> {
        let stranger = |why| HelperError::Stranger {
            program: self.program.clone(),
            why,
        };
        let hello = Question::Hello { version: VERSION };
        wire::send(&running.socket, &hello, &[]).map_err(|error| stranger(error.to_string()))?;
        let until = Instant::now().checked_add(self.deadline);
        match wire::receive(&running.socket, until) {
            Ok((Answer::Hello { version: VERSION }, _)) => Ok(()),
            Ok((Answer::Hello { version }, _)) => Err(stranger(format!(
                "it speaks version {version} of the messages, and this program {VERSION}"
            ))),
            Ok(_) => Err(stranger("it does not greet".to_owned())),
            Err(error) => Err(stranger(error.to_string())),
        }
    }

    /// Asks and waits. A death or a silence becomes a refusal by `who`, and the next question starts another process.
    fn ask(
        &mut self,
        question: &Question,
        who: &str,
        operation: &str,
    ) -> Result<(Answer, Vec<OwnedFd>), Outcome> {
        let deadline = self.deadline;
        let running = self
            .running()
            .map_err(|error| Outcome::Untestable(format!("there is no helper process: {error}")))?;
        let answer = exchange(&running.socket, question, deadline);
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(running) = self.running.take() else {
            return Err(Outcome::Untestable(error.to_string()));
        };
        self.allocated = None;
        self.deaths = self.deaths.saturating_add(1);
        Err(Outcome::Refused(died(
            running, &error, who, operation, deadline,
        )))
    }

    /// Declares what GBM and Vulkan give and take in pictures of one size.
    ///
    /// Their drivers are loaded into the helper process. One that ends it, or gives no answer in time, is among what is
    /// unavailable, with the reason; the others are declared by the next process.
    pub fn declare_drivers(&mut self, extent: Extent) -> Declared {
        let mut all = Declared::default();
        for drivers in Drivers::list() {
            let name = drivers.name();
            let question = Question::Declare { drivers, extent };
            self.allocated = None;
            all.extend(match self.ask(&question, &name, "declare") {
                Ok((Answer::Declared { declared }, _)) => declared,
                Ok(_) => Declared::only_unavailable(name, confused().to_string()),
                Err(Outcome::Refused(refusal)) => Declared::only_unavailable(name, refusal.words),
                Err(outcome) => Declared::only_unavailable(name, outcome.to_string()),
            });
        }
        all
    }

    /// Allocates by a plan and frees it so many times, one after another, and tells how long each took.
    ///
    /// # Errors
    /// The first refusal.
    pub fn measure_allocation(
        &mut self,
        planned: Planned<'_>,
        turns: u32,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        let question = Question::MeasureAllocation {
            request: Box::new(planned.request.clone()),
            turns,
        };
        self.allocated = None;
        self.measured(&question, planned.plan.source_name(), "allocate")
    }

    /// Imports the buffer of a plan into a participant and lets go of it so many times, and tells how long each took. Before
    /// that the devices are open, and the buffer was imported once, so that its pages are there.
    ///
    /// # Errors
    /// The first refusal, that to allocate the buffer included.
    pub fn measure_import(
        &mut self,
        planned: Planned<'_>,
        participant: &Participant,
        turns: u32,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        if self.allocated.as_ref() != Some(planned.request) {
            match self.hold(planned) {
                (Outcome::Proved, _) => {}
                (refused, _) => return Err(refused),
            }
        }
        let question = Question::MeasureImport {
            participant: Box::new(participant.clone()),
            turns,
        };
        self.measured(&question, &participant.name, "import")
    }

    fn measured(
        &mut self,
        question: &Question,
        who: &str,
        operation: &str,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        match self.ask(question, who, operation)? {
            (
                Answer::Measured {
                    turns,
                    outcome: Outcome::Proved,
                },
                _,
            ) => Ok(turns),
            (Answer::Measured { outcome, .. }, _) => Err(outcome),
            _ => Err(confused()),
        }
    }

    /// Makes the process hold the buffer of a plan.
    fn hold(&mut self, planned: Planned<'_>) -> (Outcome, Option<Buffer>) {
        let question = Question::Allocate {
            request: Box::new(planned.request.clone()),
        };
        self.allocated = None;
        let who = planned.plan.source_name();
        match self.ask(&question, who, "allocate") {
            Ok((Answer::Allocated { outcome, buffer }, fds)) => {
                if outcome == Outcome::Proved {
                    self.allocated = Some(planned.request.clone());
                }
                match buffer.map(|buffer| buffer.into_buffer(&fds)).transpose() {
                    Ok(buffer) => (outcome, buffer),
                    Err(error) => (
                        Outcome::Refused(Refusal::structural(
                            who,
                            "export",
                            format!("{who}: {error}"),
                        )),
                        None,
                    ),
                }
            }
            Ok(_) => (confused(), None),
            Err(outcome) => (outcome, None),
        }
    }
}

/// Makes the memory that takes the helper's words, of which a driver may have any number: what does not fit is lost.
fn words() -> Result<File, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let words = memfd_create("covalent-prove", flags)?;
    ftruncate(&words, MOST_WORDS)?;
    fcntl_add_seals(
        &words,
        SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(File::from(words))
}

fn confused() -> Outcome {
    Outcome::Untestable("the helper process answered something else".to_owned())
}

fn exchange<A: wire::Message>(
    socket: &OwnedFd,
    question: &Question,
    deadline: Duration,
) -> Result<(A, Vec<OwnedFd>), WireError> {
    wire::send(socket, question, &[])?;
    wire::receive(socket, Instant::now().checked_add(deadline))
}
