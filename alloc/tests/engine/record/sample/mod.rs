//! Pictures in Y'CbCr, sampled by a compute shader.

mod sys;

pub(crate) use sys::sampled;
