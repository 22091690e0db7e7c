//! One connection to the control socket. It receives requests and sends replies without blocking, and limits the size of both.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::text::printable_json;
use covalent_protocols::control::{
    INTERVAL_MIN_MS, REPLY_MAX, REQUEST_MAX, Reply, Request, Snapshot, VERSION,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// The maximum number of bytes of one receive call.
const CHUNK: usize = 1024;

/// A peer of the control socket.
#[derive(Debug)]
pub(super) struct Peer {
    stream: Rc<UnixStream>,
    input: Vec<u8>,
    /// The reply that is being sent. Its first `sent_bytes` bytes were sent already.
    output: Vec<u8>,
    sent_bytes: usize,
    /// The peer's last request; `None` before its first request.
    pub(super) request: Option<Request>,
    /// Whether the last request has to be answered.
    pub(super) is_due: bool,
    /// The time of the last reply.
    pub(super) replied_at: Option<Duration>,
    /// The time at which bytes were received or sent last.
    pub(super) active_at: Duration,
    /// The number of snapshots that were skipped because the peer had not read the previous one.
    pub(super) skipped: u64,
    /// Whether the connection is closed after the output is sent.
    is_closing: bool,
}

/// The error that ends a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConnectionEnded;

impl Peer {
    pub(super) fn new(stream: Rc<UnixStream>, now: Duration) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent_bytes: 0,
            request: None,
            is_due: false,
            replied_at: None,
            active_at: now,
            skipped: 0,
            is_closing: false,
        }
    }

    /// Returns whether a reply is not sent completely yet.
    pub(super) fn has_output(&self) -> bool {
        self.sent_bytes < self.output.len()
    }

    /// Sends the unsent part of the last reply. If there is none, it receives bytes until a request is complete.
    ///
    /// The loop always ends: a peer that sends continuously exceeds the maximum size of a request, or completes a request.
    pub(super) fn exchange(&mut self, now: Duration) -> Result<(), ConnectionEnded> {
        self.flush(now)?;
        while !self.has_output() && !self.is_due && !self.is_closing {
            if self.take_request() {
                break;
            }
            if self.input.len() >= REQUEST_MAX {
                self.refuse("the request is longer than 4096 bytes", now)?;
                break;
            }
            let mut chunk = [0; CHUNK];
            match rustix::net::recv(self.stream.as_fd(), &mut chunk, RecvFlags::empty()) {
                Ok((_, 0)) => return Err(ConnectionEnded),
                Ok((_, count)) => {
                    self.active_at = now;
                    self.input
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(ConnectionEnded),
            }
        }
        // An error that the loop found is sent immediately.
        self.flush(now)?;
        if self.is_closing && !self.has_output() {
            return Err(ConnectionEnded);
        }
        Ok(())
    }

    /// Parses one line of the input as a request. Returns whether a line was complete.
    fn take_request(&mut self) -> bool {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return false;
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        match parse(&line) {
            Ok(request) => {
                self.request = Some(request);
                self.is_due = true;
            }
            Err(why) => self.set_error(&why),
        }
        true
    }

    /// Sends an error, and closes the connection after that.
    pub(super) fn refuse(&mut self, why: &str, now: Duration) -> Result<(), ConnectionEnded> {
        self.set_error(why);
        self.flush(now)
    }

    /// Queues a reply with an error. The connection is closed after it.
    fn set_error(&mut self, why: &str) {
        self.is_closing = true;
        self.set_reply(&Reply {
            version: VERSION,
            snapshot: None,
            error: Some(why.to_owned()),
        });
    }

    /// Sends a snapshot.
    pub(super) fn send(
        &mut self,
        mut snapshot: Snapshot,
        now: Duration,
    ) -> Result<(), ConnectionEnded> {
        snapshot.skipped = self.skipped;
        self.is_due = false;
        self.replied_at = Some(now);
        self.set_reply(&Reply {
            version: VERSION,
            snapshot: Some(snapshot),
            error: None,
        });
        self.exchange(now)
    }

    /// Queues a reply. A reply that is too large is replaced by an error.
    fn set_reply(&mut self, reply: &Reply) {
        // Serialising numbers and texts cannot fail.
        let text = serde_json::to_string(reply).unwrap_or_default();
        let mut text = printable_json(&text);
        text.push('\n');
        if text.len() > REPLY_MAX {
            self.is_closing = true;
            text = format!(
                "{{\"version\":{VERSION},\"error\":\"the state is too large to be sent\"}}\n"
            );
        }
        self.output = text.into_bytes();
        self.sent_bytes = 0;
    }

    /// Sends as much of the queued reply as the socket accepts.
    fn flush(&mut self, now: Duration) -> Result<(), ConnectionEnded> {
        while let Some(unsent) = self
            .output
            .get(self.sent_bytes..)
            .filter(|unsent| !unsent.is_empty())
        {
            match rustix::net::send(self.stream.as_fd(), unsent, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.active_at = now;
                    self.sent_bytes = self.sent_bytes.saturating_add(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(ConnectionEnded),
            }
        }
        // The memory of a large reply is freed.
        self.output = Vec::new();
        self.sent_bytes = 0;
        Ok(())
    }
}

/// Parses a line as a request. The error says why the line is not a valid request.
fn parse(line: &[u8]) -> Result<Request, String> {
    let mut request: Request = serde_json::from_slice(line)
        .map_err(|error| format!("the request cannot be parsed: {error}"))?;
    if request.version != VERSION {
        return Err(format!(
            "the request has version {}, and this compositor has version {VERSION}; use the covalent tool of the same release",
            request.version
        ));
    }
    request.interval_ms = request.interval_ms.map(|ms| ms.max(INTERVAL_MIN_MS));
    Ok(request)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn pair() -> (Peer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Peer::new(Rc::new(ours), Duration::ZERO), theirs)
    }

    #[test]
    fn request_in_parts_is_taken_when_it_is_complete() {
        let (mut peer, mut other) = pair();
        other.write_all(b"{\"version\":1,").unwrap();
        assert_eq!(peer.exchange(Duration::ZERO), Ok(()));
        assert!(!peer.is_due);
        other.write_all(b"\"interval_ms\":1}\nrest").unwrap();
        assert_eq!(peer.exchange(Duration::ZERO), Ok(()));
        assert!(peer.is_due);
        let interval = peer.request.and_then(|request| request.interval_ms);
        assert_eq!(
            interval,
            Some(INTERVAL_MIN_MS),
            "the interval is raised to INTERVAL_MIN_MS"
        );
    }

    #[test]
    fn request_that_is_not_valid_gets_an_error_and_the_end() {
        for garbage in [
            &b"\xff\x00\n"[..],
            b"{\"version\":2}\n",
            b"[]\n",
            b"\n",
            &[b'x'; 5000],
            &[b'['; 4095],
        ] {
            let (mut peer, mut other) = pair();
            other.write_all(garbage).unwrap();
            other.write_all(b"\n").unwrap();
            assert_eq!(
                peer.exchange(Duration::ZERO),
                Err(ConnectionEnded),
                "{garbage:?}"
            );
            drop(peer);
            let mut text = String::new();
            // The kernel may reset the connection, because the server has not read all of the request.
            let _ = other.read_to_string(&mut text);
            let reply: Reply = serde_json::from_str(&text).unwrap();
            assert!(reply.error.is_some() && reply.snapshot.is_none(), "{text}");
        }
    }

    #[test]
    fn peer_that_does_not_read_blocks_nothing_and_its_requests_wait() {
        let (mut peer, mut other) = pair();
        let large = Snapshot {
            surfaces: vec![Default::default(); 5000],
            ..Snapshot::default()
        };
        assert_eq!(peer.send(large, Duration::ZERO), Ok(()));
        assert!(peer.has_output());
        other.write_all(b"{\"version\":1}\n").unwrap();
        assert_eq!(peer.exchange(Duration::from_secs(1)), Ok(()));
        assert!(!peer.is_due && peer.has_output());
        other.set_nonblocking(true).unwrap();
        let mut bytes = vec![0; 1 << 20];
        for _ in 0..1000 {
            let _ = other.read(&mut bytes);
            assert_eq!(peer.exchange(Duration::from_secs(2)), Ok(()));
        }
        assert!(peer.is_due && !peer.has_output());
    }
}
