//! Tests of reading machine files and requests: unknown fields are kept, an error names the path of the value, and memory and
//! time are bounded.
#![allow(missing_docs, clippy::unwrap_used)]

mod error_paths;
mod memory;
#[path = "../../../solver/tests/common/sys.rs"]
mod sys;
mod unknown_fields;
