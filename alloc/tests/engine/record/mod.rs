//! The command buffers of the engine, which it records and submits itself.

mod sample;
mod sys;

pub(crate) use sample::sampled;
pub(crate) use sys::{Recording, SubmittedWork, exported};
