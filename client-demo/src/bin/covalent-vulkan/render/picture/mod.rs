//! Pictures that are drawn to, and pictures that are sampled.

mod sys;

pub(super) use sys::{Target, Texture};
