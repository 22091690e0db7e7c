//! The event loop that serves the host: one thread, which polls the port, the commands' pipes and SIGCHLD.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use covalent_tests::wire::{
    Bytes, Decoder, Exec, Prepare, Ready, Status, Stream, ToGuest, ToHost, encode,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::SIGCHLD;

use super::command::Command;
use super::control_group::{Group, Groups};

/// The number of bytes that may wait to be sent through the port. When as many are waiting, no output of commands is read.
const BACKLOG_BYTES: usize = 1 << 20;

/// The exit status of a command that could not be started. A shell uses the same status.
const CANNOT_RUN: u8 = 126;

/// The time after which this program tries again to remove a control group.
const GROUP_RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The function that prepares the guest as the host's first message requests.
pub(crate) type PrepareWith = fn(&Prepare) -> Result<Ready, String>;

/// The guest's end of the virtio-serial port, and the commands that run for the host.
#[derive(Debug)]
pub(crate) struct Server {
    port: File,
    decoder: Decoder,
    backlog: Vec<u8>,
    children: UnixStream,
    groups: Option<Groups>,
    commands: BTreeMap<u32, Command>,
    groups_to_remove: Vec<Group>,
}

/// The object to which a polled fd belongs.
#[derive(Debug, Clone, Copy)]
enum PollTarget {
    Port,
    Children,
    Input(u32),
    Output(u32, Stream),
}

