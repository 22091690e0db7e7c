//! What several tests share: requests of the solver's tests, devicetrees, and input that is not trusted.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "each test file is a crate and uses a part of this module"
)]

pub mod dtb;
pub mod hostile;
#[path = "../../../solver/tests/common/mod.rs"]
mod solver;

pub use solver::*;
