//! Tests ten hostile clients together with a well-behaved one. The compositor runs in a separate process with a virtual output.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[allow(dead_code, unused_imports)] // the fuzz target uses the rest
#[path = "../../../tests/clients/src/hostile/mod.rs"]
mod hostile;

/// The longest time that the compositor may take to end after SIGTERM.
const TERMINATION_LIMIT: Duration = Duration::from_secs(2);
/// The growth of resident memory that is not counted as a leak, because the allocator keeps freed memory for reuse.
const MEMORY_TOLERANCE_KIB: u64 = 32 * 1024;

/// The bounds for the measurements of the well-behaved client. This build is not optimised, and other programs use the CPU, so
/// only the CPU time of the compositor is checked. `covalent-hostile-check` has the bounds that a user notices.
const BOUNDS: hostile::Bounds = hostile::Bounds {
    cpu_time: Some(Duration::from_millis(500)),
    round_trip: None,
    lost_frames: None,
};

/// A compositor process.
struct Compositor {
    process: Child,
    directory: PathBuf,
}

impl Compositor {
    fn start() -> Self {
        let name = format!("covalent-hostile-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"))
            .args(["--backend", "headless", "--mode", "640x480@60", "--socket"])
            .arg(directory.join("socket"))
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap()
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns the duration of the test in seconds and its seed. Environment variables can set both.
fn parameters() -> (u64, u64) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    (
        number("COVALENT_HOSTILE_SECONDS", 10),
        number("COVALENT_HOSTILE_SEED", 1),
    )
}

#[test]
fn hostile_clients_do_not_affect_a_bystander() {
    let (seconds, seed) = parameters();
    let mut compositor = Compositor::start();
    let socket = compositor.directory.join("socket");
    // Memory that the compositor allocates once and keeps is not a leak. So the baseline is measured after a first run.
    let warm_up = Duration::from_secs(seconds.div_ceil(4));
    let pid = compositor.process.id();
    let outcome = hostile::run(&socket, pid, seed, Duration::from_secs(1), warm_up).unwrap();
    println!("{outcome}");
    std::thread::sleep(Duration::from_secs(1));
    let before = hostile::Resources::of(pid).unwrap();
    let outcome = hostile::run(
        &socket,
        pid,
        seed.wrapping_add(1),
        Duration::from_secs(seconds.min(10)),
        Duration::from_secs(seconds),
    )
    .unwrap_or_else(|error| panic!("{error:#}: {}", compositor.log()));
    println!("{outcome}");
    let after = before.wait_for_return(pid, MEMORY_TOLERANCE_KIB);
    println!("before: {before:?}, afterwards: {:?}", after.unwrap());
    outcome
        .check(BOUNDS)
        .unwrap_or_else(|error| panic!("{error:#}: {}", compositor.log()));
    let seed = seed.wrapping_add(2);
    let took = hostile::terminate_beside_clients(&socket, pid, seed, Duration::from_secs(1));
    let took = took.unwrap();
    let status = compositor.process.wait().unwrap();
    assert!(status.success(), "{status}: {}", compositor.log());
    assert!(took < TERMINATION_LIMIT, "SIGTERM took {took:?}");
}
