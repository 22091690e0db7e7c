//! Tests the server over its socket, with readers that follow the rules and readers that do not. The buffers are memfds, so the
//! tests need no device.

mod reading;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::model::{Extent, Fourcc, Layout};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::reader::{parse_description, parse_frame};
use super::*;

const COLOURS: Colours = Colours {
    encoding: Encoding::Bt709,
    is_full_range: true,
};

/// Returns the layout of a buffer of 8x8 pixels.
fn layout() -> Layout {
    Layout::linear(Extent::new(8, 8).unwrap(), Fourcc::XRGB8888, 1, 0).unwrap()
}

/// Returns memfds, which stand for the dma-bufs.
fn memfds(count: usize) -> Vec<OwnedFd> {
    let memfd = |_| rustix::fs::memfd_create("buffer", MemfdFlags::CLOEXEC).unwrap();
    (0..count).map(memfd).collect()
}

/// A server of six buffers, whose socket is in its own folder.
struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
    server: FrameServer,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let server = FrameServer::listen(&path, vec![layout(); 6], memfds(6), COLOURS).unwrap();
        Self {
            _folder: folder,
            path,
            server,
        }
    }

    /// Connects a reader and receives the first message for it.
    fn reader(&mut self) -> RawReader {
        let reader = RawReader::connect(&self.path);
        assert_eq!(self.server.serve().unwrap(), [0; 0]);
        reader.receive().unwrap();
        reader
    }

    /// Shows a frame, and returns how many readers got it.
    fn show(&mut self, index: usize) -> usize {
        self.server.show(index, 7, Some(Duration::from_nanos(9)))
    }

    /// Returns the numbers of readers, frames and lost frames in the report.
    fn numbers(&self) -> (u64, u64, u64) {
        let shared = serde_json::to_value(self.server.shared()).unwrap();
        let number = |name: &str| shared[name].as_u64().unwrap();
        (number("readers"), number("frames"), number("lost"))
    }
}

/// A connection to the server whose messages each test chooses.
struct RawReader(OwnedFd);

impl RawReader {
    /// Connects to the socket of the server.
    fn connect(path: &Path) -> Self {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(socket)
    }

    fn send(&self, message: &[u8]) {
        rustix::net::send(&self.0, message, SendFlags::NOSIGNAL).unwrap();
    }

    /// Sends the message that the buffer `index` is no longer read.
    fn done(&self, index: usize) {
        self.send(format!("{{\"done\":{index}}}").as_bytes());
    }

    /// Receives a message; `None` if none has arrived. At the end of the connection the message is empty.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; DESCRIPTION_BYTES_MAX];
        match rustix::net::recv(&self.0, &mut bytes, RecvFlags::empty()) {
            Ok((count, _)) => {
                bytes.truncate(count);
                Some(bytes)
            }
            Err(rustix::io::Errno::AGAIN) => None,
            Err(_) => Some(Vec::new()),
        }
    }

    /// Receives the message about a frame, and returns the index of its buffer; `None` if none has arrived.
    fn frame(&self) -> Option<usize> {
        let message = self.receive()?;
        Some(parse_frame(&message).unwrap().index)
    }

    /// Returns whether the server has closed the connection.
    fn is_disconnected(&self) -> bool {
        self.receive().is_some_and(|message| message.is_empty())
    }
}

#[test]
fn reader_gets_the_layouts_the_frames_and_one_frame_at_a_time() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.show(0), 0, "nobody reads");
    let reader = RawReader::connect(&fixture.path);
    assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
    let description = parse_description(&reader.receive().unwrap()).unwrap();
    assert_eq!(description.layouts, vec![layout(); 6]);
    assert_eq!(Colours::from(description.colours), COLOURS);
    assert_eq!(fixture.show(2), 1);
    assert_eq!(
        reader.receive().unwrap(),
        b"{\"index\":2,\"sequence\":7,\"timestamp_ns\":9}"
    );
    assert_eq!(fixture.show(3), 0, "it has buffer 2");
    reader.done(2);
    assert_eq!(fixture.server.serve().unwrap(), [2]);
    assert_eq!(fixture.show(3), 1);
    assert_eq!(reader.frame(), Some(3));
    assert_eq!(fixture.numbers(), (1, 2, 1));
    drop(fixture.server);
    assert!(reader.is_disconnected() && !fixture.path.exists());
}

