//! Tests the control socket: snapshots for `covalent watch`, and misbehaving peers.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use covalent_compositor::control::PEERS_MAX;
use covalent_protocols::control::{Reply, Request, Snapshot, VERSION};

use crate::fixture::{Client, Fixture};

const RED: u32 = 0xffff_0000;

/// A program that is connected to the control socket.
struct Peer {
    stream: UnixStream,
    received: Vec<u8>,
    is_closed: bool,
}

impl Peer {
    fn connect(folder: &tempfile::TempDir) -> Self {
        let stream = UnixStream::connect(folder.path().join("control")).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            received: Vec::new(),
            is_closed: false,
        }
    }

    fn request(&mut self, interval_ms: Option<u32>, holdings: bool) {
        let request = Request {
            version: VERSION,
            interval_ms,
            holdings,
        };
        let line = serde_json::to_string(&request).unwrap() + "\n";
        self.stream.write_all(line.as_bytes()).unwrap();
    }

    fn receive(&mut self) {
        let mut bytes = [0; 65536];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.is_closed = true;
                    return;
                }
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Reply> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(serde_json::from_slice(&line).unwrap())
    }

    #[track_caller]
    fn reply(&mut self, fixture: &mut Fixture, client: &mut Client) -> Reply {
        let mut reply = None;
        fixture.until(client, "a reply", |_, _| {
            self.receive();
            reply = reply.take().or_else(|| self.take_line());
            reply.is_some()
        });
        reply.unwrap()
    }

    #[track_caller]
    fn snapshot(&mut self, fixture: &mut Fixture, client: &mut Client) -> Snapshot {
        let reply = self.reply(fixture, client);
        reply
            .snapshot
            .unwrap_or_else(|| panic!("{:?}", reply.error))
    }
}

fn fixture() -> (Fixture, tempfile::TempDir) {
    let mut fixture = Fixture::new(64, 48);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control");
    fixture.state.open_control(&path).unwrap();
    (fixture, folder)
}

#[test]
fn snapshot_has_the_output_its_surface_and_the_path_of_its_frame() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    let window = client.window();
    window.toplevel.set_title("a\u{1b}[2J\u{202e}".to_owned());
    window.toplevel.set_app_id("org.example".to_owned());
    fixture.round_trip(&mut client);
    for colour in [RED, 0xff00_ff00] {
        window.show(&client, &client.colour(16, 8, colour));
        fixture.displayed_pixels(&mut client);
    }
    let mut peer = Peer::connect(&folder);
    peer.request(None, false);
    let snapshot = peer.snapshot(&mut fixture, &mut client);
    let [output] = &snapshot.outputs[..] else {
        panic!("{snapshot:?}");
    };
    assert_eq!((output.width, output.height), (64, 48));
    assert_eq!(output.refresh_millihertz, 200_000);
    assert!(output.frames >= 2 && output.scanned_out == 0, "{output:?}");
    assert!(output.frames_per_second > 0.0, "{output:?}");
    let latency = output.latency.unwrap();
    assert!(latency.p50_ns <= latency.p99_ns && latency.p99_ns <= latency.max_ns);
    assert!(latency.max_ns < 1_000_000_000, "{latency:?}");
    let last = output.last.as_ref().unwrap();
    assert_eq!(last.path, "composited");
    assert!(
        last.why_not_direct
            .as_deref()
            .unwrap()
            .contains("not fullscreen"),
        "{last:?}"
    );
    let [surface] = &snapshot.surfaces[..] else {
        panic!("{snapshot:?}");
    };
    assert_eq!(surface.title.as_deref(), Some("a\\u{1b}[2J\\u{202e}"));
    assert_eq!(surface.app_id.as_deref(), Some("org.example"));
    assert_eq!(surface.role.as_deref(), Some("xdg_toplevel"));
    assert_eq!((surface.width, surface.height), (16, 8));
    assert!(surface.visible && !surface.fullscreen);
    assert_eq!(surface.frames, 2);
    assert!(surface.latency.is_some());
    assert_eq!(surface.plane, None);
    assert!(surface.why_drawn.is_some(), "{surface:?}");
    let buffer = surface.buffer.as_ref().unwrap();
    assert_eq!((&*buffer.kind, &*buffer.format), ("shm", "XR24"));
    assert_eq!(buffer.stride_bytes, Some(64));
    let owner = snapshot
        .clients
        .iter()
        .find(|owner| owner.client == surface.client)
        .unwrap();
    assert_eq!(owner.pid, i32::try_from(std::process::id()).ok());
    assert!(owner.name.is_some() && owner.holdings.is_none());
    assert_eq!(
        owner.unreleased_buffers, 1,
        "only the buffer on the display is not released"
    );
}

