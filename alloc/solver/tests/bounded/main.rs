//! The solver's work is bounded and counted in steps, and it reports what it left out. Explanations are of bounded length.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../benches/shapes/mod.rs"]
mod shapes;

mod explained;
mod within;
