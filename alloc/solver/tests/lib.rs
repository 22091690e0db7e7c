//! Helpers that the solver's tests share: participants and sources for requests, and a slow exhaustive search with which the
//! solver's results are compared.
//!
//! The tests are a package of their own, so that this library is compiled once and not for every test program. Tests of other
//! packages use it too.

pub mod common;
