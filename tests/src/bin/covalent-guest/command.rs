//! A command that runs for the host: its process, its pipes or its terminal, and the input and output that are not transferred
//! yet.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use covalent_tests::wire::{CHUNK_BYTES, Exec, SignalTarget, Status, Stream, WINDOW_BYTES, Window};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitStatus, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::control_group::{Group, Groups};
use super::{boot, launch};

/// The PATH of commands. The project's programs are found first.
pub(crate) const PATH: &str =
    "/opt/covalent/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The character with which a terminal ends the input at the beginning of a line (Ctrl-D).
const END_OF_TRANSMISSION: u8 = 4;

/// A command, from its start until its last output is sent.
#[derive(Debug)]
pub(crate) struct Command {
    pid: Pid,
    group: Option<Group>,
    terminal: bool,
    input: Option<OwnedFd>,
    input_ends: bool,
    pending: VecDeque<u8>,
    outputs: Vec<Output>,
    status: Option<Status>,
}

/// A stream of the command's output.
#[derive(Debug)]
struct Output {
    stream: Stream,
    fd: OwnedFd,
    /// The number of output bytes that the host accepts before it sends another `Taken` message.
    credit_bytes: usize,
}

/// Both ends of the pipes or of the terminal: those of the child process and those of this process.
struct PipeEnds {
    child: [OwnedFd; 3],
    input: OwnedFd,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Command {
    /// Starts the program that `exec` describes as command `id`.
    pub(crate) fn start(id: u32, exec: &Exec, groups: Option<&Groups>) -> io::Result<Self> {
        let (Some(program), false) = (exec.argv.first(), exec.argv.iter().any(has_nul)) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the command names no program, or an argument contains a zero byte",
            ));
        };
        let group = groups.map(|groups| groups.make(id)).transpose()?;
        let ends = exec.terminal.map_or_else(pipes, terminal)?;
        let join_file = group.as_ref().map(Group::join_file);
        let home = Path::new("/root");
        let folder =
            exec.folder
                .as_deref()
                .unwrap_or(if home.is_dir() { home } else { Path::new("/") });
        let [stdin, stdout, stderr] = ends.child;
        let child = Process::new(std::env::current_exe()?)
            .args(launch::words(
                join_file.as_deref(),
                exec.terminal.is_some(),
                folder,
            ))
            .arg(program)
            .args(&exec.argv[1..])
            .env_clear()
            .envs(environment())
            .envs(&exec.env)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .spawn();
        let pid = match child {
            Ok(child) => i32::try_from(child.id()).ok().and_then(Pid::from_raw),
            Err(error) => {
                if let Some(group) = group {
                    group.remove();
                }
                return Err(error);
            }
        };
        Ok(Self {
            pid: pid.ok_or_else(|| io::Error::other("the child's process number is not valid"))?,
            group,
            terminal: exec.terminal.is_some(),
            input: Some(ends.input),
            input_ends: false,
            pending: VecDeque::new(),
            outputs: ends
                .outputs
                .into_iter()
                .map(|(stream, fd)| Output {
                    stream,
                    fd,
                    credit_bytes: WINDOW_BYTES,
                })
                .collect(),
            status: None,
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Queues bytes for the command's input. If the command has closed its input, the bytes are discarded. Returns the number of
    /// discarded bytes.
    ///
    /// # Errors
    /// The host sent more than the window allows, or sent input after its end.
    pub(crate) fn take_input(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        if self.input.is_none() {
            return Ok(bytes.len());
        }
        if self.input_ends {
            return Err("the host sent input after the end of the input");
        }
        if self.pending.len().saturating_add(bytes.len()) > WINDOW_BYTES {
            return Err("the host sent more input than the window allows");
        }
        self.pending.extend(bytes);
        Ok(0)
    }

    /// Closes the command's input after the queued bytes are written.
    pub(crate) fn end_input(&mut self) {
        if self.terminal && !self.input_ends {
            self.pending.push_back(END_OF_TRANSMISSION);
        }
        self.input_ends = true;
        self.close_spent_input();
    }

    /// Returns the fd to which input has to be written; `None` if no input is queued.
    pub(crate) fn wants_input(&self) -> Option<BorrowedFd<'_>> {
        let input = self.input.as_ref()?;
        (!self.pending.is_empty()).then(|| input.as_fd())
    }

    /// Writes queued input to the command. Returns the number of bytes that were written or discarded.
    pub(crate) fn write_input(&mut self) -> usize {
        let Some(input) = &self.input else { return 0 };
        let (first, _) = self.pending.as_slices();
        let done = match rustix::io::write(input, first) {
            Ok(written) => {
                self.pending.drain(..written);
                written
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // The command has closed its input, so the queued bytes are discarded.
            Err(_) => {
                self.input = None;
                let rest = self.pending.len();
                self.pending.clear();
                rest
            }
        };
        self.close_spent_input();
        done
    }

    fn close_spent_input(&mut self) {
        if self.input_ends && self.pending.is_empty() && !self.terminal {
            self.input = None;
        }
    }

    /// Returns the outputs from which the host accepts more bytes.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        self.outputs
            .iter()
            .filter(|output| output.credit_bytes > 0)
            .map(|output| (output.stream, output.fd.as_fd()))
    }

    /// Reads once from an output. Returns no bytes if no data is available or the output has ended.
    pub(crate) fn read_output(&mut self, stream: Stream) -> Vec<u8> {
        let Some(index) = self
            .outputs
            .iter()
            .position(|output| output.stream == stream)
        else {
            return Vec::new();
        };
        let output = &mut self.outputs[index];
        let mut bytes = vec![0; CHUNK_BYTES.min(output.credit_bytes)];
        if bytes.is_empty() {
            return bytes;
        }
        match rustix::io::read(&output.fd, &mut bytes) {
            Ok(read) if read > 0 => {
                bytes.truncate(read);
                output.credit_bytes = output.credit_bytes.saturating_sub(read);
                bytes
            }
            Err(Errno::AGAIN | Errno::INTR) => Vec::new(),
            // The output has ended. A read from a terminal's master returns EIO after the last process has closed the terminal.
            Ok(_) | Err(_) => {
                self.outputs.swap_remove(index);
                Vec::new()
            }
        }
    }

    /// Increases the number of bytes that the host accepts from an output.
    pub(crate) fn add_credit(&mut self, stream: Stream, bytes: u32) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        for output in &mut self.outputs {
            if output.stream == stream {
                output.credit_bytes = output.credit_bytes.saturating_add(bytes).min(WINDOW_BYTES);
            }
        }
    }

    /// Sends a signal to the command's process or its process group.
    ///
    /// # Errors
    /// A text for the host: there is no such signal, the command has ended, or the kernel's error.
    pub(crate) fn signal(&self, signal: i32, to: SignalTarget) -> Result<(), String> {
        let named =
            Signal::from_named_raw(signal).ok_or_else(|| format!("there is no signal {signal}"))?;
        if self.status.is_some() {
            return Err(format!("signal {signal}: the command has ended"));
        }
        let sent = match to {
            // The process group does not exist until `covalent-guest launch` has called setsid, so the signal is sent to the
            // process.
            SignalTarget::Group => {
                kill_process_group(self.pid, named).or_else(|_| kill_process(self.pid, named))
            }
            SignalTarget::Leader => kill_process(self.pid, named),
        };
        sent.map_err(|errno| format!("signal {signal}: {errno}"))
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// A text for the host: the command has no terminal, or the kernel's error.
    pub(crate) fn resize(&self, window: Window) -> Result<(), String> {
        match (self.terminal, &self.input) {
            (true, Some(terminal)) => {
                set_size(terminal, window).map_err(|errno| format!("resize the terminal: {errno}"))
            }
            (true, None) => Ok(()),
            (false, _) => Err("resize: the command has no terminal".to_owned()),
        }
    }

    /// Kills the command and all its descendants.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            // An error means that the process has already ended.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = kill_process_group(self.pid, Signal::KILL);
        } else {
            // A descendant that has left the process group may keep the pipes open. The command ends without the output of this
            // descendant.
            self.outputs.clear();
        }
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Records the exit status of the command's process, and kills its descendants.
    pub(crate) fn ended(&mut self, status: WaitStatus) {
        let narrow = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
        self.status = Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Status::Code(narrow(code)),
            (None, Some(signal)) => Status::Signal(narrow(signal)),
            (None, None) => return,
        });
        self.input = None;
        self.pending.clear();
        match &self.group {
            Some(group) => group.kill(),
            None => {
                // The kernel does not reuse the number of a process group while a process is in the group.
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
        }
    }

    /// Returns the exit status of the command; `None` until the process has ended and all of its output is read.
    pub(crate) fn finished(&self) -> Option<Status> {
        self.status.filter(|_| self.outputs.is_empty())
    }

    /// Returns the command's control group, so that the caller can remove it.
    pub(crate) fn into_group(self) -> Option<Group> {
        self.group
    }
}

