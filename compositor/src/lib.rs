//! A Wayland compositor that imports clients' dma-bufs, and scans them out if the display supports it.
//!
//! The buffer of a fullscreen window is scanned out directly if the plane supports it. Otherwise the scene is composed into an
//! output buffer: by the card's GPU if it can import all client buffers, or else by the CPU. The report has one record for each
//! frame: direct scanout or composition, the reason, and the number of bytes that the CPU copied.

pub mod backend;
pub mod blocked_commits;
pub mod buffer_lock;
pub mod client_region;
pub mod clock;
pub mod command;
pub mod command_line;
pub mod commits;
pub mod compose;
pub mod connection;
pub mod content;
pub mod control;
pub mod copy_counter;
pub mod cursor;
pub mod descriptors;
pub mod dmabuf;
pub mod edid;
pub mod event_loop;
pub mod faults;
pub mod frame_trace;
mod handlers;
pub mod idle;
pub mod input;
pub mod kms;
pub mod limits;
pub mod lines;
pub mod listener;
pub mod log;
pub mod memory_image;
pub mod options;
pub mod output_config;
pub mod output_view;
pub mod outputs;
pub mod plane_assignment;
pub mod pointer_constraints;
pub mod privilege;
pub mod region;
pub mod render;
pub mod report;
pub mod run;
pub mod scanout;
pub mod scene;
pub mod screen;
pub mod screenshot;
pub mod security_context;
pub mod selections;
pub mod session;
pub mod shell;
pub mod shortcut_inhibitors;
pub mod stack;
pub mod state;
pub mod surface;
pub mod swapchain;
pub mod syncobj;
pub mod toplevel_list;
pub mod transient;
pub mod user_acts;
pub mod window;
pub mod writeback;
