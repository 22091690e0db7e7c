//! Tests clients that exhaust shared resources: file descriptors and CPU time. The compositor runs in a separate process with a
//! low limit of file descriptors.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::memfd;
use crate::fixture::wire::{Arg, DISPLAY, Wire, message, send_with};

#[allow(dead_code)] // the other test programs use the rest
#[path = "../clients/fixture/mod.rs"]
mod fixture;

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;
const SIZE: (u32, u32) = (64, 48);

/// The longest time that the compositor may take to start or to end.
const TIMEOUT: Duration = Duration::from_secs(10);

static COUNT: AtomicU32 = AtomicU32::new(0);
/// The number of bytes that the flooding client has sent.
static SENT: AtomicUsize = AtomicUsize::new(0);

/// A compositor process with a virtual output and a limit of file descriptors.
struct Compositor {
    process: Child,
    directory: PathBuf,
}

impl Compositor {
    fn start(descriptors: u32) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("covalent-exhaustion-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut process = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_covalent-compositor"))
            .args(["--backend", "headless", "--mode", "64x48@60", "--socket"])
            .arg(directory.join("socket"))
            .arg("--report")
            .arg(directory.join("report"))
            .arg("--screenshot")
            .arg(directory.join("shown.png"))
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        Self { process, directory }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.join("socket")).unwrap()
    }

    /// Connects a client that has received all globals.
    #[track_caller]
    fn client(&self) -> Wire {
        let mut wire = Wire::new(self.connect());
        wire.wait();
        assert!(!wire.closed && !wire.globals.is_empty(), "not served");
        wire
    }

    /// Returns the number of open file descriptors of the compositor.
    fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// Returns the used CPU time of the compositor in hundredths of a second.
    fn time(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Ends the compositor with SIGTERM. Returns the pixels of the last frame, from the compositor's screenshot.
    #[track_caller]
    fn end(mut self) -> Vec<u32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "SIGTERM is ignored"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}: {}", self.log());
        let screenshot = image::open(self.directory.join("shown.png")).unwrap();
        screenshot
            .to_rgb8()
            .pixels()
            .map(|pixel| u32::from_be_bytes([0xff, pixel[0], pixel[1], pixel[2]]))
            .collect()
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A well-behaved client with a window that covers the output.
struct UnaffectedClient {
    wire: Wire,
    shm: u32,
    surface: u32,
}

impl UnaffectedClient {
    #[track_caller]
    fn new(compositor: &Compositor) -> Self {
        let mut wire = compositor.client();
        let shm = wire.bind("wl_shm");
        let factory = wire.bind("wl_compositor");
        let shell = wire.bind("xdg_wm_base");
        let surface = wire.make(factory, 0, &[]);
        let role = wire.make(shell, 2, &[surface.into()]);
        wire.make(role, 1, &[]);
        wire.send(surface, 6, &[]);
        wire.wait();
        let serial = wire.events_of(role, 0)[0].word(0);
        wire.send(role, 4, &[serial.into()]);
        let mut unaffected = Self { wire, shm, surface };
        unaffected.show(RED);
        unaffected
    }

    /// Shows a colour in a buffer of a new pool, so that a file descriptor is sent.
    #[track_caller]
    fn show(&mut self, colour: u32) {
        let (width, height) = SIZE;
        let pixels = usize::try_from(width * height).unwrap();
        let bytes: Vec<u8> = std::iter::repeat_n(colour.to_le_bytes(), pixels)
            .flatten()
            .collect();
        let file = memfd(&bytes);
        let pool = self.wire.new_id();
        let create = message(self.shm, 0, &[pool.into(), (width * height * 4).into()]);
        self.wire.send_bytes(&create, &[file.as_fd()]);
        let buffer_arguments = [0, width, height, width * 4, 1].map(Arg::Word);
        let buffer = self.wire.make(pool, 0, &buffer_arguments);
        self.wire
            .send(self.surface, 1, &[buffer, 0, 0].map(Arg::Word));
        self.wire
            .send(self.surface, 9, &[0, 0, width, height].map(Arg::Word));
        self.wire.send(self.surface, 6, &[]);
        self.wire.wait();
        assert!(
            !self.wire.closed,
            "the other client was disconnected: {:?}",
            self.wire.error
        );
    }
}