#[test]
fn snapshot_has_all_outputs_and_counts_a_frame_of_a_window_across_them_once() {
    let (mut fixture, folder) = fixture();
    let first = fixture.screen().id();
    let second = fixture.add_output("HEADLESS-2".parse().unwrap(), (80, 48));
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    for colour in [RED, 0xff00_ff00, RED] {
        // The first output shows 64 columns of the window, and the second shows 36.
        window.show(&client, &client.colour(100, 20, colour));
        for output in [first, second] {
            let pixels = fixture.displayed_pixels_of(&mut client, output);
            assert!(pixels.contains(&colour));
        }
    }
    let on_second = client.window();
    on_second
        .toplevel
        .set_fullscreen(Some(&client.bind_outputs()[1]));
    fixture.round_trip(&mut client);
    on_second.show(&client, &client.colour(80, 48, 0xff00_00ff));
    fixture.displayed_pixels_of(&mut client, second);
    let mut peer = Peer::connect(&folder);
    peer.request(None, false);
    let snapshot = peer.snapshot(&mut fixture, &mut client);
    let outputs = snapshot.outputs.iter();
    let outputs: Vec<_> = outputs
        .map(|output| (&*output.name, output.width))
        .collect();
    assert_eq!(outputs, [("HEADLESS-1", 64), ("HEADLESS-2", 80)]);
    for output in &snapshot.outputs {
        assert!(output.frames >= 3 && output.last.is_some(), "{output:?}");
    }
    let surface_of = |width: u32| {
        let mut surfaces = snapshot.surfaces.iter();
        surfaces.find(|surface| surface.width == width).unwrap()
    };
    assert_eq!(surface_of(100).frames, 3, "{snapshot:?}");
    let on_second = surface_of(80);
    assert!(on_second.visible && on_second.fullscreen);
    assert_eq!(on_second.frames, 1, "{snapshot:?}");
}

#[test]
fn holdings_grow_with_what_a_client_creates_and_end_with_it() {
    let (mut fixture, folder) = fixture();
    let mut other = fixture.client();
    let mut peer = Peer::connect(&folder);
    peer.request(Some(50), true);
    let before = peer.snapshot(&mut fixture, &mut other);
    assert_eq!(before.clients.len(), 1);
    let process = before.process.unwrap();
    assert!(process.descriptors > 5 && process.resident_bytes > 1 << 20);
    let client = fixture.client();
    let buffers: Vec<_> = (0..5).map(|_| client.colour(32, 16, RED)).collect();
    let mut client = client;
    fixture.round_trip(&mut client);
    let with_two = |snapshot: &Snapshot| snapshot.clients.len() == 2;
    let with_buffers = |snapshot: &Snapshot| {
        let mut held = snapshot
            .clients
            .iter()
            .filter_map(|client| client.holdings.as_ref());
        held.any(|held| held.shm_bytes > 0)
    };
    // Snapshots that were taken before the buffers existed are skipped.
    let mut during = peer.snapshot(&mut fixture, &mut client);
    while !with_buffers(&during) {
        during = peer.snapshot(&mut fixture, &mut client);
    }
    let held = during
        .clients
        .iter()
        .filter_map(|client| client.holdings.as_ref())
        .max_by_key(|holdings| holdings.shm_bytes)
        .unwrap();
    assert_eq!(held.shm_bytes, 5 * 32 * 16 * 4);
    assert_eq!(held.objects["wl_buffer"], 5);
    assert!(during.process.unwrap().descriptors > process.descriptors);
    drop((buffers, client));
    let mut after = peer.snapshot(&mut fixture, &mut other);
    while with_two(&after) {
        after = peer.snapshot(&mut fixture, &mut other);
    }
    assert_eq!(after.clients.len(), 1);
}

#[test]
fn interval_sends_snapshots_until_the_peer_leaves() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    let mut peer = Peer::connect(&folder);
    peer.request(Some(50), false);
    let first = peer.snapshot(&mut fixture, &mut client).time_ns;
    let second = peer.snapshot(&mut fixture, &mut client).time_ns;
    let third = peer.snapshot(&mut fixture, &mut client).time_ns;
    assert!(second - first >= 45_000_000, "{first} {second}");
    assert!(third - second < 2_000_000_000, "{second} {third}");
    drop(peer);
    fixture.until(
        &mut client,
        "the disconnection of the peer",
        |fixture, _| fixture.state.control.connections() == 0,
    );
}

