//! Tests of the guest's first process (`covalent-guest serve`), which run on the host over a socketpair.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use covalent_tests::vm::link::{Event, Link, LinkError};
use covalent_tests::wire::{Exec, SignalTarget, Status, Stream, Window};

const COMMAND_LIMIT: Duration = Duration::from_secs(20);

struct Agent {
    child: Child,
    link: Link,
}

impl Agent {
    fn start() -> Self {
        let (port, other) = UnixStream::pair().unwrap();
        Self::on(port, other)
    }

    fn on(port: UnixStream, other: UnixStream) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_covalent-guest"))
            .arg("serve")
            .stdin(OwnedFd::from(other))
            .spawn()
            .unwrap();
        let link = Link::new(port).unwrap();
        Self { child, link }
    }

    fn run(&self, argv: &[&str], input: &[u8]) -> covalent_tests::vm::link::Output {
        self.link.run(exec(argv), input, COMMAND_LIMIT).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.link.power_off();
        assert!(self.child.wait().unwrap().success());
    }
}

fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(Into::into).collect(),
        folder: Some("/".into()),
        ..Exec::default()
    }
}

#[test]
fn command_output_error_and_status_are_returned() {
    let agent = Agent::start();
    let output = agent.run(&["sh", "-c", "printf out; printf err >&2; exit 3"], b"");
    assert_eq!(output.stdout, b"out");
    assert_eq!(output.stderr, b"err");
    assert_eq!(output.status, Status::Code(3));
}

#[test]
fn command_ended_by_signal_returns_the_signal() {
    let agent = Agent::start();
    let output = agent.run(&["sh", "-c", "kill -TERM $$"], b"");
    assert_eq!(output.status, Status::Signal(15));
}

