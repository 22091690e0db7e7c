//! The solver does bounded work, counted in its own steps, and says what it left out; explanations are of bounded length.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../benches/shapes/mod.rs"]
mod shapes;

mod explained;
mod within;
