//! Tests that the solver's work is bounded and counted in steps, that it reports what it left out, and that explanations have a
//! bounded length.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../benches/shapes/mod.rs"]
mod shapes;

mod explained;
mod within;
