//! What the tests of recorded machines share: devicetrees, input that is not trusted, and the requests of the solver's tests.
//!
//! The tests are a package of their own: `covalent-machine` is compiled with optimisation for them, and they are not. Most of their
//! code is run once, and optimising it takes longer than running it.

pub mod common;
