//! Render targets and textures.

mod sys;

pub(super) use sys::{Target, Texture};
