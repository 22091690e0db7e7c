//! A Wayland compositor that takes foreign dma-bufs and scans them out where the card can.
//!
//! A fullscreen window's buffer is put on the display as it is; everything else is drawn by the CPU into a buffer of the
//! compositor's own. Which way a frame took, why, and what it cost is written to a report.

pub mod backend;
pub mod clock;
pub mod command;
pub mod command_line;
pub mod compose;
pub mod content;
pub mod direct;
pub mod dmabuf;
pub mod fence;
mod handlers;
pub mod input;
pub mod kms;
pub mod lines;
pub mod lock;
pub mod meter;
pub mod options;
pub mod region;
pub mod render;
pub mod report;
pub mod run;
pub mod scene;
pub mod screen;
pub mod screenshot;
pub mod session;
pub mod stack;
pub mod state;
pub mod steps;
pub mod surface;
pub mod swapchain;
pub mod syncobj;
pub mod writeback;
