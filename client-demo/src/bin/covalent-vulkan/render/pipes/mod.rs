//! What draws: shaders as pipelines for pictures of one format.

mod sys;

pub(super) use sys::Pipes;
