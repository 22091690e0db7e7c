//! How descriptions are read: by one way, with the place of what is wrong, and within bounds of memory and time.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod one_way_in;
mod places;
#[path = "../../../solver/tests/common/sys.rs"]
mod sys;
