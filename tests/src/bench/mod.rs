//! `./x bench`: what a frame costs in Covalent's programs and in those of other projects, in one guest.
//!
//! Each [`Scenario`] is one way from a camera or a program to a display. All of them run in turn, and that several times, so that
//! a change of the machine's load meets all of them. A scenario runs its clients twice, for a small and a large number of frames;
//! what a frame costs is the difference of both, so that the start costs nothing. Processor time is that of the control groups of
//! client and compositor, with all their threads and children.
//!
//! The guest may be emulated, so only the ratio of two scenarios means something on real hardware. What a program of another
//! project does not tell (its latency, the bytes that it copied) is left empty, and is not estimated.

mod measure;
mod scenario;
mod svg;
mod table;

pub use measure::{Measured, measure};
pub use scenario::{Scenario, Subject};
pub use svg::draw;
pub use table::{Column, Row, Rows, Spread};