#[test]
fn requests_in_pieces_are_answered_no_more_often_than_the_shortest_interval() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    let mut peer = Peer::connect(&folder);
    peer.request(None, false);
    let mut times = vec![peer.snapshot(&mut fixture, &mut client).time_ns];
    // Each write wakes up the compositor while the reply to the previous request is delayed.
    let request = Request {
        version: VERSION,
        interval_ms: None,
        holdings: false,
    };
    let line = serde_json::to_string(&request).unwrap() + "\n";
    for _ in 0..6 {
        for byte in line.bytes() {
            peer.stream.write_all(&[byte]).unwrap();
            fixture.step(&mut client);
        }
    }
    for _ in 0..6 {
        times.push(peer.snapshot(&mut fixture, &mut client).time_ns);
    }
    for pair in times.windows(2) {
        // The timers may expire a little early, because they use another clock than the reported times.
        assert!(pair[1] - pair[0] >= 45_000_000, "{times:?}");
    }
}

#[test]
fn peer_that_never_reads_delays_no_frame_and_is_closed() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    // Many surfaces make the reply long, so that the kernel's socket buffer is soon full.
    let windows: Vec<_> = (0..40).map(|_| client.window()).collect();
    for window in &windows {
        window.toplevel.set_title("x".repeat(3000));
    }
    fixture.round_trip(&mut client);
    let mut silent = Peer::connect(&folder);
    silent.request(Some(50), true);
    let mut reader = Peer::connect(&folder);
    let start = Instant::now();
    let mut skipped = false;
    let mut rounds = 0;
    while fixture.state.control.connections() > 1 || rounds == 0 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it is not closed"
        );
        let requested_at = Instant::now();
        reader.request(None, false);
        let snapshot = reader.snapshot(&mut fixture, &mut client);
        skipped |= snapshot.skipped > 0;
        assert!(requested_at.elapsed() < Duration::from_secs(1));
        for _ in 0..20 {
            fixture.step(&mut client);
        }
        rounds += 1;
    }
    assert!(!skipped, "only the peer that does not read loses snapshots");
    assert!(start.elapsed() >= Duration::from_secs(9));
}

#[test]
fn request_that_is_not_valid_is_answered_by_an_error() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    for garbage in [
        &b"\0\0\0\n"[..],
        b"{\"version\":7}\n",
        b"{\"version\":1,\"interval_ms\":-1}\n",
        &[b'{'; 10_000],
    ] {
        let mut peer = Peer::connect(&folder);
        peer.stream.write_all(garbage).unwrap();
        let reply = peer.reply(&mut fixture, &mut client);
        assert!(reply.error.is_some() && reply.snapshot.is_none());
        fixture.until(&mut client, "the disconnection of the peer", |_, _| {
            peer.receive();
            peer.is_closed
        });
    }
    assert_eq!(fixture.state.control.connections(), 0);
}

#[test]
fn thousand_connections_are_refused_but_for_the_first_and_leave_nothing() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    let mut first = Peer::connect(&folder);
    first.request(Some(50), false);
    first.snapshot(&mut fixture, &mut client);
    let mut refused = 0;
    let mut kept = Vec::new();
    for _ in 0..1000 {
        let mut peer = Peer::connect(&folder);
        fixture.step(&mut client);
        fixture.step(&mut client);
        peer.receive();
        match peer.take_line() {
            Some(reply) => {
                assert!(reply.error.unwrap().contains("already"));
                refused += 1;
            }
            None => kept.push(peer),
        }
    }
    assert_eq!(kept.len() + 1, PEERS_MAX);
    assert_eq!(refused, 1000 - kept.len());
    // The first connection is still served. When the other connections are closed, a new connection is accepted again.
    first.snapshot(&mut fixture, &mut client);
    kept.clear();
    fixture.until(
        &mut client,
        "the disconnection of the other peers",
        |fixture, _| fixture.state.control.connections() == 1,
    );
    let mut next = Peer::connect(&folder);
    next.request(None, false);
    next.snapshot(&mut fixture, &mut client);
}

#[test]
fn commit_without_release_is_counted_until_it_is_released() {
    let (mut fixture, folder) = fixture();
    let mut client = fixture.client();
    let window = client.window();
    fixture.round_trip(&mut client);
    let mut peer = Peer::connect(&folder);
    peer.request(Some(50), false);
    let unreleased = |snapshot: &Snapshot| snapshot.clients[0].unreleased_buffers;
    assert_eq!(unreleased(&peer.snapshot(&mut fixture, &mut client)), 0);
    window.show(&client, &client.colour(8, 8, RED));
    fixture.displayed_pixels(&mut client);
    while unreleased(&peer.snapshot(&mut fixture, &mut client)) != 1 {}
    window.surface.attach(None, 0, 0);
    window.surface.commit();
    fixture.round_trip(&mut client);
    while unreleased(&peer.snapshot(&mut fixture, &mut client)) != 0 {}
}
