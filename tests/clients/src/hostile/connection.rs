//! A Wayland connection that keeps track of its objects. It can send valid requests and bytes that violate the protocol.

use std::collections::HashMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use wayland_client::backend::protocol::{ArgumentType, Interface};

use super::interfaces;
use super::message::{Argument, encode, word};

/// The object id of `wl_display`.
pub(super) const DISPLAY: u32 = 1;
/// The object id of the registry.
const REGISTRY: u32 = 2;
/// The first id of the objects that the compositor creates.
const SERVER_ID_MIN: u32 = 0xff00_0000;
/// The largest number of file descriptors that the compositor receives with one `recvmsg`.
pub(super) const FDS_MAX: usize = 28;
/// The number of unsent bytes above which a client creates no further requests.
const OUTBOX_MAX: usize = 1 << 16;

/// The interface and the version of a protocol object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub(super) interface: &'static Interface,
    pub(super) version: u32,
}

/// The protocol error that ended a connection.
#[derive(Clone, Debug)]
pub(super) struct ProtocolError {
    pub(super) object: u32,
    pub(super) code: u32,
    pub(super) message: String,
}

/// A connection to the compositor, with the objects that the client has created.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    objects: HashMap<u32, Object>,
    free_ids: Vec<u32>,
    next_id: u32,
    globals: Vec<(u32, String, u32)>,
    /// The `configure` events of surfaces that the client has not acknowledged: the object and the serial.
    pub(super) configures: Vec<(u32, u32)>,
    /// The callbacks whose `done` event has arrived.
    pub(super) done: Vec<u32>,
    pub(super) error: Option<ProtocolError>,
    pub(super) closed: bool,
}

impl Connection {
    /// Connects to the compositor, and waits until it has announced the globals.
    pub(super) fn open(socket: &Path) -> anyhow::Result<Self> {
        let mut connection = Self::start(UnixStream::connect(socket)?)?;
        connection.round_trip(Duration::from_secs(60));
        anyhow::ensure!(
            !connection.closed && !connection.globals.is_empty(),
            "the compositor announced no globals"
        );
        Ok(connection)
    }

    /// Requests the globals on a connected socket, without waiting for them.
    pub(super) fn start(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut connection = Self {
            stream,
            outbox: Vec::new(),
            inbox: Vec::new(),
            objects: HashMap::new(),
            free_ids: Vec::new(),
            next_id: REGISTRY + 1,
            globals: Vec::new(),
            configures: Vec::new(),
            done: Vec::new(),
            error: None,
            closed: false,
        };
        connection.send(&encode(DISPLAY, 1, &[REGISTRY.into()]), &[]);
        Ok(connection)
    }

    /// Returns the objects of an interface.
    pub(super) fn objects_of(&self, interface: &str) -> Vec<u32> {
        let mut objects: Vec<u32> = self
            .objects
            .iter()
            .filter(|(_, object)| object.interface.name == interface)
            .map(|(id, _)| *id)
            .collect();
        // The order of a hash map is different in each run, so the ids are sorted.
        objects.sort_unstable();
        objects
    }

    /// Returns all objects.
    pub(super) fn objects(&self) -> Vec<(u32, Object)> {
        let mut objects: Vec<_> = self
            .objects
            .iter()
            .map(|(id, object)| (*id, *object))
            .collect();
        objects.sort_unstable_by_key(|(id, _)| *id);
        objects
    }

    /// Returns an id for a new object: an id that was deleted, or else the next unused id.
    pub(super) fn new_id(&mut self, object: Option<Object>) -> u32 {
        let id = self.free_ids.pop().unwrap_or_else(|| {
            let id = self.next_id;
            self.next_id = self.next_id.saturating_add(1);
            id
        });
        if let Some(object) = object {
            self.objects.insert(id, object);
        }
        id
    }

    /// Removes an object after its destructor was sent.
    pub(super) fn forget(&mut self, object: u32) {
        self.objects.remove(&object);
    }

