//! Starts the helper process, which tries buffers on drivers, and talks to it. A driver that crashes ends only the helper
//! process.

use crate::text::printable_path;
use std::collections::BTreeSet;
use std::ffi::OsString;
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

use super::declare::Drivers;
use super::measure::MeasuredCycle;
use super::trial_trait::TrialPlan;
use super::vendor_gpu::{VendorGpu, VendorGpuError};
use super::wire::{self, HelperReply, HelperRequest, VERSION, WireError};
use crate::backend::Declared;
use crate::buffer::Buffer;
use crate::constraint::{CopyDevice, Participant};
use crate::model::{Extent, Fourcc};
use crate::solve::Request;
use covalent_machine::trial_results::{Cause, Outcome, Refusal, without_other_formats};

mod helper_process;
mod trial_impl;

use helper_process::{HelperProcess, refusal_without_reply};

/// The name of the helper program, which is looked for in the folder of the running program.
const PROGRAM: &str = "covalent-prove";
/// The environment variable with the path of another helper program.
const VARIABLE: &str = "COVALENT_PROVE";

/// The size limit of the memfd that is the helper's standard error. Its pages are allocated only when they are written.
const MAX_STDERR_BYTES: u64 = 4 << 20;

/// Why there is no helper process.
#[derive(Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The program does not exist.
    #[error(
        "the helper program that tries buffers was not found: {looked}; build it (`cargo build -p covalent-cli`) and put it beside this program, or set {VARIABLE} to its path"
    )]
    Missing {
        /// The paths and environment variables that were tried.
        looked: String,
    },
    /// The program does not start.
    #[error("the helper program {program} does not start: {source}", program = printable_path(program))]
    Start {
        /// The path of the helper program.
        program: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The program is not a helper program, or is a helper program of another version.
    #[error("{program} is not the helper program of this version: {why}", program = printable_path(program))]
    WrongProgram {
        /// The path of the helper program.
        program: PathBuf,
        /// How its reply differs.
        why: String,
    },
}

crate::debug_as_display!(HelperError);

/// A helper process that tries buffers on drivers. The process is started at the first trial, and again after it has crashed or
/// was killed.
#[derive(Debug)]
pub struct Helper {
    program: PathBuf,
    deadline: Duration,
    process: Option<HelperProcess>,
    /// The request for which the process has an allocated buffer.
    allocated: Option<Request>,
    lost_processes: u32,
    /// The format about which the process has last reported that it queries a driver.
    queried_format: Option<Fourcc>,
    /// The formats during whose query a driver crashed a helper process. The processes that are started later do not query them.
    left_out: BTreeSet<Fourcc>,
    /// The GPU whose driver the process runs instead of this machine's drivers, with the environment variables that select the
    /// driver.
    gpu: Option<(&'static VendorGpu, Vec<(&'static str, OsString)>)>,
}

impl Helper {
    /// The default deadline of a trial. Drivers return within milliseconds, or within seconds on a busy emulated machine.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// Finds the helper program: the path in `COVALENT_PROVE`, or `covalent-prove` in the folder of this program.
    ///
    /// # Errors
    /// [`HelperError::Missing`].
    pub fn find() -> Result<Self, HelperError> {
        let missing = |looked: String| HelperError::Missing { looked };
        if let Some(named) = std::env::var_os(VARIABLE) {
            let program = PathBuf::from(named);
            return if program.is_file() {
                Ok(Self::new(program))
            } else {
                Err(missing(format!(
                    "{VARIABLE} is {}, which is not a file",
                    program.display()
                )))
            };
        }
        let own = std::env::current_exe()
            .map_err(|error| missing(format!("the path of this program is not known ({error})")))?;
        let program = own.with_file_name(PROGRAM);
        if program.is_file() {
            Ok(Self::new(program))
        } else {
            Err(missing(format!(
                "{} does not exist, and {VARIABLE} is not set",
                program.display()
            )))
        }
    }

