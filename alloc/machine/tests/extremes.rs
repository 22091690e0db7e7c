//! Requests with extreme numbers, and damaged files: nothing panics, and every plan meets every constraint. The plans are checked
//! by code that shares nothing with the solver.
//!
//! `COVALENT_EXTREMES=75000` sets the number of inputs that are tried.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::path::Path;

use covalent_machine::{Job, Machine};
use covalent_machine_tests::common::checker::{Taken, check_plan};
use covalent_machine_tests::common::{camera, display, dumb, linear, request, system_heap};
use covalent_solver::constraint::{Contiguity, FormatSet, ImageConstraints};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::{Request, Solution, Verdict, candidates, solve};
use serde_json::{Value, json};

/// A random number generator with the same sequence on every machine (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn extreme(&mut self) -> Value {
        let bit = self.below(64);
        match self.below(12) {
            0 => json!(0),
            1 => json!(1),
            2 => json!(3),
            3 => json!(48),
            4 => json!(65_537),
            5 => json!(u32::MAX),
            6 => json!(u64::MAX),
            7 => json!((1_u64 << bit) - 1),
            8 => json!((1_u64 << bit) + 1),
            9 => json!(1_u64 << bit),
            10 => json!(self.next() >> bit),
            _ => [json!(-1), json!(i64::MIN), json!(1e300), json!(0.5)][self.below(4)].clone(),
        }
    }
}

fn tries(default: usize) -> usize {
    let wanted = std::env::var("COVALENT_EXTREMES").ok();
    wanted.map_or(default, |wanted| wanted.parse().unwrap())
}

