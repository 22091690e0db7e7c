//! What the solver's tests solve with, devicetrees, and bytes that somebody hostile wrote.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "each test file is a crate of its own and uses its own share"
)]

pub mod dtb;
pub mod hostile;
#[path = "../../../solver/tests/common/mod.rs"]
mod solver;

pub use solver::*;
