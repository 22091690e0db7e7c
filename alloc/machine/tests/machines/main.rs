//! The boards in `tests/machines`: what is said of each has its origin, the usual jobs on it have the plans that are known, and
//! each of these hangs on the fact that is said to decide it.
#![allow(missing_docs, clippy::unwrap_used)]

mod called;
mod file;
mod golden;
mod listed;
mod provenance;
mod recorded;
mod without;
