//! QEMU's monitor protocol (QMP): JSON objects, one on each line.
//!
//! # References
//! QEMU, `docs/interop/qmp-spec.rst` and the QEMU QMP Reference Manual.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use image::RgbImage;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

/// The time limit of one command. QEMU's main loop shares a busy machine with the emulated CPUs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest line that QEMU may send, in bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The number of the fd set for pictures. Any unused number is possible.
const PICTURE_SET: u32 = 7;

/// The reason why a command to the monitor failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The socket failed, or no reply arrived in time.
    #[error("QEMU's monitor, {operation}: {source}")]
    Stream {
        /// The monitor's command that failed.
        operation: String,
        /// The error of the socket.
        source: io::Error,
    },
    /// QEMU has closed the monitor, because it ends or has ended.
    #[error("QEMU's monitor, {operation}: QEMU has ended")]
    Closed {
        /// The monitor's command that failed.
        operation: String,
    },
    /// QEMU refused the command.
    #[error("QEMU refuses {operation}: {description}")]
    Refused {
        /// The monitor's command that failed.
        operation: String,
        /// The reason that QEMU states.
        description: String,
    },
    /// The reply does not follow the protocol.
    #[error("QEMU's monitor, {operation}: unexpected answer {answer:?}")]
    Unexpected {
        /// The monitor's command that failed.
        operation: String,
        /// The text of the reply.
        answer: String,
    },
    /// The picture cannot be decoded.
    #[error("the picture of the display: {0}")]
    Picture(#[from] image::ImageError),
}

/// A connection to the monitor.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
    next: u64,
}

impl Qmp {
    /// Reads the greeting of the monitor on `stream`, and enables its commands.
    ///
    /// # Errors
    /// QEMU sends no greeting or no reply.
    pub fn new(stream: UnixStream) -> Result<Self, QmpError> {
        let mut monitor = Self {
            reader: BufReader::new(stream),
            events: Vec::new(),
            next: 0,
        };
        let operation = "greeting";
        let greeting = monitor.read_line(operation, Instant::now() + DEADLINE)?;
        if greeting.get("QMP").is_none() {
            return Err(unexpected(operation, &greeting));
        }
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Executes a command, and returns its result.
    ///
    /// # Errors
    /// QEMU refuses the command or does not answer.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, QmpError> {
        self.execute_with(command, arguments, None)
    }

    /// Executes a command, and passes a file descriptor with it.
    fn execute_with(
        &mut self,
        command: &str,
        arguments: &Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        self.next += 1;
        let id = self.next;
        let mut line = json!({"execute": command, "arguments": arguments, "id": id}).to_string();
        line.push('\n');
        self.send(line.as_bytes(), fd)
            .map_err(|source| stream_error(command, source))?;
        let until = Instant::now() + DEADLINE;
        loop {
            let mut answer = self.read_line(command, until)?;
            if answer.get("event").is_some() {
                self.events.push(answer);
                continue;
            }
            // This is the late reply to an earlier command, which exceeded its time limit.
            if answer.get("id") != Some(&json!(id)) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                return Err(QmpError::Refused {
                    operation: command.to_owned(),
                    description: error["desc"].as_str().unwrap_or_default().to_owned(),
                });
            }
            return match answer.get_mut("return") {
                Some(value) => Ok(value.take()),
                None => Err(unexpected(command, &answer)),
            };
        }
    }

    /// Waits for an event `name` whose data `wanted` accepts. Other events are stored for later calls.
    ///
    /// # Errors
    /// No such event comes within `limit`.
    pub fn event(
        &mut self,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let until = Instant::now() + limit;
        let is_it = |event: &Value| event["event"] == name && wanted(&event["data"]);
        loop {
            if let Some(index) = self.events.iter().position(is_it) {
                return Ok(self.events.swap_remove(index));
            }
            let line = self.read_line(name, until)?;
            if line.get("event").is_some() {
                self.events.push(line);
            }
        }
    }

    /// Returns QEMU's picture of what the display `device` shows now.
    ///
    /// # Errors
    /// QEMU makes no picture of the display, because GL draws it or because there is no such display.
    pub fn screendump(&mut self, device: &str) -> Result<RgbImage, QmpError> {
        const COMMAND: &str = "screendump";
        let failed = |source| stream_error(COMMAND, source);
        // QEMU writes the picture to a file without a name, whose fd is passed to it, because QEMU has another root file system.
        let mut file = tempfile::tempfile().map_err(failed)?;
        // QEMU compares the access mode of the fd with its own, so the fd must be write-only.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let write_only = File::options().write(true).open(path).map_err(failed)?;
        self.execute_with(
            "add-fd",
            &json!({"fdset-id": PICTURE_SET}),
            Some(write_only.as_fd()),
        )?;
        let arguments = json!({
            "filename": format!("/dev/fdset/{PICTURE_SET}"),
            "device": device,
            "format": "png",
        });
        let shown = self.execute(COMMAND, &arguments);
        self.execute("remove-fd", &json!({"fdset-id": PICTURE_SET}))?;
        shown?;
        let mut bytes = Vec::new();
        file.rewind().map_err(failed)?;
        file.read_to_end(&mut bytes).map_err(failed)?;
        let picture = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)?;
        Ok(picture.into_rgb8())
    }

    /// Unplugs a device, and waits until the guest has released it.
    ///
    /// # Errors
    /// There is no such device, or the guest does not release it within `limit`.
    pub fn unplug(&mut self, device: &str, limit: Duration) -> Result<(), QmpError> {
        self.execute("device_del", &json!({"id": device}))?;
        self.event("DEVICE_DELETED", |data| data["device"] == device, limit)?;
        Ok(())
    }

    /// Plugs in a device. `options` are those of `-device`, including `driver` and `id`.
    ///
    /// # Errors
    /// QEMU does not know the device, or has no free slot.
    pub fn plug(&mut self, options: &Value) -> Result<(), QmpError> {
        self.execute("device_add", options).map(|_| ())
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn quit(&mut self) -> Result<(), QmpError> {
        self.execute("quit", &json!({})).map(|_| ())
    }

    /// Sends a line, with a file descriptor if there is one.
    fn send(&self, line: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut socket = self.reader.get_ref();
        socket.set_write_timeout(Some(DEADLINE))?;
        let Some(fd) = fd else {
            return socket.write_all(line);
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other(
                "the message has no space for a descriptor",
            ));
        }
        let sent = sendmsg(
            socket,
            &[IoSlice::new(line)],
            &mut control,
            SendFlags::empty(),
        )?;
        socket.write_all(&line[sent..])
    }

    /// Reads a line of JSON until the time `until`.
    fn read_line(&mut self, operation: &str, until: Instant) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(stream_error(operation, io::ErrorKind::TimedOut.into()));
            }
            self.reader
                .get_ref()
                .set_read_timeout(Some(left))
                .map_err(|source| stream_error(operation, source))?;
            match (&mut self.reader)
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
            {
                Ok(0) => {
                    return Err(QmpError::Closed {
                        operation: operation.to_owned(),
                    });
                }
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(QmpError::Closed {
                        operation: operation.to_owned(),
                    });
                }
                Err(source) => return Err(stream_error(operation, source)),
            }
        }
        serde_json::from_slice(&line).map_err(|_| QmpError::Unexpected {
            operation: operation.to_owned(),
            answer: String::from_utf8_lossy(&line).into_owned(),
        })
    }
}