#[test]
fn reader_that_hangs_up_or_breaks_the_rules_is_disconnected_and_its_frame_returned() {
    let messages: [&[u8]; 10] = [
        b"",
        b"{\"done\":1}",
        b"{\"done\":-1}",
        b"{\"done\":18446744073709551616}",
        b"{\"done\":2,\"more\":0}",
        b"[]",
        b"\xff\x00",
        b"{\"done\":",
        &[b'['; 200],
        &[b' '; 300],
    ];
    for message in messages {
        let mut fixture = Fixture::new();
        let (reader, other) = (fixture.reader(), fixture.reader());
        assert_eq!(fixture.show(2), 2);
        reader.send(message);
        assert_eq!(fixture.server.serve().unwrap(), [2], "{message:?}");
        assert_eq!(reader.frame(), Some(2));
        assert!(reader.is_disconnected(), "{message:?}");
        drop(other);
        assert_eq!(fixture.server.serve().unwrap(), [2]);
        assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
        assert_eq!(fixture.show(3), 0, "no reader is left");
    }
}

#[test]
fn reader_that_returns_a_frame_twice_or_sends_file_descriptors_is_disconnected() {
    let mut fixture = Fixture::new();
    let (twice, with_fd) = (fixture.reader(), fixture.reader());
    assert_eq!(fixture.show(2), 2);
    twice.done(2);
    twice.done(2);
    connection::send(&with_fd.0, b"{\"done\":2}", &memfds(1)).unwrap();
    // Each call of `serve` receives one message of each reader.
    assert_eq!(fixture.server.serve().unwrap(), [2, 2]);
    assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
    assert_eq!(fixture.show(3), 0, "both readers are disconnected");
}

#[test]
fn reader_that_fills_its_socket_is_served_one_message_at_a_time() {
    let mut fixture = Fixture::new();
    let (flooding, reader) = (fixture.reader(), fixture.reader());
    while rustix::net::send(&flooding.0, b"{}", SendFlags::NOSIGNAL).is_ok() {}
    assert_eq!(fixture.show(2), 2);
    reader.done(2);
    let mut returned = fixture.server.serve().unwrap();
    returned.sort_unstable();
    assert_eq!(returned, [2, 2]);
    assert_eq!(fixture.show(3), 1, "the other reader gets the frame");
}

#[test]
fn reader_that_gives_up_between_two_frames_costs_nothing() {
    let mut fixture = Fixture::new();
    drop(fixture.reader());
    assert_eq!(fixture.show(2), 0);
    assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
}

#[test]
fn more_readers_than_the_limit_are_refused_until_one_ends() {
    let mut fixture = Fixture::new();
    let mut readers: Vec<RawReader> = (0..READERS_MAX).map(|_| fixture.reader()).collect();
    let refused = RawReader::connect(&fixture.path);
    assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
    let error = parse_description(&refused.receive().unwrap()).unwrap_err();
    assert!(error.to_string().contains("8 readers"), "{error}");
    assert!(refused.is_disconnected());
    readers.pop();
    assert_eq!(fixture.server.serve().unwrap(), [0; 0]);
    fixture.reader();
}

#[test]
fn slow_readers_have_one_buffer_together_and_the_fast_one_gets_every_frame() {
    let mut fixture = Fixture::new();
    let (slow, late, fast) = (fixture.reader(), fixture.reader(), fixture.reader());
    assert_eq!(fixture.show(0), 3);
    fast.done(0);
    assert_eq!(fixture.server.serve().unwrap(), [0]);
    assert_eq!(fixture.show(1), 1, "two have buffer 0");
    late.done(0);
    fast.done(1);
    assert_eq!(fixture.server.serve().unwrap().len(), 2);
    assert_eq!(
        fixture.show(2),
        1,
        "the late reader gets no frame while the slow reader holds one"
    );
    fast.done(2);
    slow.done(0);
    assert_eq!(fixture.server.serve().unwrap().len(), 2);
    assert_eq!(fixture.show(3), 3, "no reader has a buffer");
    assert_eq!(fixture.numbers(), (3, 8, 4));
}

#[test]
fn reader_that_keeps_a_frame_for_too_long_is_disconnected() {
    let mut fixture = Fixture::new();
    let reader = fixture.reader();
    assert_eq!(fixture.show(2), 1);
    assert!(!fixture.server.is_due());
    let since = std::time::Instant::now().checked_sub(Duration::from_secs(11));
    fixture.server.connections[0].held = Some((2, since.unwrap()));
    assert!(fixture.server.is_due());
    assert_eq!(fixture.server.serve().unwrap(), [2]);
    assert!(!fixture.server.is_due());
    assert_eq!(reader.frame(), Some(2));
    assert!(reader.is_disconnected());
}

#[test]
fn readers_have_at_most_two_buffers() {
    let mut fixture = Fixture::new();
    let _first = fixture.reader();
    assert_eq!(fixture.show(0), 1);
    let _second = fixture.reader();
    assert_eq!(fixture.show(1), 1);
    let _third = fixture.reader();
    assert_eq!(fixture.show(2), 0, "buffers 0 and 1 are with readers");
}
