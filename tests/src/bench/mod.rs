//! `./x bench`: measures the cost of a frame in Covalent's programs and in the programs of other projects, in one guest.
//!
//! Each [`Scenario`] is a pipeline from a camera or a program to a display. All scenarios run in turn for several rounds, so that
//! a change of the machine's load affects all of them. A scenario runs its clients twice, for a small and a large number of
//! frames. The cost of a frame is the difference of both runs divided by the difference of the numbers of frames, so that the
//! start of the programs is not counted. Processor time is that of the control groups of clients and compositor, with all threads
//! and child processes.
//!
//! The guest may be emulated, so only the ratio of two scenarios applies to real hardware. Values that a program of another
//! project does not report (its latency, the bytes that it copied) are left empty.

mod measure;
mod scenario;
mod svg;
mod table;

pub use measure::{PipelineCosts, measure};
pub use scenario::{Scenario, Subject};
pub use svg::draw;
pub use table::{Column, Row, Rows, Spread};
