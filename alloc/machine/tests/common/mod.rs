//! What several tests share: requests of the solver's tests, devicetrees, and input that is not trusted.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "these are parts of tests"
)]

pub mod dtb;
pub mod hostile;
pub use covalent_solver_tests::common::*;
