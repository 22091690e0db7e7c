//! The behaviours of hostile clients. A client repeats its behaviour until the test stops it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::connection::Connection;
use super::files::Files;
use super::message::encode;
use super::random::Random;
use super::random_requests::{send_any, send_well_formed};
use super::window::{ANSWER_LIMIT, Window};
use super::within_limits::ExpensiveClient;

/// The requests that a hostile client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Commits large trees of subsurfaces.
    Trees,
    /// Sets regions with very many rectangles.
    Regions,
    /// Shows large scaled buffers on top of each other.
    Pixels,
    /// Creates and destroys very many objects.
    Objects,
    /// Maps and unmaps its window, so that the keyboard focus changes.
    Focus,
    /// Sends well-formed random requests.
    WellFormed,
    /// Sends random requests, malformed messages and superfluous file descriptors.
    Broken,
    /// Sends requests and never reads an event.
    Stalling,
    /// Sends the cheapest requests as fast as possible.
    Flooding,
    /// Connects, sends a part of a message, and disconnects.
    Dying,
}

/// What a hostile client did until it was stopped.
#[derive(Clone, Debug, Default)]
pub struct HostileReport {
    /// The number of times that the client sent requests.
    pub requests: u64,
    /// The number of connections that the client opened.
    pub connections: u64,
    /// The last protocol error that the client received.
    pub last_error: Option<String>,
}

impl Behaviour {
    /// The behaviours that stay within the compositor's limits for a client.
    pub const WITHIN_LIMITS: [Self; 5] = [
        Self::Trees,
        Self::Regions,
        Self::Pixels,
        Self::Objects,
        Self::Focus,
    ];
    /// The behaviours that exceed the compositor's limits or violate the protocol.
    const BEYOND_LIMITS: [Self; 5] = [
        Self::WellFormed,
        Self::Broken,
        Self::Stalling,
        Self::Flooding,
        Self::Dying,
    ];

    /// Returns the behaviour of the client with this number. Every second client stays within its limits.
    pub(super) fn of_client(number: usize, seed: u64) -> Self {
        let shifted = number / 2 + usize::try_from(seed % 5).unwrap_or(0);
        let behaviours = if number % 2 == 0 {
            Self::WITHIN_LIMITS
        } else {
            Self::BEYOND_LIMITS
        };
        behaviours[shifted % behaviours.len()]
    }

    /// Returns whether the client has to stay connected.
    pub fn stays_connected(self) -> bool {
        Self::WITHIN_LIMITS.contains(&self)
    }

    /// Runs the client until `stop` is set. A client that is disconnected connects again.
    pub(super) fn run(
        self,
        socket: &Path,
        seed: u64,
        stop: &AtomicBool,
    ) -> anyhow::Result<HostileReport> {
        let mut random = Random::new(seed);
        let files = Files::open()?;
        let mut report = HostileReport::default();
        while !stop.load(Ordering::Relaxed) {
            // While the compositor has few file descriptors left, it accepts new clients later or refuses them.
            let Ok(mut connection) = Connection::open(socket) else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            report.connections += 1;
            let ran = self.run_connected(&mut connection, &files, &mut random, stop, &mut report);
            connection.read();
            if let Some(error) = &connection.error {
                report.last_error = Some(format!(
                    "object {}, code {}: {}",
                    error.object, error.code, error.message
                ));
            }
            if self.stays_connected() {
                ran?;
                if connection.closed {
                    report.connections += 1;
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    fn run_connected(
        self,
        connection: &mut Connection,
        files: &Files,
        random: &mut Random,
        stop: &AtomicBool,
        report: &mut HostileReport,
    ) -> anyhow::Result<()> {
        if self.stays_connected() {
            let mut client = ExpensiveClient::start(self, connection, files)?;
            while !stop.load(Ordering::Relaxed) && !connection.closed {
                client.step(connection, files, random);
                report.requests += 1;
                // The client reads its events and waits for the compositor's reply, as a client library does.
                connection.round_trip(ANSWER_LIMIT);
            }
            return Ok(());
        }
        Window::map(connection, files, (64, 48))?;
        let end = Instant::now() + Duration::from_secs(5);
        while !stop.load(Ordering::Relaxed) && !connection.closed && Instant::now() < end {
            report.requests += 1;
            match self {
                Self::WellFormed => {
                    send_well_formed(connection, files, random);
                    connection.read();
                }
                Self::Broken => {
                    send_any(connection, files, random);
                    connection.read();
                }
                Self::Stalling => send_well_formed(connection, files, random),
                Self::Flooding => {
                    let surface = connection.objects_of("wl_surface");
                    let surface = surface.first().copied().unwrap_or(0);
                    // The request `wl_surface.offset` causes no events.
                    let many = encode(surface, 10, &[0.into(), 0.into()]).repeat(512);
                    connection.send(&many, &[]);
                    connection.read();
                }
                _ => {
                    let bytes = encode(1, 0, &[connection.new_id(None).into()]);
                    let part = bytes.get(..random.below(bytes.len())).unwrap_or_default();
                    connection.send(part, &[files.any(random)]);
                    return Ok(());
                }
            }
            connection.flush();
            if connection.is_congested() {
                connection.wait(PollFlags::OUT, Duration::from_millis(100));
                if self == Self::Stalling {
                    // This loop ends when the compositor has closed the connection.
                    connection.closed = connection.error.is_some() || is_hung_up(connection);
                }
            }
        }
        Ok(())
    }
}

/// Returns whether the compositor has closed the connection, without reading the events that have arrived.
fn is_hung_up(connection: &Connection) -> bool {
    use rustix::event::{PollFd, Timespec, poll};
    let mut fds = [PollFd::new(&connection.stream, PollFlags::empty())];
    let no_wait = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = poll(&mut fds, Some(&no_wait));
    fds[0].revents().contains(PollFlags::HUP)
}
