//! The command buffer of a frame.

mod sys;

pub(crate) use sys::RecordedFrame;