/// Returns whether the word contains a zero byte, which no argument can contain.
fn has_nul(word: &OsString) -> bool {
    word.as_encoded_bytes().contains(&0)
}

/// Returns the environment of commands.
fn environment() -> [(&'static str, &'static str); 9] {
    [
        ("PATH", PATH),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("XDG_RUNTIME_DIR", boot::RUNTIME),
        ("OUT", boot::OUT),
    ]
}

/// Makes pipes for stdin, stdout and stderr.
fn pipes() -> io::Result<PipeEnds> {
    let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
    let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (error, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&input, &out, &error] {
        fcntl_setfl(ours, OFlags::NONBLOCK)?;
    }
    Ok(PipeEnds {
        child: [stdin, stdout, stderr],
        input,
        outputs: vec![(Stream::Out, out), (Stream::Error, error)],
    })
}

/// Makes a pseudoterminal for all three streams.
fn terminal(window: Window) -> io::Result<PipeEnds> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    set_size(&master, window)?;
    fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let child = [slave.try_clone()?, slave.try_clone()?, slave];
    Ok(PipeEnds {
        child,
        input: master.try_clone()?,
        outputs: vec![(Stream::Out, master)],
    })
}

/// Sets the size of a terminal.
fn set_size(terminal: impl AsFd, window: Window) -> rustix::io::Result<()> {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row: window.rows,
            ws_col: window.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
}