/// Sends messages that take no file descriptors, each with 28 file descriptors attached.
fn send_descriptors(stream: &UnixStream, file: BorrowedFd<'_>, count: u32) {
    for number in 0..count {
        // Object 2 is the registry. A sync callback is destroyed at once, so its id can be reused.
        let sync = message(DISPLAY, 0, &[(3 + number % 2).into()]);
        if send_with(stream, &sync, &[file; 28]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Shows green, and checks that green is on the display.
#[track_caller]
fn check(compositor: Compositor, mut unaffected: UnaffectedClient) {
    unaffected.show(GREEN);
    std::thread::sleep(Duration::from_millis(100));
    unaffected.wire.wait();
    let pixels = compositor.end();
    assert!(
        pixels.iter().all(|colour| *colour == GREEN),
        "the pixels of the other client changed: {:#x}",
        pixels[0]
    );
}

/// Writes the limit of this command and then the limit of the compositor to the file `$0`.
///
/// The compositor lowers its limit while it starts a command, and raises it afterwards. The command may run before the limit is
/// raised, so it waits until the two limits differ, at most five seconds.
const WRITE_LIMITS: &str = "\
own=$(ulimit -S -n)
for attempt in $(seq 100); do
    line=$(grep 'open files' /proc/$PPID/limits)
    set -- $line
    [ \"$4\" = \"$own\" ] || break
    sleep 0.05
done
printf '%s\\n%s\\n' \"$own\" \"$line\" > \"$0\"
";

#[test]
fn command_is_started_with_the_original_descriptor_limit() {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("covalent-exhaustion-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    let limits_file = directory.join("limit");
    let status = Command::new("sh")
        .arg("-c")
        .arg("ulimit -S -n 256; ulimit -H -n 1024; exec \"$0\" \"$@\"")
        .arg(env!("CARGO_BIN_EXE_covalent-compositor"))
        .args(["--backend", "headless", "--socket"])
        .arg(directory.join("socket"))
        .args(["--", "sh", "-c"])
        .arg(WRITE_LIMITS)
        .arg(&limits_file)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let text = std::fs::read_to_string(&limits_file).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(status.success());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "256", "the soft limit of the command");
    let compositor_limits: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(
        compositor_limits[3], "1024",
        "the soft limit of the compositor: {}",
        lines[1]
    );
}

#[test]
fn report_has_the_process_id_of_the_client() {
    let compositor = Compositor::start(1024);
    let mut unaffected = UnaffectedClient::new(&compositor);
    unaffected.show(GREEN);
    let report = compositor.directory.join("report");
    let expected = format!("\"client_pid\":{}", std::process::id());
    let deadline = Instant::now() + TIMEOUT;
    while !std::fs::read_to_string(&report)
        .unwrap()
        .contains(&expected)
    {
        assert!(
            Instant::now() < deadline,
            "the report names another process"
        );
        std::thread::sleep(Duration::from_millis(5));
        unaffected.show(GREEN);
    }
}

#[test]
fn file_descriptors_that_no_message_takes_disconnect_only_their_sender() {
    let compositor = Compositor::start(1024);
    let unaffected = UnaffectedClient::new(&compositor);
    let before = compositor.descriptors();
    let mut sender = compositor.client();
    let file = memfd(&[0; 16]);
    send_descriptors(&sender.stream, file.as_fd(), 40);
    sender.wait();
    assert!(sender.closed, "{} are open", compositor.descriptors());
    let (object, _, message) = sender.error.clone().unwrap();
    assert_eq!(object, DISPLAY);
    assert!(message.contains("descriptors"), "{message}");
    let deadline = Instant::now() + TIMEOUT;
    while compositor.descriptors() > before {
        assert!(Instant::now() < deadline, "they stay open");
        std::thread::sleep(Duration::from_millis(5));
    }
    check(compositor, unaffected);
}

#[test]
fn queued_file_descriptors_of_several_clients_below_the_limit_are_tolerated() {
    let compositor = Compositor::start(1024);
    let unaffected = UnaffectedClient::new(&compositor);
    let file = memfd(&[0; 16]);
    let senders: Vec<Wire> = (0..8).map(|_| compositor.client()).collect();
    for sender in &senders {
        send_descriptors(&sender.stream, file.as_fd(), 9);
    }
    check(compositor, unaffected);
}

#[test]
fn client_with_too_many_pools_is_disconnected_alone() {
    let compositor = Compositor::start(256);
    let unaffected = UnaffectedClient::new(&compositor);
    let mut sender = compositor.client();
    let shm = sender.bind("wl_shm");
    let file = memfd(&[0; 4096]);
    for _ in 0..600 {
        let pool = sender.new_id();
        let create = message(shm, 0, &[pool.into(), 4096.into()]);
        sender.send_bytes(&create, &[file.as_fd()]);
        sender.read();
    }
    sender.wait();
    assert!(sender.closed, "{} are open", compositor.descriptors());
    check(compositor, unaffected);
}

#[test]
fn clients_beyond_the_descriptor_limit_wait_and_are_accepted_later() {
    let compositor = Compositor::start(256);
    let unaffected = UnaffectedClient::new(&compositor);
    let waiting_clients: Vec<UnixStream> = (0..300).map(|_| compositor.connect()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let before = compositor.time();
    std::thread::sleep(Duration::from_secs(2));
    let cpu_time = compositor.time() - before;
    assert!(
        cpu_time < 50,
        "the compositor used {cpu_time} hundredths of a second of CPU time in two seconds"
    );
    let log = compositor.log();
    assert!(log.lines().count() < 40, "{} lines", log.lines().count());
    let mut unaffected = unaffected;
    unaffected.show(RED);
    drop(waiting_clients);
    let deadline = Instant::now() + TIMEOUT;
    let mut new_client = Wire::new(compositor.connect());
    while new_client.globals.is_empty() {
        assert!(Instant::now() < deadline, "no client is accepted any more");
        std::thread::sleep(Duration::from_millis(5));
        new_client.read();
    }
    check(compositor, unaffected);
}

#[test]
fn client_that_sends_without_end_does_not_starve_others() {
    let compositor = Compositor::start(1024);
    let mut unaffected = UnaffectedClient::new(&compositor);
    let mut flooding_client = compositor.client();
    let factory = flooding_client.bind("wl_compositor");
    let surface = flooding_client.make(factory, 0, &[]);
    flooding_client.wait();
    let sender = flooding_client.stream.try_clone().unwrap();
    sender.set_nonblocking(false).unwrap();
    let sent = std::thread::spawn(move || {
        // The request causes no events.
        let many = message(surface, 10, &[0, 0].map(Arg::Word)).repeat(4096);
        let flags = rustix::net::SendFlags::NOSIGNAL;
        let mut total = 0;
        while let Ok(count) = rustix::net::send(&sender, &many[total % many.len()..], flags) {
            total += count;
            SENT.store(total, Ordering::Relaxed);
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    let before = SENT.load(Ordering::Relaxed);
    let start = Instant::now();
    for _ in 0..20 {
        unaffected.wire.wait();
    }
    let elapsed = start.elapsed();
    assert!(
        elapsed < Duration::from_secs(5),
        "20 round trips took {elapsed:?}"
    );
    let is_still_sending = !sent.is_finished();
    check(compositor, unaffected);
    sent.join().unwrap();
    assert!(
        before > 0 && is_still_sending,
        "the flooding client did not send continuously: {before} bytes were sent before the round trips, is still sending: {is_still_sending}"
    );
}
