//! What the tests of the solver share: participants and sources to solve with, and a slow search that judges the solver.
//!
//! The tests are a package of their own, so that this library is compiled once and not for every test program. Tests of other
//! packages use it too.

pub mod common;
