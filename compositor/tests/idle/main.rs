//! Tests that a compositor that has nothing to draw does not wake up at all.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::objects::make_pool;
use crate::fixture::wire::{Arg, Wire};
use crate::fixture::{Client, Marker};

#[allow(dead_code)] // the other test programs use the rest
#[path = "../clients/fixture/mod.rs"]
mod fixture;

/// The request `zwlr_screencopy_frame_v1.copy_with_damage`.
const COPY_WITH_DAMAGE: u32 = 2;
/// The event `zwlr_screencopy_frame_v1.ready`.
const READY: u32 = 2;

/// A compositor process with a virtual output.
struct Compositor {
    process: Child,
    folder: tempfile::TempDir,
}

impl Compositor {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"))
            .env("XDG_RUNTIME_DIR", folder.path())
            .env_remove("RUST_LOG")
            .args(["--backend", "headless", "--renderer", "software"])
            .args(["--mode", "320x240", "--socket", "idle"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        Self { process, folder }
    }

    fn client(&self) -> Client {
        let socket = self.folder.path().join("idle");
        let mut client = Client::new(UnixStream::connect(socket).unwrap());
        client.round_trip();
        client
    }

    /// Connects a client with two captures of the output: the first is finished, and the second waits for damage.
    fn capturing_client(&self) -> Wire {
        let socket = self.folder.path().join("idle");
        let mut wire = Wire::new(UnixStream::connect(socket).unwrap());
        wire.wait();
        let manager = wire.bind("zwlr_screencopy_manager_v1");
        let output = wire.bind("wl_output");
        let shm = wire.bind("wl_shm");
        let pool = make_pool(&mut wire, shm, 320 * 240 * 4);
        let buffer = wire.make(pool, 0, &[0, 320, 240, 1280, 1].map(Arg::Word));
        let capture = |wire: &mut Wire| {
            let frame = wire.make(manager, 0, &[0, output].map(Arg::Word));
            wire.send(frame, COPY_WITH_DAMAGE, &[buffer.into()]);
            frame
        };
        let first = capture(&mut wire);
        while wire.events_of(first, READY).is_empty() {
            assert_eq!(wire.error, None);
            wire.wait();
        }
        let second = capture(&mut wire);
        wire.wait();
        assert!(wire.events_of(second, READY).is_empty());
        wire
    }

    /// Connects a client that requests a notification of an inactive user; returns the object id of the notification.
    fn notified(&self) -> (Wire, u32) {
        let socket = self.folder.path().join("idle");
        let mut wire = Wire::new(UnixStream::connect(socket).unwrap());
        wire.wait();
        let (seat, notifier) = (wire.bind("wl_seat"), wire.bind("ext_idle_notifier_v1"));
        let notification = wire.make(notifier, 1, &[500.into(), seat.into()]);
        wire.wait();
        (wire, notification)
    }

    /// Returns the number of voluntary and involuntary context switches of each thread.
    fn context_switches(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
        statuses
            .flat_map(|status| {
                let status = status.unwrap();
                let lines = status
                    .lines()
                    .filter(|line| line.contains("voluntary_ctxt"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn idle_compositor_makes_no_system_call() {
    let compositor = Compositor::start();
    let mut client = compositor.client();
    let window = client.window();
    client.round_trip();
    let buffers = [
        client.colour(64, 64, 0xffff_0000),
        client.colour(64, 64, 0xff00_ff00),
    ];
    for round in 0..30 {
        window.show(&client, &buffers[round % 2]);
        client.until(|events| events.frames.len() > round);
    }
    // A capture that waits for damage needs no timer.
    let _capturing = compositor.capturing_client();
    // A frame callback of a hidden surface is sent with a delay.
    let unmapped = client.window();
    for _ in 0..2 {
        unmapped.surface.frame(&client.handle(), Marker::Frame);
        unmapped.surface.commit();
    }
    client.until(|events| events.frames.len() > 31);
    let mut notified = compositor.notified();
    // During this time the last frame is shown and all running timers expire.
    std::thread::sleep(Duration::from_secs(2));
    let before = compositor.context_switches();
    assert!(!before.is_empty());
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(compositor.context_switches(), before);
    // A notification of an inactive user that is idle causes no wake-up either.
    notified.0.wait();
    assert_eq!(notified.0.events_of(notified.1, 0).len(), 1);
    // The compositor still replies to requests.
    let start = Instant::now();
    client.round_trip();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_ne!(compositor.context_switches(), before);
}