/// Collects the JSON pointers of all numbers within a value.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Object(fields) => {
            for (name, value) in fields {
                numbers(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                numbers(value, &format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Replaces up to four numbers of a JSON value with extreme numbers.
fn with_extremes(whole: &Value, pointers: &[String], random: &mut Numbers) -> Value {
    let mut whole = whole.clone();
    for _ in 0..=random.below(3) {
        let pointer = &pointers[random.below(pointers.len())];
        *whole.pointer_mut(pointer).unwrap() = random.extreme();
    }
    whole
}

/// The number of inputs with each outcome.
#[derive(Debug, Default)]
struct Found {
    refused: usize,
    shared: usize,
    guaranteed: usize,
    split: usize,
}

/// Solves a request, checks the plan, and counts the outcome.
fn judge(request: &Request, found: &mut Found) {
    match solve(request) {
        Solution::Share(plan) => {
            let members: Vec<usize> = (0..request.participants.len()).collect();
            check_plan(request, &members, &plan, false, &Taken::new());
            found.shared += 1;
            found.guaranteed += usize::from(plan.verdict() == Verdict::Guaranteed);
        }
        Solution::Split(split) => {
            assert!(candidates(request).is_empty());
            assert!(!split.explain().is_empty());
            found.split += 1;
        }
    }
}

/// Makes a request in which every field has a value.
fn full_request(fourcc: Fourcc) -> Request {
    let mut camera = camera(Contiguity::Scattered);
    camera.for_each_choice(|own| {
        own.formats = Some(linear(&[fourcc]));
        own.per_fourcc = [(fourcc, ImageConstraints::default())].into();
        own.image.stride.preferred = [4096].into();
        own.image.stride.avoided_multiples = [2048].into();
    });
    let mut display = display("card");
    display.for_each_choice(|own| own.formats = Some(linear(&[fourcc])));
    let mut heap = system_heap(64);
    heap.guarantees.contiguous_up_to_bytes = u64::MAX;
    heap.guarantees.maximum_bytes = Some(u64::MAX);
    heap.guarantees.available_bytes = Some(u64::MAX);
    request(vec![camera, display], vec![heap, dumb("card")])
}

#[test]
fn request_with_extreme_numbers_gives_no_plan_that_violates_a_constraint() {
    let mut random = Numbers(12);
    let mut found = Found::default();
    let bases: Vec<(Value, Vec<String>)> = [
        Fourcc::NV12,
        Fourcc::XRGB8888,
        Fourcc::RGB888,
        Fourcc::YUV420,
        Fourcc::YUYV,
    ]
    .map(|fourcc| {
        let whole = serde_json::to_value(full_request(fourcc)).unwrap();
        let mut pointers = Vec::new();
        numbers(&whole, "", &mut pointers);
        (whole, pointers)
    })
    .to_vec();
    for number in 0..tries(2500) {
        let (whole, pointers) = &bases[number % bases.len()];
        let text = with_extremes(whole, pointers, &mut random).to_string();
        match Request::from_json(text.as_bytes()) {
            Ok(request) => judge(&request, &mut found),
            Err(error) => {
                assert!(error.to_string().contains(": "), "{error}");
                found.refused += 1;
            }
        }
    }
    println!("{found:?}");
    assert!(
        found.guaranteed > 0 && found.split > 0 && found.refused > 0,
        "{found:?}"
    );
}

/// Returns the recorded machines, reduced to a few participants, sources and formats each, so that many inputs can be tried.
fn machines() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/machines");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|own| own == "json"))
        .collect();
    paths.sort();
    let small = |path: &std::path::PathBuf| {
        let mut machine = Machine::from_json(&std::fs::read(path).unwrap()).unwrap();
        machine.declared.truncate(1);
        for declared in &mut machine.declared {
            declared.participants.truncate(3);
            declared.sources.truncate(3);
            declared.missing.truncate(1);
            let participants = declared.participants.iter_mut();
            let choices = participants.flat_map(|own| own.participant.choices_mut());
            let sources = declared.sources.iter_mut();
            for own in choices.chain(sources.map(|own| &mut own.source.constraints)) {
                if let Some(formats) = &mut own.formats {
                    *formats = formats.iter().take(4).collect::<FormatSet>();
                    own.per_fourcc
                        .retain(|fourcc, _| formats.contains_fourcc(*fourcc));
                }
            }
        }
        serde_json::to_value(&machine).unwrap()
    };
    paths.iter().map(small).collect()
}

/// Reads a machine. Solves and checks a job of its first participant and a job of all participants.
fn machine(bytes: &[u8], found: &mut Found) {
    let machine = match Machine::from_json(bytes) {
        Ok(machine) => machine,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            found.refused += 1;
            return;
        }
    };
    let Some(declared) = machine.declared.first() else {
        return;
    };
    let size = declared.size.unwrap_or_else(|| "640x480".parse().unwrap());
    let participants = &declared.participants;
    for own in [participants.get(..1), participants.get(..)]
        .into_iter()
        .flatten()
    {
        let mut job = Job::new(size, 3);
        job.others = own.iter().map(|own| own.participant.name.clone()).collect();
        if let Ok(resolved) = machine.request(&job) {
            judge(&resolved.request, found);
        }
    }
}

#[test]
fn recorded_machine_with_extreme_numbers_gives_no_plan_that_violates_a_constraint() {
    let mut random = Numbers(13);
    let mut found = Found::default();
    let bases: Vec<(Value, Vec<String>)> = machines()
        .into_iter()
        .map(|whole| {
            let mut pointers = Vec::new();
            numbers(&whole, "/declared", &mut pointers);
            numbers(&whole["declared"], "/declared", &mut pointers);
            pointers.retain(|pointer| whole.pointer(pointer).is_some());
            (whole, pointers)
        })
        .collect();
    for number in 0..tries(400) {
        let (whole, pointers) = &bases[number % bases.len()];
        let text = with_extremes(whole, pointers, &mut random).to_string();
        machine(text.as_bytes(), &mut found);
    }
    println!("{found:?}");
    assert!(found.shared > 0 && found.refused > 0, "{found:?}");
}

/// Damages a text at a few places: replaces bytes, repeats pieces and removes pieces.
fn damaged(text: &[u8], random: &mut Numbers) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                // A digit is replaced by a digit, so that most texts stay valid JSON.
                let digits = bytes.iter().skip(at).position(u8::is_ascii_digit);
                if let Some(index) = digits.map(|digits| at + digits) {
                    bytes[index] = b'0' + random.below(10) as u8;
                }
            }
            _ => {
                let other = random.below(bytes.len());
                bytes.swap(at, other);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn damaged_machine_file_is_refused_or_gives_no_plan_that_violates_a_constraint() {
    let mut random = Numbers(14);
    let mut found = Found::default();
    let texts: Vec<Vec<u8>> = machines()
        .iter()
        .map(|own| own.to_string().into_bytes())
        .collect();
    for number in 0..tries(800) {
        machine(
            &damaged(&texts[number % texts.len()], &mut random),
            &mut found,
        );
    }
    println!("{found:?}");
    assert!(found.shared > 0 && found.refused > 0, "{found:?}");
}
