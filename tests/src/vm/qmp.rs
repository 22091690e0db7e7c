//! QEMU's monitor protocol: JSON objects, one a line.
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

/// How long QEMU may take for one order. Its main loop runs beside the emulated CPUs, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// The longest line that QEMU may send.
const LINE_LIMIT: u64 = 1 << 20;

/// The set of descriptors that pictures go through; any number that nobody else uses.
const PICTURE_SET: u32 = 7;

/// What goes wrong with the monitor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The stream broke, or nothing came in time.
    #[error("QEMU's monitor, {operation}: {source}")]
    Stream {
        /// The order.
        operation: String,
        /// What came back.
        source: io::Error,
    },
    /// QEMU has closed the monitor: it ends, or has ended.
    #[error("QEMU's monitor, {operation}: QEMU has gone")]
    Gone {
        /// The order.
        operation: String,
    },
    /// QEMU does not do it.
    #[error("QEMU refuses {operation}: {description}")]
    Refused {
        /// The order.
        operation: String,
        /// Why, in QEMU's words.
        description: String,
    },
    /// What came is not what the protocol says.
    #[error("QEMU's monitor, {operation}: unexpected words {words:?}")]
    Unexpected {
        /// The order.
        operation: String,
        /// What came.
        words: String,
    },
    /// The picture cannot be read.
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
    /// Greets the monitor behind `stream`.
    ///
    /// # Errors
    /// Where nobody answers there.
    pub fn new(stream: UnixStream) -> Result<Self, QmpError> {
        let mut monitor = Self {
            reader: BufReader::new(stream),
            events: Vec::new(),
            next: 0,
        };
        let operation = "greeting";
        let greeting = monitor.line(operation, Instant::now() + DEADLINE)?;
        if greeting.get("QMP").is_none() {
            return Err(unexpected(operation, &greeting));
        }
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Errors
    /// Where QEMU refuses or does not answer.
    pub fn execute(&mut self, order: &str, arguments: &Value) -> Result<Value, QmpError> {
        self.execute_with(order, arguments, None)
    }

    fn execute_with(
        &mut self,
        order: &str,
        arguments: &Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        self.next += 1;
        let id = self.next;
        let mut line = json!({"execute": order, "arguments": arguments, "id": id}).to_string();
        line.push('\n');
        self.send(line.as_bytes(), fd)
            .map_err(|source| stream(order, source))?;
        let until = Instant::now() + DEADLINE;
        loop {
            let mut answer = self.line(order, until)?;
            if answer.get("event").is_some() {
                self.events.push(answer);
                continue;
            }
            // An answer to an order that was given up.
            if answer.get("id") != Some(&json!(id)) {
                continue;
            }
            if let Some(error) = answer.get("error") {
                return Err(QmpError::Refused {
                    operation: order.to_owned(),
                    description: error["desc"].as_str().unwrap_or_default().to_owned(),
                });
            }
            return match answer.get_mut("return") {
                Some(value) => Ok(value.take()),
                None => Err(unexpected(order, &answer)),
            };
        }
    }

    /// Waits for an event that `wanted` accepts. Events of other kinds are kept.
    ///
    /// # Errors
    /// Where none comes within `limit`.
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
            let line = self.line(name, until)?;
            if line.get("event").is_some() {
                self.events.push(line);
            }
        }
    }

    /// What the display `device` shows now.
    ///
    /// # Errors
    /// Where QEMU has no picture: a display that GL draws, or none.
    pub fn screendump(&mut self, device: &str) -> Result<RgbImage, QmpError> {
        const ORDER: &str = "screendump";
        let failed = |source| stream(ORDER, source);
        // The picture goes through a file without a name: QEMU lives in a file system of its own.
        let mut file = tempfile::tempfile().map_err(failed)?;
        // QEMU compares the access mode with what it wants to do, so reading and writing will not do.
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
        let shown = self.execute(ORDER, &arguments);
        self.execute("remove-fd", &json!({"fdset-id": PICTURE_SET}))?;
        shown?;
        let mut bytes = Vec::new();
        file.rewind().map_err(failed)?;
        file.read_to_end(&mut bytes).map_err(failed)?;
        let picture = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)?;
        Ok(picture.into_rgb8())
    }

    /// Unplugs a device and waits until the guest has let it go.
    ///
    /// # Errors
    /// Where there is no such device, or the guest holds on to it for `limit`.
    pub fn unplug(&mut self, device: &str, limit: Duration) -> Result<(), QmpError> {
        self.execute("device_del", &json!({"id": device}))?;
        self.event("DEVICE_DELETED", |data| data["device"] == device, limit)?;
        Ok(())
    }

    /// Plugs a device in. `options` are those of `-device`, `driver` and `id` among them.
    ///
    /// # Errors
    /// Where QEMU does not know the device or has no place for it.
    pub fn plug(&mut self, options: &Value) -> Result<(), QmpError> {
        self.execute("device_add", options).map(|_| ())
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn quit(&mut self) -> Result<(), QmpError> {
        self.execute("quit", &json!({})).map(|_| ())
    }

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
            return Err(io::Error::other("no room for a descriptor in a message"));
        }
        let sent = sendmsg(
            socket,
            &[IoSlice::new(line)],
            &mut control,
            SendFlags::empty(),
        )?;
        socket.write_all(&line[sent..])
    }

    fn line(&mut self, operation: &str, until: Instant) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(stream(operation, io::ErrorKind::TimedOut.into()));
            }
            self.reader
                .get_ref()
                .set_read_timeout(Some(left))
                .map_err(|source| stream(operation, source))?;
            match (&mut self.reader)
                .take(LINE_LIMIT)
                .read_until(b'\n', &mut line)
            {
                Ok(0) => {
                    return Err(QmpError::Gone {
                        operation: operation.to_owned(),
                    });
                }
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(QmpError::Gone {
                        operation: operation.to_owned(),
                    });
                }
                Err(source) => return Err(stream(operation, source)),
            }
        }
        serde_json::from_slice(&line).map_err(|_| QmpError::Unexpected {
            operation: operation.to_owned(),
            words: String::from_utf8_lossy(&line).into_owned(),
        })
    }
}

