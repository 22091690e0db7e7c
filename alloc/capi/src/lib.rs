//! The C interface: `include/covalent.h` is its documentation.
//!
//! [`job`] reads a request, [`planned`] plans and allocates, and `sys` is the only module that takes pointers.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod error;
mod job;
mod planned;
mod sys;