/// Makes the error of a failed read or write.
fn stream_error(operation: &str, source: io::Error) -> QmpError {
    QmpError::Stream {
        operation: operation.to_owned(),
        source,
    }
}

/// Makes the error for a reply that has not the expected form.
fn unexpected(operation: &str, answer: &Value) -> QmpError {
    QmpError::Unexpected {
        operation: operation.to_owned(),
        answer: answer.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Simulates QEMU: replies to each command with the next of `answers`.
    fn monitor(answers: Vec<&'static str>) -> (UnixStream, JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let player = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut commands = Vec::new();
            let mut lines = BufReader::new(theirs).lines();
            writer.write_all(b"{\"QMP\": {}}\n").unwrap();
            for answer in answers {
                commands.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
                writer.write_all(answer.as_bytes()).unwrap();
            }
            commands
        });
        (ours, player)
    }

    const HELLO: &str = "{\"return\": {}, \"id\": 1}\n";

    #[test]
    fn execute_with_an_event_first_keeps_the_event() {
        let answer = "{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n{\"return\": {\"status\": \"running\"}, \"id\": 2}\n";
        let (stream, player) = monitor(vec![HELLO, answer]);
        let mut monitor = Qmp::new(stream).unwrap();
        let status = monitor.execute("query-status", &json!({})).unwrap();
        assert_eq!(status["status"], "running");
        let event = monitor
            .event("RESET", |data| data["guest"] == true, DEADLINE)
            .unwrap();
        assert_eq!(event["event"], "RESET");
        assert_eq!(player.join().unwrap()[1]["execute"], "query-status");
    }

    #[test]
    fn execute_refused_returns_the_reason() {
        let answer =
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no surface\"}, \"id\": 2}\n";
        let (stream, _player) = monitor(vec![HELLO, answer]);
        let mut monitor = Qmp::new(stream).unwrap();
        let error = monitor.execute("screendump", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refuses screendump: no surface");
    }

    #[test]
    fn execute_with_an_invalid_answer_is_an_error() {
        let (stream, _player) = monitor(vec![HELLO, "invalid\n"]);
        let mut monitor = Qmp::new(stream).unwrap();
        let error = monitor.execute("quit", &json!({})).unwrap_err();
        assert!(matches!(error, QmpError::Unexpected { .. }), "{error}");
    }

    #[test]
    fn execute_after_qemu_has_ended_is_an_error() {
        let (stream, player) = monitor(vec![HELLO]);
        let mut monitor = Qmp::new(stream).unwrap();
        player.join().unwrap();
        let error = monitor.execute("query-status", &json!({})).unwrap_err();
        let closed = matches!(&error, QmpError::Closed { .. })
            || matches!(&error, QmpError::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe);
        assert!(closed, "{error}");
    }

    #[test]
    fn event_that_does_not_come_is_a_timeout() {
        let (stream, player) = UnixStream::pair().unwrap();
        let mut monitor = Qmp {
            reader: BufReader::new(stream),
            events: Vec::new(),
            next: 0,
        };
        let error = monitor.event("DEVICE_DELETED", |_| true, Duration::from_millis(50));
        assert!(matches!(error, Err(QmpError::Stream { .. })), "{error:?}");
        drop(player);
    }
}
