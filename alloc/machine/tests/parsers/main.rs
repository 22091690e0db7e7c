//! Tests of the parsers of untrusted input: the memory that each parser takes for its worst inputs, and the growth of its work.
//!
//! For each parser, the tests generate the inputs that cost the most: records of the smallest size, one endless line, names of
//! the maximum length, and many references to the same object. The peak of memory is compared with the documented multiple of the
//! input's length. The number of allocations is compared with the number for a quarter of the input. No test reads a clock.
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::unwrap_used)]

mod blob;
mod devicetree;
mod dumps;
mod kernel;
mod random_input;
#[path = "../../../solver/tests/common/sys.rs"]
mod sys;

use sys::{Usage, measured};

const MIB: usize = 1 << 20;

/// The memory that a parser may take.
#[derive(Clone, Copy)]
struct Bound {
    /// The number of bytes for each byte of the input.
    multiple: usize,
    /// The number of further bytes for an input of any length.
    constant: usize,
}

/// Parses two inputs of different lengths that `make` generates, and asserts that memory and work are within their bounds.
/// Returns the outcome for the longer input.
fn assert_bounded<T>(
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
            "{name}: an input of {bytes} bytes takes {} bytes, {} times as much; {allowed} are allowed",
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

/// Returns the message of an error, or `no error` for success.
fn message<T, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    }
}
