//! Tests of the helper process and its failures. A refusal, an abort, a missing reply or a malformed reply is returned as an
//! outcome, and the program goes on.
//!
//! This file has a main function of its own. If the program is started under the name `part-BEHAVIOUR`, it is a helper process
//! with that behaviour.
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a failed test")]

#[allow(
    dead_code,
    unreachable_pub,
    reason = "other tests use the other functions of this module"
)]
#[path = "../solver/tests/common/mod.rs"]
mod common;
#[path = "../solver/tests/common/sys.rs"]
mod sys;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use common::{camera, display, ram, source};
use covalent_alloc::constraint::{Contiguity, Guarantees};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::Request;
use covalent_alloc::trial::{
    Cause, Environment, Helper, HelperError, Limits, MeasuredCycle, Outcome, RefusalKind,
    Trial as _, TrialEnd, TrialPlan, TrialResults, narrowed, plan_of, serve, solve_with_trials,
};
use serde_json::{Value, json};

/// The deadline of each request. It is long enough for a helper process that replies. It is short, because the tests wait until
/// the deadline for a helper process that does not reply.
const DEADLINE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let part = Path::new(&name).file_name().unwrap_or_default();
    if let Some(part) = part.to_str().and_then(|part| part.strip_prefix("part-")) {
        return run_as_helper(part);
    }
    let tests: &[(&str, fn())] = &[
        ("abort_of_the_child_is_an_outcome_and_is_learnt", abort),
        ("crash_of_the_child_is_structural", crash),
        ("kill_of_the_child_is_transient", kill),
        ("silence_of_the_child_is_a_missed_deadline", silence),
        ("malformed_reply_of_the_child_is_a_refusal", malformed_reply),
        ("program_that_is_not_a_helper_is_refused", wrong_program),
        ("missing_program_is_named", missing),
        ("missing_source_is_refused_by_its_name", missing_source),
        (
            "crash_while_declaring_makes_those_drivers_unavailable",
            declaring,
        ),
        ("crash_while_measuring_is_an_outcome", measuring),
        ("reply_without_end_takes_bounded_memory", endless_reply),
        (
            "standard_error_without_end_takes_bounded_memory",
            endless_stderr,
        ),
        ("lost_processes_leak_no_fds_and_no_children", leaks),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// Returns a helper with this behaviour. Its program is a link to this test program with the name of the behaviour.
fn helper(behaviour: &str, folder: &tempfile::TempDir) -> Helper {
    let program = folder.path().join(format!("part-{behaviour}"));
    if !program.exists() {
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
    }
    Helper::new(program).with_deadline(DEADLINE)
}

fn request() -> Request {
    let guarantees = Guarantees {
        address: ram(2),
        ..Guarantees::default()
    };
    Request {
        participants: vec![camera(Contiguity::Scattered), display("bochs-drm")],
        sources: vec![
            source("heap:no-such-heap", "heap a", guarantees.clone()),
            source("heap:nor-this", "heap b", guarantees),
        ],
        ..Request::new(Extent::new(640, 480).unwrap())
    }
}

/// Allocates a buffer, tries the camera and then the display, and returns the outcome of the display.
fn outcome(behaviour: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper(behaviour, &folder);
    let request = request();
    let narrow = narrowed(&request, &plan_of(&request).unwrap());
    let plan = plan_of(&narrow).unwrap();
    let planned = TrialPlan {
        request: &narrow,
        plan: &plan,
    };
    let allocated = helper.allocate(planned).unwrap();
    assert_eq!(allocated.outcome, Outcome::Accepted);
    let [camera, display] = narrow.participants.as_slice() else {
        panic!()
    };
    assert_eq!(
        helper.attempt(planned, camera, None),
        Some(Outcome::Accepted)
    );
    let refused = helper.attempt(planned, display, None).unwrap();
    assert_eq!(helper.lost_process_count(), 1);
    // The next request starts another process, which allocates the buffer again. Its release is not counted as a lost process.
    assert_eq!(
        helper.attempt(planned, camera, None),
        Some(Outcome::Accepted)
    );
    helper.release();
    assert_eq!(helper.lost_process_count(), 1);
    refused
}

fn abort() {
    let refusal = outcome("abort");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(
        (refusal.kind, refusal.cause),
        (RefusalKind::Structural, Cause::Signal(6))
    );
    assert!(refusal.words.contains("aborted"), "{refusal}");
    assert!(refusal.words.contains("assertion of a driver"), "{refusal}");

    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper("abort", &folder);
    let mut results = TrialResults::empty(Environment::default(), 1);
    let tried = solve_with_trials(
        &request(),
        &mut [&mut helper],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::NoPlan);
    assert_eq!(tried.learnt_results.len(), 2);
    assert!(tried.trial_count <= Limits::default().trials);
}

fn crash() {
    let refusal = outcome("crash");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(
        (refusal.kind, refusal.cause),
        (RefusalKind::Structural, Cause::Signal(11))
    );
    let ended = outcome("exit");
    assert_eq!(ended.refusal().unwrap().cause, Cause::Exit(3));
}

fn kill() {
    let refusal = outcome("kill");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(
        (refusal.kind, refusal.cause),
        (RefusalKind::Transient, Cause::Signal(9))
    );
}

fn silence() {
    let refusal = outcome("hang");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(
        (refusal.kind, refusal.cause),
        (RefusalKind::Transient, Cause::Deadline(2))
    );
    assert!(refusal.words.contains("no answer within 2 s"), "{refusal}");
}

fn malformed_reply() {
    let refused = outcome("garbage");
    assert!(refused.refusal().is_some(), "{refused}");
}

fn wrong_program() {
    let folder = tempfile::tempdir().unwrap();
    for (behaviour, words) in [
        ("stranger", "version 99"),
        ("silent", "did not reply in time"),
    ] {
        match helper(behaviour, &folder).start() {
            Err(HelperError::WrongProgram { why, .. }) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let text = folder.path().join("text");
    std::fs::write(&text, "no program").unwrap();
    assert!(matches!(
        Helper::new(text).start(),
        Err(HelperError::Start { .. })
    ));
}

fn missing() {
    // There is no helper program in the folder of the test program.
    let error = Helper::find().unwrap_err().to_string();
    assert!(error.contains("covalent-prove"), "{error}");
    assert!(error.contains("COVALENT_PROVE"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let request = request();
    let narrow = narrowed(&request, &plan_of(&request).unwrap());
    let plan = plan_of(&narrow).unwrap();
    let planned = TrialPlan {
        request: &narrow,
        plan: &plan,
    };
    let mut gone = Helper::new(folder.path().join("gone"));
    let allocated = gone.allocate(planned).unwrap().outcome;
    assert!(matches!(allocated, Outcome::Untestable(why) if why.contains("gone")));
}

fn missing_source() {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper("good", &folder);
    let mut results = TrialResults::empty(Environment::default(), 1);
    let tried = solve_with_trials(
        &request(),
        &mut [&mut helper],
        &mut results,
        Limits::default(),
    );
    assert_eq!(tried.end, TrialEnd::NoPlan);
    assert_eq!(tried.refused_plans[0].refused_by, "heap a");
    assert!(
        tried.refused_plans[0]
            .refusal
            .words
            .contains("heap:no-such-heap")
    );
    // The refusal of a source is not a trial result of any participant.
    assert_eq!(results.all(), []);
    assert_eq!(helper.lost_process_count(), 0);
}

fn declaring() {
    let extent = Extent::new(640, 480).unwrap();
    for (behaviour, words) in [
        ("abort", "aborted"),
        ("kill", "was killed"),
        ("hang", "no answer within 2 s"),
        // A process that sends queries about formats without end does not get more time than the deadline.
        ("ask", "no answer within 2 s"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut helper = helper(behaviour, &folder);
        let declared = helper.declare_drivers(extent);
        assert!(declared.participants.is_empty() && declared.sources.is_empty());
        // The driver sets are at least Vulkan, and GBM if this machine has cards.
        let names: Vec<_> = declared.unavailable.iter().map(|one| &one.name).collect();
        assert!(names.iter().any(|name| *name == "Vulkan"), "{names:?}");
        for unavailable in &declared.unavailable {
            assert!(unavailable.why.contains(words), "{unavailable}");
        }
        assert_eq!(
            usize::try_from(helper.lost_process_count()).unwrap(),
            declared.unavailable.len()
        );
        helper.start().unwrap();
    }
    // Only the formats at which the driver ended the process are left out.
    let folder = tempfile::tempdir().unwrap();
    let mut by_format = helper("formats", &folder);
    let declared = by_format.declare_drivers(extent);
    let lost: Vec<_> = declared
        .unavailable
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    for (lost, fourcc) in lost.iter().zip(["NV12", "P010"]) {
        assert!(lost.contains(&format!(", {fourcc}: ")), "{lost}");
        let panic = format!("it panicked: no such plane of {fourcc} (nil/format.rs:61:9)");
        assert!(lost.ends_with(&panic), "{lost}");
    }
    assert_eq!(by_format.lost_process_count(), 2);
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper("good", &folder);
    let declared = helper.declare_drivers(extent);
    // If no driver declares participants, the list of unavailable drivers has the reason.
    assert!(
        !declared.participants.is_empty() || !declared.unavailable.is_empty(),
        "no driver is listed"
    );
    assert_eq!(helper.lost_process_count(), 0);
}

fn measuring() {
    let request = request();
    let narrow = narrowed(&request, &plan_of(&request).unwrap());
    let plan = plan_of(&narrow).unwrap();
    let planned = TrialPlan {
        request: &narrow,
        plan: &plan,
    };
    let [camera, display] = narrow.participants.as_slice() else {
        panic!()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut aborting = helper("abort", &folder);
    let cycle = MeasuredCycle {
        acquire_ns: 5,
        release_ns: 3,
    };
    let measured = aborting.measure_allocation(planned, 2);
    assert_eq!(measured, Ok(vec![cycle; 2]));
    assert_eq!(aborting.measure_import(planned, camera, 1), Ok(vec![cycle]));
    let refused = aborting.measure_import(planned, display, 1).unwrap_err();
    assert_eq!(refused.refusal().unwrap().cause, Cause::Signal(6));
    assert_eq!(aborting.lost_process_count(), 1);
    // The next process allocates the buffer again.
    assert_eq!(aborting.measure_import(planned, camera, 1), Ok(vec![cycle]));
    let mut good = helper("good", &folder);
    let refused = good.measure_allocation(planned, 1).unwrap_err();
    assert!(
        refused.to_string().contains("heap:no-such-heap"),
        "{refused}"
    );
    let refused = good.measure_import(planned, camera, 1).unwrap_err();
    assert!(refused.refusal().is_some(), "{refused}");
    assert_eq!(good.lost_process_count(), 0);
}

/// The documented limit of the memory for parsing a reply, as a multiple of the reply's length.
const MEMORY_FACTOR: usize = 256;
/// The length in bytes of the long replies of the tests, which is below the limit of a reply.
const LONG_REPLY_BYTES: usize = 512 << 10;

fn endless_reply() {
    let folder = tempfile::tempdir().unwrap();
    let camera = camera(Contiguity::Scattered);
    let extent = Extent::new(640, 480).unwrap();
    for (behaviour, length, lost) in [
        ("announce", 0, 1),
        ("promise", 0, 1),
        ("zeros", LONG_REPLY_BYTES, 0),
        ("nests", LONG_REPLY_BYTES, 1),
    ] {
        let mut helper = helper(behaviour, &folder);
        helper.start().unwrap();
        let (declared, usage) = sys::measured(|| helper.redeclare(&camera, extent));
        let most = usage.peak_bytes;
        let bound = length * MEMORY_FACTOR + (256 << 10);
        assert!(most <= bound, "{behaviour}: {most} bytes for {length}");
        assert_eq!(
            (declared.is_some(), helper.lost_process_count()),
            (lost == 0, lost),
            "{behaviour}"
        );
    }
}

fn endless_stderr() {
    let refusal = outcome("shout");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(refusal.cause, Cause::Exit(5));
    assert!(refusal.words.contains("\\u{1b}[2Jlast"), "{refusal}");
    assert!(refusal.words.chars().count() < 8_000);
}

/// Replies to a request for a declaration with a length that is too large, without data, or with a malformed text.
fn declare_wrongly(behaviour: &str, camera: &Value, socket: &mut UnixStream) {
    match behaviour {
        // The first length is above the limit of a message. The second length is at the limit, and no data follows it.
        "announce" => socket.write_all(&u32::MAX.to_le_bytes()).unwrap(),
        "promise" => socket.write_all(&(4_u32 << 20).to_le_bytes()).unwrap(),
        "zeros" => {
            let mut camera = camera.clone();
            camera["constraints"]["memory"]["more"] = json!(vec![0; LONG_REPLY_BYTES / 2]);
            return write(socket, &json!({"redeclared": {"participant": camera}}));
        }
        _ => {
            let text = "[".repeat(LONG_REPLY_BYTES);
            let length = u32::try_from(text.len()).unwrap();
            socket.write_all(&length.to_le_bytes()).unwrap();
            socket.write_all(text.as_bytes()).unwrap();
        }
    }
    std::process::exit(4);
}

fn leaks() {
    let folder = tempfile::tempdir().unwrap();
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    for behaviour in ["abort", "kill", "garbage"] {
        outcome(behaviour);
    }
    let mut unused = helper("good", &folder);
    unused.start().unwrap();
    drop(unused);
    assert_eq!(count(), before);
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap();
    assert_eq!(children.trim(), "");
}

/// Runs as a helper process. It accepts the buffer for each participant except the display, where it fails according to its
/// behaviour.
fn run_as_helper(behaviour: &str) -> ExitCode {
    if behaviour == "good" {
        return match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut socket = UnixStream::from(socket);
    let mut left_out = Value::Null;
    while let Some(request) = read(&mut socket) {
        if let Some(hello) = request.get("hello") {
            left_out = hello["left_out"].clone();
            match behaviour {
                "silent" => std::thread::sleep(DEADLINE * 5),
                "stranger" => write(&mut socket, &json!({"hello": {"version": 99}})),
                _ => write(&mut socket, &json!({"hello": {"version": 5}})),
            }
        } else if request.get("allocate").is_some() {
            let reply = json!({"allocated": {"outcome": "proved", "buffer": null}});
            write(&mut socket, &reply);
        } else if request["attempt"]["participant"]["role"] == "display" {
            fail(behaviour, &mut socket);
        } else if request.get("attempt").is_some() {
            write(&mut socket, &json!({"attempted": {"outcome": "proved"}}));
        } else if request.get("declare").is_some() && behaviour == "formats" {
            ask_about_formats(&left_out, &mut socket);
        } else if request.get("declare").is_some()
            || request["measure_import"]["participant"]["role"] == "display"
        {
            fail(behaviour, &mut socket);
        } else if let Some(measured) = ["measure_allocation", "measure_import"]
            .iter()
            .find_map(|kind| request.get(kind))
        {
            let cycle = json!({"taken_ns": 5, "given_back_ns": 3});
            let count = measured["turns"].as_u64().unwrap();
            let cycles: Vec<_> = (0..count).map(|_| cycle.clone()).collect();
            let reply = json!({"measured": {"outcome": "proved", "turns": cycles}});
            write(&mut socket, &reply);
        } else if request == "release" {
            write(&mut socket, &json!("released"));
        } else if request.get("redeclare_source").is_some() {
            write(&mut socket, &json!({"redeclared_source": {"source": null}}));
        } else if matches!(behaviour, "announce" | "promise" | "zeros" | "nests") {
            let camera = &request["redeclare"]["participant"];
            declare_wrongly(behaviour, camera, &mut socket);
        } else {
            write(&mut socket, &json!({"redeclared": {"participant": null}}));
        }
    }
    ExitCode::SUCCESS
}

/// Announces queries about four formats and then declares nothing. At two of the formats the process ends, unless they are left
/// out.
fn ask_about_formats(left_out: &Value, socket: &mut UnixStream) {
    let left_out = left_out.as_array().unwrap();
    for fourcc in ["XR24", "NV12", "P010", "NV21"] {
        if left_out.contains(&json!(fourcc)) {
            continue;
        }
        write(socket, &json!({"asks": {"fourcc": fourcc}}));
        if ["NV12", "P010"].contains(&fourcc) {
            eprintln!("thread 'x' panicked at nil/format.rs:61:9:\nno such plane of {fourcc}");
            std::process::abort();
        }
    }
    let declared = json!({"participants": [], "sources": [], "unavailable": []});
    write(socket, &json!({"declared": {"declared": declared}}));
}

fn fail(behaviour: &str, socket: &mut UnixStream) {
    let signal = |signal| {
        let own = rustix::process::getpid();
        // The signal is sent twice, because Rust's SIGSEGV handler returns from the first signal and expects that the fault
        // repeats.
        for _ in 0..2 {
            let _ = rustix::process::kill_process(own, signal);
        }
        std::thread::sleep(DEADLINE);
    };
    match behaviour {
        "abort" => {
            eprintln!("assertion of a driver failed");
            std::process::abort();
        }
        "crash" => signal(rustix::process::Signal::SEGV),
        "kill" => signal(rustix::process::Signal::KILL),
        "exit" => std::process::exit(3),
        "shout" => {
            let line = "\u{1b}[2Jlast ".repeat(100_000);
            let mut stderr = std::io::stderr();
            // The standard error is a memfd of a fixed size, so the writes fail once it is full.
            let is_full = (0..64).any(|_| stderr.write_all(line.as_bytes()).is_err());
            assert!(is_full, "the standard error is not bounded");
            std::process::exit(5);
        }
        "hang" => std::thread::sleep(DEADLINE * 5),
        "ask" => loop {
            write(socket, &json!({"asks": {"fourcc": "NV12"}}));
        },
        _ => {
            socket.write_all(&[4, 0, 0, 0]).unwrap();
            socket.write_all(b"}}{{").unwrap();
            std::process::exit(4);
        }
    }
}

fn read(socket: &mut UnixStream) -> Option<Value> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut text = vec![0; usize::try_from(u32::from_le_bytes(length)).ok()?];
    socket.read_exact(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write(socket: &mut UnixStream, value: &Value) {
    let text = value.to_string();
    let length = u32::try_from(text.len()).unwrap();
    let _ = socket.write_all(&length.to_le_bytes());
    let _ = socket.write_all(text.as_bytes());
}