impl Server {
    pub(crate) fn new(port: File, groups: Option<Groups>) -> io::Result<Self> {
        let flags = fcntl_getfl(&port)?;
        fcntl_setfl(&port, flags | OFlags::NONBLOCK)?;
        let (children, write) = UnixStream::pair()?;
        children.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, write)?;
        Ok(Self {
            port,
            decoder: Decoder::default(),
            backlog: Vec::new(),
            children,
            groups,
            commands: BTreeMap::new(),
            groups_to_remove: Vec::new(),
        })
    }

    /// Serves the host until it sends `PowerOff` or closes the port. Then kills all commands.
    pub(crate) fn run(&mut self, mut prepare: Option<PrepareWith>) -> io::Result<()> {
        let result = self.serve(&mut prepare);
        for command in self.commands.values_mut() {
            command.kill();
        }
        result
    }

    /// Handles messages, and forwards output of commands, until the host sends `PowerOff` or closes the port.
    fn serve(&mut self, prepare: &mut Option<PrepareWith>) -> io::Result<()> {
        loop {
            for (watched, ready) in self.wait()? {
                match watched {
                    PollTarget::Port => {
                        if ready.contains(PollFlags::OUT) {
                            self.flush()?;
                        }
                        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
                            && !self.receive(prepare)?
                        {
                            return Ok(());
                        }
                    }
                    PollTarget::Children => self.reap()?,
                    PollTarget::Input(id) => {
                        let done = self.commands.get_mut(&id).map_or(0, Command::write_input);
                        self.send_taken(id, done)?;
                    }
                    PollTarget::Output(id, stream) => self.forward(id, stream)?,
                }
            }
            self.finish()?;
        }
    }

    /// Waits in poll() and returns the fds that are ready, with their events.
    fn wait(&self) -> io::Result<Vec<(PollTarget, PollFlags)>> {
        let mut port = PollFlags::IN;
        if !self.backlog.is_empty() {
            port |= PollFlags::OUT;
        }
        let mut all: Vec<(PollTarget, BorrowedFd<'_>, PollFlags)> = vec![
            (PollTarget::Port, self.port.as_fd(), port),
            (PollTarget::Children, self.children.as_fd(), PollFlags::IN),
        ];
        for (&id, command) in &self.commands {
            if let Some(input) = command.wants_input() {
                all.push((PollTarget::Input(id), input, PollFlags::OUT));
            }
            if self.backlog.len() < BACKLOG_BYTES {
                for (stream, output) in command.readable() {
                    all.push((PollTarget::Output(id, stream), output, PollFlags::IN));
                }
            }
        }
        let mut fds: Vec<PollFd<'_>> = all
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let limit = (!self.groups_to_remove.is_empty()).then_some(&GROUP_RETRY);
        match poll(&mut fds, limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(all
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|((watched, _, _), fd)| (*watched, fd.revents()))
            .collect())
    }

    /// Handles the messages of the host. Returns false after `PowerOff`, and if the host has closed the port.
    fn receive(&mut self, prepare: &mut Option<PrepareWith>) -> io::Result<bool> {
        let mut piece = vec![0; 64 << 10];
        match self.port.read(&mut piece) {
            Ok(0) => return Ok(false),
            Ok(read) => self.decoder.push(&piece[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        loop {
            match self.decoder.take::<ToGuest>() {
                Ok(None) => return Ok(true),
                Ok(Some(ToGuest::PowerOff)) => return Ok(false),
                Ok(Some(ToGuest::Prepare(wanted))) => {
                    let answer = match prepare.take() {
                        Some(prepare) => prepare(&wanted)
                            .map_or_else(|reason| ToHost::Refused { reason }, ToHost::Ready),
                        None => protocol_error("the guest is prepared already"),
                    };
                    self.send(&answer)?;
                }
                Ok(Some(message)) => self.handle(message)?,
                Err(error) => self.send(&protocol_error(&error.to_string()))?,
            }
        }
    }

    /// Does what a message asks for. A message that cannot be handled is reported to the host.
    fn handle(&mut self, message: ToGuest) -> io::Result<()> {
        let result = match message {
            ToGuest::Start { id, exec } => return self.start(id, &exec),
            ToGuest::Input { id, bytes } => {
                match self
                    .commands
                    .get_mut(&id)
                    .map(|command| command.take_input(&bytes.0))
                {
                    // The command ended before its input arrived.
                    None => Ok(()),
                    Some(Ok(lost)) => return self.send_taken(id, lost),
                    Some(Err(reason)) => Err(format!("command {id}: {reason}")),
                }
            }
            ToGuest::InputEnd { id } => self.with(id, |command| {
                command.end_input();
                Ok(())
            }),
            ToGuest::Taken { id, stream, bytes } => self.with(id, |command| {
                command.add_credit(stream, bytes);
                Ok(())
            }),
            ToGuest::Signal { id, signal, to } => {
                self.with(id, |command| command.signal(signal, to))
            }
            ToGuest::Kill { id } => self.with(id, |command| {
                command.kill();
                Ok(())
            }),
            ToGuest::Resize { id, window } => self.with(id, |command| command.resize(window)),
            ToGuest::Sync => {
                rustix::fs::sync();
                return self.send(&ToHost::Synced);
            }
            _ => Err("this program does not support the message".to_owned()),
        };
        match result {
            Ok(()) => Ok(()),
            Err(words) => self.send(&protocol_error(&words)),
        }
    }

    /// Calls `action` with a command. If the command has ended in the meantime, this is no error.
    fn with(
        &mut self,
        id: u32,
        action: impl FnOnce(&mut Command) -> Result<(), String>,
    ) -> Result<(), String> {
        self.commands.get_mut(&id).map_or(Ok(()), action)
    }

    /// Starts a command. If that fails, the command ends at once with the error on its stderr.
    fn start(&mut self, id: u32, exec: &Exec) -> io::Result<()> {
        if self.commands.contains_key(&id) {
            return self.send(&protocol_error(&format!("command {id} is already running")));
        }
        match Command::start(id, exec, self.groups.as_ref()) {
            Ok(command) => {
                self.commands.insert(id, command);
                Ok(())
            }
            Err(error) => {
                let words = format!("covalent-guest: start the command: {error}\n");
                self.send(&ToHost::Output {
                    id,
                    stream: Stream::Error,
                    bytes: Bytes(words.into_bytes()),
                })?;
                self.send(&ToHost::Ended {
                    id,
                    status: Status::Code(CANNOT_RUN),
                })
            }
        }
    }

    /// Sends output of a command to the host.
    fn forward(&mut self, id: u32, stream: Stream) -> io::Result<()> {
        let Some(command) = self.commands.get_mut(&id) else {
            return Ok(());
        };
        let bytes = command.read_output(stream);
        if bytes.is_empty() {
            return Ok(());
        }
        self.send(&ToHost::Output {
            id,
            stream,
            bytes: Bytes(bytes),
        })
    }

    /// Reaps all processes that have ended. As the init process, this process also reaps orphans.
    fn reap(&mut self) -> io::Result<()> {
        let mut signals = [0; 64];
        while matches!(self.children.read(&mut signals), Ok(read) if read > 0) {}
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(command) = self
                        .commands
                        .values_mut()
                        .find(|command| command.pid() == pid)
                    {
                        command.ended(status);
                    }
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reports the commands that have ended to the host, and removes their control groups.
    fn finish(&mut self) -> io::Result<()> {
        let finished: Vec<(u32, Status)> = self
            .commands
            .iter()
            .filter_map(|(&id, command)| Some((id, command.finished()?)))
            .collect();
        for (id, status) in finished {
            if let Some(command) = self.commands.remove(&id) {
                self.groups_to_remove.extend(command.into_group());
            }
            self.send(&ToHost::Ended { id, status })?;
        }
        self.groups_to_remove.retain(|group| !group.remove());
        Ok(())
    }

    /// Tells the host that the command took `bytes` bytes of its input, so that the host sends more.
    fn send_taken(&mut self, id: u32, bytes: usize) -> io::Result<()> {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes > 0 => self.send(&ToHost::Taken { id, bytes }),
            _ => Ok(()),
        }
    }

    /// Queues a message for the host.
    fn send(&mut self, message: &ToHost) -> io::Result<()> {
        match encode(message) {
            Ok(frame) => self.backlog.extend(frame),
            Err(error) => eprintln!("covalent-guest: {error}"),
        }
        self.flush()
    }

    /// Writes as much of the queued messages as the port accepts.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.backlog.len() {
            match self.port.write(&self.backlog[written..]) {
                Ok(0) => break,
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.backlog.drain(..written);
        Ok(())
    }
}

/// Returns the message that reports an error to the host.
fn protocol_error(words: &str) -> ToHost {
    ToHost::ProtocolError {
        message: words.to_owned(),
    }
}