#[test]
fn command_that_does_not_exist_returns_127() {
    let agent = Agent::start();
    let output = agent.run(&["covalent-no-such-program"], b"");
    assert_eq!(output.status, Status::Code(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("covalent-no-such-program"));
}

#[test]
fn command_with_empty_argv_is_refused_and_the_next_runs() {
    let agent = Agent::start();
    assert_eq!(agent.run(&[], b"").status, Status::Code(126));
    assert_eq!(agent.run(&["true"], b"").status, Status::Code(0));
}

#[test]
fn input_beyond_the_window_comes_back_unchanged() {
    let agent = Agent::start();
    let bytes: Vec<u8> = (0..10_000_019_u32)
        .flat_map(|n| [n.to_le_bytes()[n as usize % 3]])
        .collect();
    let output = agent.run(&["cat"], &bytes);
    assert!(
        output.stdout == bytes,
        "{} bytes were received",
        output.stdout.len()
    );
}

#[test]
fn unread_input_does_not_block_other_commands() {
    let agent = Agent::start();
    let sleeper = agent.link.start(exec(&["sleep", "60"])).unwrap();
    let input = sleeper.input();
    let error = input.write_all(&vec![0; 3 << 20], Duration::from_millis(500));
    assert!(
        matches!(error, Err(LinkError::Deadline { .. })),
        "{error:?}"
    );
    assert_eq!(agent.run(&["echo", "on"], b"").text(), "on");
    drop(sleeper);
}

#[test]
fn untaken_output_does_not_block_other_commands() {
    let agent = Agent::start();
    let writer = agent.link.start(exec(&["cat", "/dev/zero"])).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(agent.run(&["echo", "on"], b"").text(), "on");
    writer.kill().unwrap();
    assert_eq!(
        writer.wait(COMMAND_LIMIT).unwrap().status,
        Status::Signal(9)
    );
}

#[test]
fn command_past_its_deadline_is_ended_with_its_children() {
    let agent = Agent::start();
    let started = Instant::now();
    let line = "echo before; sleep 1234567 & wait";
    let error = agent
        .link
        .run(exec(&["sh", "-c", line]), b"", Duration::from_millis(500));
    match error {
        Err(LinkError::CommandDeadline { output, .. }) => {
            assert_eq!(output.stdout, b"before\n");
            assert_eq!(output.status, Status::Signal(9));
        }
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    let left = agent.run(&["sh", "-c", "ps ax | grep '[s]leep 1234567'"], b"");
    assert_eq!(left.text(), "");
}

#[test]
fn background_process_does_not_delay_the_end_of_its_command() {
    let agent = Agent::start();
    let started = Instant::now();
    let output = agent.run(&["sh", "-c", "sleep 30 & echo done"], b"");
    assert_eq!(output.text(), "done");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn running_command_receives_lines_and_signals() {
    let agent = Agent::start();
    let script = "trap 'echo got; exit 7' TERM; echo ready; while :; do read -r line; done";
    let mut process = agent.link.start(exec(&["sh", "-c", script])).unwrap();
    assert_eq!(
        process.line(Stream::Out, COMMAND_LIMIT).unwrap().as_deref(),
        Some("ready")
    );
    process.signal(15, SignalTarget::Leader).unwrap();
    assert_eq!(
        process.line(Stream::Out, COMMAND_LIMIT).unwrap().as_deref(),
        Some("got")
    );
    assert_eq!(process.line(Stream::Out, COMMAND_LIMIT).unwrap(), None);
    assert_eq!(
        process.next(COMMAND_LIMIT).unwrap(),
        Event::Ended(Status::Code(7))
    );
}

#[test]
fn signal_that_does_not_exist_is_reported() {
    let agent = Agent::start();
    let process = agent.link.start(exec(&["sleep", "60"])).unwrap();
    process.signal(4711, SignalTarget::Group).unwrap();
    agent.run(&["true"], b"");
    assert_eq!(agent.link.protocol_errors(), ["there is no signal 4711"]);
}

#[test]
fn terminal_has_its_size_and_delivers_an_interrupt() {
    let agent = Agent::start();
    let size = Window {
        rows: 31,
        columns: 97,
    };
    let mut process = agent
        .link
        .start(Exec {
            terminal: Some(size),
            ..exec(&[
                "sh",
                "-c",
                // The script sets no trap for SIGINT, because dash can lose a trapped signal that arrives just before `read`.
                "stty size; read -r line; stty size; exec sleep 60",
            ])
        })
        .unwrap();
    let mut next = || process.line(Stream::Out, COMMAND_LIMIT).unwrap();
    assert_eq!(next().as_deref(), Some("31 97\r"));
    process.input().resize(Window { rows: 10, ..size }).unwrap();
    process.input().write_all(b"\n", COMMAND_LIMIT).unwrap();
    // The terminal echoes the line before the script prints the size.
    let mut next = || process.line(Stream::Out, COMMAND_LIMIT).unwrap();
    assert_eq!(next().as_deref(), Some("\r"));
    assert_eq!(next().as_deref(), Some("10 97\r"));
    process.input().write_all(&[3], COMMAND_LIMIT).unwrap();
    let output = process.wait(COMMAND_LIMIT).unwrap();
    assert_eq!(output.status, Status::Signal(2));
}

#[test]
fn terminal_end_of_input_ends_a_reader() {
    let agent = Agent::start();
    let window = Window {
        rows: 25,
        columns: 80,
    };
    let terminal = Exec {
        terminal: Some(window),
        ..exec(&["cat"])
    };
    let output = agent.link.run(terminal, b"word\n", COMMAND_LIMIT).unwrap();
    assert_eq!(output.status, Status::Code(0));
    assert!(output.text().contains("word"));
}

#[test]
fn invalid_bytes_on_the_port_are_reported_and_skipped() {
    use std::io::Write as _;
    let (port, other) = UnixStream::pair().unwrap();
    let mut rubbish = port.try_clone().unwrap();
    rubbish
        .write_all(&[5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff])
        .unwrap();
    rubbish.write_all(&(8_u32 << 20).to_le_bytes()).unwrap();
    let agent = Agent::on(port, other);
    rubbish.write_all(&vec![7; 8 << 20]).unwrap();
    assert_eq!(agent.run(&["echo", "on"], b"").text(), "on");
    assert_eq!(agent.link.protocol_errors().len(), 2);
}

#[test]
fn files_are_written_whole_with_their_mode() {
    let agent = Agent::start();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("deep/file");
    let (program, name) = (env!("CARGO_BIN_EXE_covalent-guest"), path.to_str().unwrap());
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let put = agent.run(&[program, "put", name, "0640"], &bytes);
    assert_eq!(put.status, Status::Code(0), "{put:?}");
    let mode = agent.run(&["stat", "-c", "%a", name], b"");
    assert_eq!(mode.text(), "640");
    let got = agent.run(&[program, "get", name], b"");
    assert!(got.stdout == bytes);
    let lost = agent.run(&[program, "get", "/no/such/file"], b"");
    assert_eq!(lost.status, Status::Code(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("/no/such/file"));
}