    /// Creates a helper that runs the program at this path. No process is started yet.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            deadline: Self::DEADLINE,
            process: None,
            allocated: None,
            lost_processes: 0,
            queried_format: None,
            left_out: BTreeSet::new(),
            gpu: None,
        }
    }

    /// Sets the deadline of each trial.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the driver of a GPU that this machine does not have, instead of the drivers of this machine.
    ///
    /// The driver declares its formats and layouts. That the driver accepts a buffer does not guarantee that the hardware does,
    /// and nothing is drawn.
    ///
    /// # Errors
    /// [`VendorGpuError`] if the driver, or the library that replaces its hardware, is not installed.
    pub fn with_gpu(mut self, gpu: &'static VendorGpu) -> Result<Self, VendorGpuError> {
        self.gpu = Some((gpu, gpu.variables()?));
        self.process = None;
        Ok(self)
    }

    /// Returns the path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns how many processes crashed, or were killed because they did not reply in time.
    #[must_use]
    pub fn lost_process_count(&self) -> u32 {
        self.lost_processes
    }

    /// Starts the process if it does not run, so that errors occur before the first trial.
    ///
    /// # Errors
    /// [`HelperError::Start`], [`HelperError::WrongProgram`].
    pub fn start(&mut self) -> Result<(), HelperError> {
        self.process().map(|_| ())
    }

    /// Returns the running helper process. Starts one if none is running.
    fn process(&mut self) -> Result<&mut HelperProcess, HelperError> {
        let process = match self.process.take() {
            Some(process) => process,
            None => {
                self.allocated = None;
                let process = self.spawn()?;
                self.handshake(&process)?;
                process
            }
        };
        Ok(self.process.insert(process))
    }

    /// Starts a helper process whose standard input is one end of a socket pair.
    fn spawn(&self) -> Result<HelperProcess, HelperError> {
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
        // The standard error is a memfd and not a pipe, so that the helper process never blocks because nobody reads the pipe.
        let stderr = stderr_file().map_err(|error| failed(error.into()))?;
        let variables = self.gpu.iter().flat_map(|(_, variables)| variables);
        let child = Command::new(&self.program)
            .envs(variables.map(|(name, value)| (name, value)))
            .stdin(other)
            .stdout(Stdio::null())
            .stderr(stderr.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        Ok(HelperProcess {
            child,
            socket,
            stderr,
        })
    }

    /// Exchanges [`HelperRequest::Hello`], and checks that the process is a helper of the same version.
    fn handshake(&self, process: &HelperProcess) -> Result<(), HelperError> {
        let wrong_program = |why| HelperError::WrongProgram {
            program: self.program.clone(),
            why,
        };
        let hello = HelperRequest::Hello {
            version: VERSION,
            left_out: self.left_out.clone(),
        };
        wire::send(&process.socket, &hello, &[])
            .map_err(|error| wrong_program(error.to_string()))?;
        let deadline = Instant::now().checked_add(self.deadline);
        match wire::receive(&process.socket, deadline) {
            Ok((HelperReply::Hello { version: VERSION }, _)) => Ok(()),
            Ok((HelperReply::Hello { version }, _)) => Err(wrong_program(format!(
                "it has version {version} of the messages, and this program has version {VERSION}"
            ))),
            Ok(_) => Err(wrong_program("its first message is not `Hello`".to_owned())),
            Err(error) => Err(wrong_program(error.to_string())),
        }
    }

    /// Sends a request and waits for the reply. A crash or a missed deadline is returned as a refusal of `device`, and the next
    /// request starts a new process.
    fn call(
        &mut self,
        request: &HelperRequest,
        device: &str,
        operation: &str,
    ) -> Result<(HelperReply, Vec<OwnedFd>), Outcome> {
        let deadline = self.deadline;
        let process = self
            .process()
            .map_err(|error| Outcome::Untestable(format!("there is no helper process: {error}")))?;
        let mut queried_format = None;
        let reply = exchange(&process.socket, request, deadline, &mut queried_format);
        self.queried_format = queried_format;
        let error = match reply {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let Some(process) = self.process.take() else {
            return Err(Outcome::Untestable(error.to_string()));
        };
        self.allocated = None;
        self.lost_processes = self.lost_processes.saturating_add(1);
        Err(Outcome::Refused(refusal_without_reply(
            process, &error, device, operation, deadline,
        )))
    }

    /// Declares the sources and participants of GBM and Vulkan for pictures of one size, in pixels.
    ///
    /// The drivers are loaded into the helper process. A driver that crashes the process or misses the deadline is listed as
    /// unavailable, with the reason, and the next process declares the other drivers. If the driver crashed while it was queried
    /// about a format, only this format is listed as unavailable, and the next process declares the driver's other formats.
    pub fn declare_drivers(&mut self, extent: Extent) -> Declared {
        let mut all = Declared::default();
        if let Some(gpu) = self.gpu.as_ref().map(|(gpu, _)| *gpu) {
            all = self.declare_of(Drivers::Vulkan, extent);
            gpu.adopt(&mut all);
            return all;
        }
        for drivers in Drivers::list() {
            all.extend(self.declare_of(drivers, extent));
        }
        all
    }

    /// Declares the sources and participants of one set of drivers.
    fn declare_of(&mut self, drivers: Drivers, extent: Extent) -> Declared {
        let name = drivers.name();
        let request = HelperRequest::Declare { drivers, extent };
        let mut all = Declared::default();
        match self.list(&request, &name, &mut all) {
            Ok(HelperReply::Declared { declared }) => all.extend(declared),
            Ok(_) => all.add_unavailable(name, &unexpected_reply()),
            Err(Outcome::Refused(refusal)) => all.add_unavailable(name, &refusal.words),
            Err(outcome) => all.add_unavailable(name, &outcome),
        }
        all
    }

    /// Sends a request for which drivers list all of their formats. If a driver crashes at a format, the format is added to
    /// `unavailable`, and the request is sent again to a process that leaves the format out.
    fn list(
        &mut self,
        request: &HelperRequest,
        name: &str,
        unavailable: &mut Declared,
    ) -> Result<HelperReply, Outcome> {
        loop {
            self.allocated = None;
            let outcome = match self.call(request, name, "declare") {
                Ok((reply, _)) => return Ok(reply),
                Err(outcome) => outcome,
            };
            let queried_format = match &outcome {
                // After a missed deadline the request is not repeated: a driver that hangs at one format may hang at all of them,
                // and each would take the whole deadline.
                Outcome::Refused(refusal) if !matches!(refusal.cause, Cause::Deadline(_)) => {
                    // The loop ends, because each repetition leaves out one more format.
                    let queried_format = self
                        .queried_format
                        .filter(|queried_format| self.left_out.insert(*queried_format));
                    queried_format.map(|fourcc| (fourcc, &refusal.words))
                }
                _ => None,
            };
            match queried_format {
                Some((fourcc, words)) => {
                    unavailable.add_unavailable(format!("{name}, {fourcc}"), words);
                }
                None => return Err(outcome),
            }
        }
    }

    /// Declares the devices that can copy images of one size, in pixels. All backends of the helper program are queried, and the
    /// helper process loads the Vulkan drivers.
    ///
    /// # Errors
    /// The refusal, if a driver crashes the helper process or misses the deadline. The CPU can copy instead.
    pub fn declare_copiers(&mut self, extent: Extent) -> Result<Vec<CopyDevice>, Outcome> {
        // The formats that were left out are not reported: the copiers are declared without these formats.
        let mut left_out = Declared::default();
        match self.list(&HelperRequest::Copiers { extent }, "copiers", &mut left_out)? {
            HelperReply::Copiers { copiers } => Ok(copiers),
            _ => Err(unexpected_reply()),
        }
    }

    /// Allocates a buffer according to a plan and frees it, `count` times, one after another. Returns the duration of each
    /// allocation and each free.
    ///
    /// # Errors
    /// The first refusal.
    pub fn measure_allocation(
        &mut self,
        planned: TrialPlan<'_>,
        count: u32,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        let request = HelperRequest::MeasureAllocation {
            request: Box::new(request_for(planned)),
            count,
        };
        self.allocated = None;
        self.measured(&request, planned.plan.source_name(), "allocate")
    }

    /// Imports the buffer of a plan into a participant and ends the import, `count` times, one after another. Returns the
    /// duration of each import and each end of an import.
    ///
    /// Before the measurement the devices are opened and the buffer is imported once, so that its pages are allocated.
    ///
    /// # Errors
    /// The first refusal, which can also be that of the allocation.
    pub fn measure_import(
        &mut self,
        planned: TrialPlan<'_>,
        participant: &Participant,
        count: u32,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        if self.allocated.as_ref() != Some(planned.request) {
            match self.allocate_in_helper(planned) {
                (Outcome::Accepted, _) => {}
                (refused, _) => return Err(refused),
            }
        }
        let request = HelperRequest::MeasureImport {
            participant: Box::new(participant.clone()),
            count,
        };
        self.measured(&request, &participant.name, "import")
    }

    /// Sends a request to measure something, and returns the measured cycles.
    fn measured(
        &mut self,
        request: &HelperRequest,
        device: &str,
        operation: &str,
    ) -> Result<Vec<MeasuredCycle>, Outcome> {
        match self.call(request, device, operation)? {
            (
                HelperReply::Measured {
                    cycles,
                    outcome: Outcome::Accepted,
                },
                _,
            ) => Ok(cycles),
            (HelperReply::Measured { outcome, .. }, _) => Err(outcome),
            _ => Err(unexpected_reply()),
        }
    }

    /// Allocates the buffer of a plan in the helper process, which keeps it.
    fn allocate_in_helper(&mut self, planned: TrialPlan<'_>) -> (Outcome, Option<Buffer>) {
        let request = HelperRequest::Allocate {
            request: Box::new(request_for(planned)),
        };
        self.allocated = None;
        let source = planned.plan.source_name();
        match self.call(&request, source, "allocate") {
            Ok((HelperReply::Allocated { outcome, buffer }, fds)) => {
                if outcome == Outcome::Accepted {
                    self.allocated = Some(planned.request.clone());
                }
                match buffer.map(|buffer| buffer.into_buffer(&fds)).transpose() {
                    Ok(buffer) => (outcome, buffer),
                    Err(error) => (
                        Outcome::Refused(Refusal::structural(
                            source,
                            "export",
                            format!("{source}: {error}"),
                        )),
                        None,
                    ),
                }
            }
            Ok(_) => (unexpected_reply(), None),
            Err(outcome) => (outcome, None),
        }
    }
}

/// Creates the memfd for the helper's standard error. It is sealed against growing, because a driver may write without end. Text
/// that does not fit is lost.
fn stderr_file() -> Result<File, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let stderr = memfd_create("covalent-prove", flags)?;
    ftruncate(&stderr, MAX_STDERR_BYTES)?;
    fcntl_add_seals(
        &stderr,
        SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(File::from(stderr))
}

/// Returns the request that is sent to the helper process, which solves it and so gets the same plan.
fn request_for(planned: TrialPlan<'_>) -> Request {
    without_other_formats(planned.request, planned.plan.layout().format().fourcc)
}

fn unexpected_reply() -> Outcome {
    Outcome::Untestable(
        "the helper process sent a reply that does not belong to the request".to_owned(),
    )
}

/// Sends a request and waits for its reply. While the process handles the request, `queried_format` is set to each format about
/// which the process queries a driver.
fn exchange(
    socket: &OwnedFd,
    request: &HelperRequest,
    deadline: Duration,
    queried_format: &mut Option<Fourcc>,
) -> Result<(HelperReply, Vec<OwnedFd>), WireError> {
    wire::send(socket, request, &[])?;
    let until = Instant::now().checked_add(deadline);
    loop {
        match wire::receive(socket, until)? {
            (HelperReply::Asks { fourcc }, _) => *queried_format = Some(fourcc),
            reply => return Ok(reply),
        }
    }
}
