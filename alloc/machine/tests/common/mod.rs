//! Helpers that several tests share: requests of the solver's tests, devicetrees, and untrusted input.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "only tests use these functions"
)]

pub mod dtb;
pub mod hostile;
pub use covalent_solver_tests::common::*;
