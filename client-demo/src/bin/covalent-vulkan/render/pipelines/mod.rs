//! The graphics pipelines for targets of one format.

mod sys;

pub(super) use sys::Pipelines;
