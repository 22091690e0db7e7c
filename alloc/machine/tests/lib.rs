//! Helpers that the tests of recorded machines share: devicetrees, untrusted input, and the requests of the solver's tests.
//!
//! The tests are a package of their own, so that `covalent-machine` can be compiled with optimisation while the tests are not.
//! Most of the tests' code runs once, and optimising it takes longer than running it.

pub mod common;
