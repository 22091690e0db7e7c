//! Tests of the recordings in `tests/machines`: every value of a board has a provenance, the usual jobs on each board have the
//! expected plans, and each of these plans depends on the value that its golden job removes.
#![allow(missing_docs, clippy::unwrap_used)]

mod boards_document;
mod device_names;
mod edits;
mod golden;
mod pairs;
mod planes;
mod provenance;
mod recordings;
mod round_trip;