    /// Binds each global whose interface is in `interfaces.rs`, at the announced version.
    pub(super) fn bind_all(&mut self) {
        for (name, interface, version) in self.globals.clone() {
            if let Some(interface) = interfaces::of_global(&interface) {
                self.bind(name, interface, version);
            }
        }
    }

    /// Returns the globals whose interface is not in `interfaces.rs`.
    pub(super) fn unknown_globals(&self) -> Vec<&str> {
        self.globals
            .iter()
            .map(|(_, interface, _)| interface.as_str())
            .filter(|interface| interfaces::of_global(interface).is_none())
            .collect()
    }

    fn bind(&mut self, name: u32, interface: &'static Interface, version: u32) -> u32 {
        let version = version.min(interface.version);
        let id = self.new_id(Some(Object { interface, version }));
        let arguments = [
            name.into(),
            interface.name.into(),
            version.into(),
            id.into(),
        ];
        self.send(&encode(REGISTRY, 0, &arguments), &[]);
        id
    }

    /// Sends a request by its name. `arguments` does not contain the id of a new object. This function inserts the id at its
    /// position, and returns it.
    pub(super) fn call(
        &mut self,
        object: u32,
        request: &str,
        arguments: &[Argument],
        files: &[BorrowedFd<'_>],
    ) -> u32 {
        let Some(Object { interface, version }) = self.objects.get(&object).copied() else {
            return 0;
        };
        let described = interface
            .requests
            .iter()
            .position(|described| described.name == request);
        let Some((opcode, described)) = described.zip(described.map(|at| &interface.requests[at]))
        else {
            return 0;
        };
        let mut arguments = arguments.to_vec();
        let mut created = 0;
        let words = described
            .signature
            .iter()
            .filter(|kind| **kind != ArgumentType::Fd);
        for (place, kind) in words.enumerate() {
            if *kind == ArgumentType::NewId {
                let child = described
                    .child_interface
                    .map(|interface| Object { interface, version });
                created = self.new_id(child);
                arguments.insert(place.min(arguments.len()), created.into());
            }
        }
        let opcode = u32::try_from(opcode).unwrap_or(u32::MAX);
        self.send(&encode(object, opcode, &arguments), files);
        if described.is_destructor {
            self.forget(object);
        }
        created
    }

    /// Sends `wl_display.sync`; returns the callback.
    pub(super) fn sync(&mut self) -> u32 {
        let callback = self.new_id(Some(Object {
            interface: interfaces::callback(),
            version: 1,
        }));
        self.send(&encode(DISPLAY, 0, &[callback.into()]), &[]);
        callback
    }

    /// Sends bytes, and file descriptors together with the first byte. Without file descriptors, the bytes that the socket does
    /// not accept are sent later.
    pub(super) fn send(&mut self, bytes: &[u8], files: &[BorrowedFd<'_>]) {
        if files.is_empty() {
            self.outbox.extend(bytes);
            if self.outbox.len() > OUTBOX_MAX {
                self.flush();
            }
            return;
        }
        let files = files.get(..files.len().min(FDS_MAX)).unwrap_or_default();
        while !self.closed {
            self.flush();
            if self.outbox.is_empty() {
                match send_with(&self.stream, bytes, files) {
                    Ok(sent) => {
                        self.outbox.extend(bytes.get(sent..).unwrap_or_default());
                        return;
                    }
                    Err(Errno::AGAIN) => {}
                    Err(_) => return,
                }
            }
            self.wait(PollFlags::OUT, Duration::from_millis(100));
            self.read();
        }
    }

    /// Sends as many of the unsent bytes as the socket accepts.
    pub(super) fn flush(&mut self) {
        while !self.outbox.is_empty() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.stream, &self.outbox, flags) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    // The events that the compositor sent before it closed the connection can still be read.
                    self.outbox.clear();
                    break;
                }
            }
        }
    }

    /// Returns whether the client has to pause, because more than [`OUTBOX_MAX`] bytes are unsent.
    pub(super) fn is_congested(&self) -> bool {
        self.outbox.len() > OUTBOX_MAX
    }

    /// Waits until the socket is ready for these poll flags, for at most `limit`.
    pub(super) fn wait(&self, flags: PollFlags, limit: Duration) {
        let mut fds = [PollFd::new(&self.stream, flags)];
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let _ = poll(&mut fds, Some(&limit));
    }

    /// Sends the unsent bytes and reads the events, until the compositor has handled all requests, the connection is closed, or
    /// the time limit has passed. Returns whether the compositor has handled all requests.
    pub(super) fn round_trip(&mut self, limit: Duration) -> bool {
        let callback = self.sync();
        let deadline = std::time::Instant::now() + limit;
        while !self.closed && std::time::Instant::now() < deadline {
            self.flush();
            let flags = if self.outbox.is_empty() {
                PollFlags::IN
            } else {
                PollFlags::IN | PollFlags::OUT
            };
            self.wait(flags, Duration::from_millis(100));
            self.read();
            if self.done.contains(&callback) {
                self.done.clear();
                return true;
            }
        }
        false
    }

    /// Reads the events that have arrived. The kernel closes file descriptors that arrive with them, because the client does not
    /// receive them.
    pub(super) fn read(&mut self) {
        let mut bytes = [0; 16_384];
        while !self.closed {
            match rustix::io::read(&self.stream, &mut bytes[..]) {
                Ok(0) => self.closed = true,
                Ok(count) => self.inbox.extend(bytes.get(..count).unwrap_or_default()),
                Err(Errno::AGAIN) => break,
                Err(_) => self.closed = true,
            }
        }
        let inbox = std::mem::take(&mut self.inbox);
        let mut consumed = 0;
        while let Some(header) = inbox.get(consumed..consumed + 8) {
            let (object, opcode) = (word(header, 0), word(header, 4) & 0xffff);
            let size = usize::try_from(word(header, 4) >> 16).unwrap_or(0).max(8);
            let Some(body) = inbox.get(consumed + 8..consumed + size) else {
                break;
            };
            self.event(object, opcode, body);
            consumed += size;
        }
        self.inbox = inbox.get(consumed..).unwrap_or_default().to_vec();
    }

    fn event(&mut self, object: u32, opcode: u32, body: &[u8]) {
        match (object, opcode) {
            (DISPLAY, 0) => {
                let text = body.get(12..).unwrap_or_default();
                let message = String::from_utf8_lossy(text)
                    .trim_end_matches('\0')
                    .to_owned();
                self.error = Some(ProtocolError {
                    object: word(body, 0),
                    code: word(body, 4),
                    message,
                });
            }
            (DISPLAY, _) => {
                let id = word(body, 0);
                self.objects.remove(&id);
                self.free_ids.push(id);
            }
            (REGISTRY, 0) => {
                let length = usize::try_from(word(body, 4)).unwrap_or(0);
                let name = body
                    .get(8..8 + length.saturating_sub(1))
                    .unwrap_or_default();
                let name = String::from_utf8_lossy(name).into_owned();
                let version = word(body, body.len().saturating_sub(4));
                self.globals.push((word(body, 0), name, version));
            }
            _ => self.object_event(object, opcode, body),
        }
    }

    fn object_event(&mut self, object: u32, opcode: u32, body: &[u8]) {
        let Some(Object { interface, version }) = self.objects.get(&object).copied() else {
            return;
        };
        match (interface.name, opcode) {
            ("wl_callback", 0) => self.done.push(object),
            ("xdg_surface" | "zwlr_layer_surface_v1" | "ext_session_lock_surface_v1", 0) => {
                self.configures.push((object, word(body, 0)));
            }
            _ => {}
        }
        let index = usize::try_from(opcode).unwrap_or(usize::MAX);
        let child = interface
            .events
            .get(index)
            .and_then(|event| event.child_interface);
        // In every event that creates an object, the new object id is the first argument.
        let id = word(body, 0);
        if let Some(interface) = child.filter(|_| id >= SERVER_ID_MIN) {
            self.objects.insert(id, Object { interface, version });
        }
    }
}

/// Sends bytes with file descriptors by one `sendmsg`.
fn send_with(
    stream: &UnixStream,
    bytes: &[u8],
    files: &[BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut control, flags)
}
