//! The C interface. Its documentation is `include/covalent.h`.
//!
//! [`job`] reads a request, [`plan`] plans and allocates, and `sys` is the only module that takes pointers.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod error;
mod job;
mod plan;
mod sys;
