//! A frame as commands that a device can be given.

mod sys;

pub(crate) use sys::Recorded;
