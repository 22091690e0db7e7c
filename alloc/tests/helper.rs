//! The helper process, and whatever can become of it: refusals, aborts, silence and nonsense are outcomes, and the caller lives.
//!
//! This file has a main function of its own: started under the name of a part, it plays a helper process that goes wrong so.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

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

/// Long for a process that answers, short for a test that waits for none.
const SHORT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let part = Path::new(&name).file_name().unwrap_or_default();
    if let Some(part) = part.to_str().and_then(|part| part.strip_prefix("part-")) {
        return play(part);
    }
    let tests: &[(&str, fn())] = &[
        ("abort_of_the_child_is_an_outcome_and_learnt", abort),
        ("crash_of_the_child_is_structural", crash),
        ("kill_of_the_child_is_transient", kill),
        ("silence_of_the_child_is_an_outcome", silence),
        ("nonsense_of_the_child_is_an_outcome", nonsense),
        ("stranger_is_no_helper", stranger),
        ("program_that_is_not_there_is_named", missing),
        ("source_that_is_not_there_is_refused_by_its_name", good),
        ("death_while_declaring_costs_those_drivers", declaring),
        ("death_while_measuring_is_an_outcome", measuring),
        ("answer_without_end_takes_a_bounded_memory", endless),
        ("words_without_end_take_a_bounded_memory", talkative),
        ("nothing_leaks_by_deaths", leaks),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// A program that plays this part: a link to this one under its name.
fn helper(part: &str, folder: &tempfile::TempDir) -> Helper {
    let program = folder.path().join(format!("part-{part}"));
    if !program.exists() {
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
    }
    Helper::new(program).with_deadline(SHORT)
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

/// Allocates, tries the camera and then the display, and returns how the display took it.
fn outcome(part: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper(part, &folder);
    let request = request();
    let narrow = narrowed(&request, &plan_of(&request).unwrap());
    let plan = plan_of(&narrow).unwrap();
    let planned = TrialPlan {
        request: &narrow,
        plan: &plan,
    };
    let allocated = helper.allocate(planned).unwrap();
    assert_eq!(allocated.outcome, Outcome::Proved);
    let [camera, display] = narrow.participants.as_slice() else {
        panic!()
    };
    assert_eq!(helper.attempt(planned, camera, None), Some(Outcome::Proved));
    let refused = helper.attempt(planned, display, None).unwrap();
    assert_eq!(helper.lost_process_count(), 1);
    // The next question finds another process, with the buffer anew; and letting go is no death.
    assert_eq!(helper.attempt(planned, camera, None), Some(Outcome::Proved));
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
    let mut facts = TrialResults::empty(Environment::default(), 1);
    let proven = solve_with_trials(
        &request(),
        &mut [&mut helper],
        &mut facts,
        Limits::default(),
    );
    assert_eq!(proven.end, TrialEnd::NoPlan);
    assert_eq!(proven.learnt_results.len(), 2);
    assert!(proven.trial_count <= Limits::default().trials);
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

fn nonsense() {
    let refused = outcome("garbage");
    assert!(refused.refusal().is_some(), "{refused}");
}

fn stranger() {
    let folder = tempfile::tempdir().unwrap();
    for (part, words) in [("stranger", "version 99"), ("silent", "no answer")] {
        match helper(part, &folder).start() {
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
    // Beside a test there is no helper program.
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

fn good() {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper("good", &folder);
    let mut facts = TrialResults::empty(Environment::default(), 1);
    let proven = solve_with_trials(
        &request(),
        &mut [&mut helper],
        &mut facts,
        Limits::default(),
    );
    assert_eq!(proven.end, TrialEnd::NoPlan);
    assert_eq!(proven.refused_plans[0].refused_by, "heap a");
    assert!(
        proven.refused_plans[0]
            .refusal
            .words
            .contains("heap:no-such-heap")
    );
    // What a source does not give is not a fact of any participant.
    assert_eq!(facts.facts(), []);
    assert_eq!(helper.lost_process_count(), 0);
}

fn declaring() {
    let extent = Extent::new(640, 480).unwrap();
    for (part, words) in [
        ("abort", "aborted"),
        ("kill", "was killed"),
        ("hang", "no answer within 2 s"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut helper = helper(part, &folder);
        let declared = helper.declare_drivers(extent);
        assert!(declared.participants.is_empty() && declared.sources.is_empty());
        // Vulkan's at least, and GBM's where this machine has cards.
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
    let folder = tempfile::tempdir().unwrap();
    let mut helper = helper("good", &folder);
    let declared = helper.declare_drivers(extent);
    // Who is not there says why.
    assert!(
        !declared.participants.is_empty() || !declared.unavailable.is_empty(),
        "nothing is said of any driver"
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
    let mut dying = helper("abort", &folder);
    let turn = MeasuredCycle {
        acquire_ns: 5,
        release_ns: 3,
    };
    let measured = dying.measure_allocation(planned, 2);
    assert_eq!(measured, Ok(vec![turn; 2]));
    assert_eq!(dying.measure_import(planned, camera, 1), Ok(vec![turn]));
    let refused = dying.measure_import(planned, display, 1).unwrap_err();
    assert_eq!(refused.refusal().unwrap().cause, Cause::Signal(6));
    assert_eq!(dying.lost_process_count(), 1);
    // The next process has the buffer anew.
    assert_eq!(dying.measure_import(planned, camera, 1), Ok(vec![turn]));
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

/// What the documentation of the messages states: so many times the length of an answer.
const MULTIPLE: usize = 256;
/// The length of an answer that is too long for its use and short enough to be read.
const LONG: usize = 512 << 10;

fn endless() {
    let folder = tempfile::tempdir().unwrap();
    let camera = camera(Contiguity::Scattered);
    let extent = Extent::new(640, 480).unwrap();
    for (part, length, deaths) in [
        ("announce", 0, 1),
        ("promise", 0, 1),
        ("zeros", LONG, 0),
        ("nests", LONG, 1),
    ] {
        let mut helper = helper(part, &folder);
        helper.start().unwrap();
        let (declared, usage) = sys::measured(|| helper.redeclare(&camera, extent));
        let most = usage.peak_bytes;
        let bound = length * MULTIPLE + (256 << 10);
        assert!(most <= bound, "{part}: {most} bytes for {length}");
        assert_eq!(
            (declared.is_some(), helper.lost_process_count()),
            (deaths == 0, deaths),
            "{part}"
        );
    }
}

fn talkative() {
    let refusal = outcome("shout");
    let refusal = refusal.refusal().unwrap();
    assert_eq!(refusal.cause, Cause::Exit(5));
    assert!(refusal.words.contains("\\u{1b}[2Jlast"), "{refusal}");
    assert!(refusal.words.chars().count() < 8_000);
}

/// Answers a question for a declaration as no helper does.
fn declare_wrongly(part: &str, camera: &Value, socket: &mut UnixStream) {
    match part {
        // More than any answer has, and as much as one may have, of which nothing comes.
        "announce" => socket.write_all(&u32::MAX.to_le_bytes()).unwrap(),
        "promise" => socket.write_all(&(4_u32 << 20).to_le_bytes()).unwrap(),
        "zeros" => {
            let mut camera = camera.clone();
            camera["constraints"]["memory"]["more"] = json!(vec![0; LONG / 2]);
            return write(socket, &json!({"redeclared": {"participant": camera}}));
        }
        _ => {
            let text = "[".repeat(LONG);
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
    for part in ["abort", "kill", "garbage"] {
        outcome(part);
    }
    let mut unused = helper("good", &folder);
    unused.start().unwrap();
    drop(unused);
    assert_eq!(count(), before);
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap();
    assert_eq!(children.trim(), "");
}

/// Plays a helper process that says yes to all but the display, where it goes wrong.
fn play(part: &str) -> ExitCode {
    if part == "good" {
        return match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut socket = UnixStream::from(socket);
    while let Some(question) = read(&mut socket) {
        if question.get("hello").is_some() {
            match part {
                "silent" => std::thread::sleep(SHORT * 5),
                "stranger" => write(&mut socket, &json!({"hello": {"version": 99}})),
                _ => write(&mut socket, &json!({"hello": {"version": 3}})),
            }
        } else if question.get("allocate").is_some() {
            let answer = json!({"allocated": {"outcome": "proved", "buffer": null}});
            write(&mut socket, &answer);
        } else if question["attempt"]["participant"]["role"] == "display" {
            go_wrong(part, &mut socket);
        } else if question.get("attempt").is_some() {
            write(&mut socket, &json!({"attempted": {"outcome": "proved"}}));
        } else if question.get("declare").is_some()
            || question["measure_import"]["participant"]["role"] == "display"
        {
            go_wrong(part, &mut socket);
        } else if let Some(what) = ["measure_allocation", "measure_import"]
            .iter()
            .find_map(|kind| question.get(kind))
        {
            let turn = json!({"acquire_ns": 5, "release_ns": 3});
            let turns = what["turns"].as_u64().unwrap();
            let turns: Vec<_> = (0..turns).map(|_| turn.clone()).collect();
            let answer = json!({"measured": {"outcome": "proved", "turns": turns}});
            write(&mut socket, &answer);
        } else if question == "release" {
            write(&mut socket, &json!("released"));
        } else if question.get("redeclare_source").is_some() {
            write(&mut socket, &json!({"redeclared_source": {"source": null}}));
        } else if matches!(part, "announce" | "promise" | "zeros" | "nests") {
            let camera = &question["redeclare"]["participant"];
            declare_wrongly(part, camera, &mut socket);
        } else {
            write(&mut socket, &json!({"redeclared": {"participant": null}}));
        }
    }
    ExitCode::SUCCESS
}

fn go_wrong(part: &str, socket: &mut UnixStream) {
    let signal = |signal| {
        let own = rustix::process::getpid();
        // Twice, since Rust's own handler takes the first SIGSEGV and expects the fault to come again.
        for _ in 0..2 {
            let _ = rustix::process::kill_process(own, signal);
        }
        std::thread::sleep(SHORT);
    };
    match part {
        "abort" => {
            eprintln!("assertion of a driver failed");
            std::process::abort();
        }
        "crash" => signal(rustix::process::Signal::SEGV),
        "kill" => signal(rustix::process::Signal::KILL),
        "exit" => std::process::exit(3),
        "shout" => {
            let line = "\u{1b}[2Jlast ".repeat(100_000);
            let mut words = std::io::stderr();
            // What the parent does not take is lost, and no error of the driver's.
            let full = (0..64).any(|_| words.write_all(line.as_bytes()).is_err());
            assert!(full, "words have no end");
            std::process::exit(5);
        }
        "hang" => std::thread::sleep(SHORT * 5),
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
