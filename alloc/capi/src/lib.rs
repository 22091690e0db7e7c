//! The C interface. Its documentation is `include/covalent.h`.
//!
//! [`job`] parses a request, [`plan`] solves for a plan and allocates its buffers, and `sys` is the only module that takes
//! pointers.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod error;
mod job;
mod plan;
mod sys;
