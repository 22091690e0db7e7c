//! Parsers of bytes from outside: what each allocates of the worst inputs that it can be given, and how its work grows.
//!
//! Every parser has a generator of inputs that cost it the most: records of the least size, one endless line, names of the
//! greatest length, references to the same thing. Memory is held against a stated multiple of the input, work against that for
//! a quarter of the input; no test reads a clock.
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::unwrap_used)]

mod blob;
mod blobs;
mod devicetree;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "other tests use what is left over, and it too"
)]
#[path = "../common/hostile.rs"]
mod hostile;
mod kernel;
#[path = "../../../solver/tests/common/sys.rs"]
mod sys;

use sys::{Usage, measured};

const MIB: usize = 1 << 20;

/// Memory that a parser may take of an input of `bytes`.
#[derive(Clone, Copy)]
struct Bound {
    /// For each byte of the input.
    multiple: usize,
    /// Beside that.
    constant: usize,
}

/// Parses inputs that `make` makes for a number of bytes, holds memory and work against what is allowed, and returns what came
/// of the largest.
fn hold<T>(
    name: &str,
    bound: Bound,
    make: impl Fn(usize) -> Vec<u8>,
    parse: impl Fn(&[u8]) -> T,
) -> T {
    let at = |bytes: usize| -> (usize, Usage, T) {
        let input = make(bytes);
        let (outcome, usage) = measured(|| parse(&input));
        (input.len(), usage, outcome)
    };
    let ((quarter, less, _), (whole, more, outcome)) = (at(MIB / 4), at(MIB));
    for (bytes, usage) in [(quarter, less), (whole, more)] {
        let allowed = bytes * bound.multiple + bound.constant;
        assert!(
            usage.peak_bytes <= allowed,
            "{name}: {bytes} bytes take {} at the most, {} times as much; {allowed} are allowed",
            usage.peak_bytes,
            usage.peak_bytes / bytes
        );
    }
    let grown = whole.div_ceil(quarter);
    assert!(
        more.allocations <= less.allocations * grown + 64,
        "{name}: {} allocations for {quarter} bytes, {} for {whole}",
        less.allocations,
        more.allocations
    );
    outcome
}

/// The words of an error, or of its absence.
fn words<T, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    }
}
