//! Samples Y'CbCr pictures by a compute shader.

mod sys;

pub(crate) use sys::sampled;
