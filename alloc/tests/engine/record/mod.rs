//! Command buffers of the engine.

mod sample;
mod sys;

pub(crate) use sample::sampled;
pub(crate) use sys::{Recording, Running, exported};