fn stream(operation: &str, source: io::Error) -> QmpError {
    QmpError::Stream {
        operation: operation.to_owned(),
        source,
    }
}

fn unexpected(operation: &str, words: &Value) -> QmpError {
    QmpError::Unexpected {
        operation: operation.to_owned(),
        words: words.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Plays QEMU: for each order it gets, it says the next of `answers`.
    fn monitor(answers: Vec<&'static str>) -> (UnixStream, JoinHandle<Vec<Value>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let player = thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut orders = Vec::new();
            let mut lines = BufReader::new(theirs).lines();
            writer.write_all(b"{\"QMP\": {}}\n").unwrap();
            for answer in answers {
                orders.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
                writer.write_all(answer.as_bytes()).unwrap();
            }
            orders
        });
        (ours, player)
    }

    const HELLO: &str = "{\"return\": {}, \"id\": 1}\n";

    #[test]
    fn execute_event_before_the_answer_is_kept() {
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
    fn execute_refused_says_why() {
        let answer =
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no surface\"}, \"id\": 2}\n";
        let (stream, _player) = monitor(vec![HELLO, answer]);
        let mut monitor = Qmp::new(stream).unwrap();
        let error = monitor.execute("screendump", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refuses screendump: no surface");
    }

    #[test]
    fn execute_rubbish_is_an_error() {
        let (stream, _player) = monitor(vec![HELLO, "rubbish\n"]);
        let mut monitor = Qmp::new(stream).unwrap();
        let error = monitor.execute("quit", &json!({})).unwrap_err();
        assert!(matches!(error, QmpError::Unexpected { .. }), "{error}");
    }

    #[test]
    fn execute_qemu_gone_is_said() {
        let (stream, player) = monitor(vec![HELLO]);
        let mut monitor = Qmp::new(stream).unwrap();
        player.join().unwrap();
        let error = monitor.execute("query-status", &json!({})).unwrap_err();
        let gone = matches!(&error, QmpError::Gone { .. })
            || matches!(&error, QmpError::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe);
        assert!(gone, "{error}");
    }

    #[test]
    fn event_that_does_not_come_meets_its_deadline() {
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
