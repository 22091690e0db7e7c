//! A Wayland compositor that takes foreign dma-bufs and scans them out where the card can.
//!
//! A fullscreen window's buffer is put on the display as it is where the card can show it. Everything else is composed into a
//! buffer of the compositor's own: by the card's GPU where that can read all of the clients' buffers, by the CPU otherwise.
//! Which way a frame took, why, and what it cost is written to a report.

pub mod backend;
pub mod blocked_commits;
pub mod buffer_lock;
pub mod clock;
pub mod command;
pub mod command_line;
pub mod commits;
pub mod compose;
pub mod connection;
pub mod content;
pub mod copy_counter;
pub mod dmabuf;
pub mod faults;
pub mod frame_trace;
mod handlers;
pub mod input;
pub mod kms;
pub mod limits;
pub mod lines;
pub mod listener;
pub mod log;
pub mod options;
pub mod region;
pub mod render;
pub mod report;
pub mod run;
pub mod scanout;
pub mod scene;
pub mod screen;
pub mod screenshot;
pub mod session;
pub mod stack;
pub mod state;
pub mod surface;
pub mod swapchain;
pub mod syncobj;
pub mod transient;
pub mod writeback;
