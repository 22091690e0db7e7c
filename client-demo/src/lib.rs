//! Wayland clients that show buffers without a copy: camera to display, and a test pattern.
//!
//! The modules:
//!
//! - [`events`] connects to the compositor and runs the event loop. [`poller`] waits for file descriptors, [`completions`] for
//!   other threads, and [`signal_pipe`] for signals. [`compositor`] stores the state that the compositor's events report.
//! - [`window`], [`feedback`], [`presentation`], [`shm`], [`dmabuf`], [`explicit_sync`], [`color_representation`] implement the
//!   Wayland protocols.
//! - [`open_window`] opens a window and waits for its size and its dma-buf feedback.
//! - [`negotiation`] finds buffers that this process's devices and the compositor can share. It uses [`tranche_request`], which
//!   converts feedback into participants, [`planning`], and [`wl_buffers`], which creates `wl_buffer`s of the planned buffers.
//! - [`replanning`] plans again after new feedback, and [`buffer_sets`] tracks the `wl_buffer`s of a stream whose buffers are
//!   replaced while it runs.
//! - [`shm_copy`] copies frames into shared memory where the compositor cannot read the buffers of the devices. [`xrgb`] converts
//!   the frames' pixels, and [`xrgb_reader`] reads a picture row by row.
//! - [`frame_converter`] converts frames that no display reads: [`jpeg`] decodes, and [`bayer`] interpolates colours.
//!   [`converted_camera`] runs it on a [`worker`] thread, and [`conversion_queue`] decides which frame is next. [`camera_stream`] is
//!   a camera with or without a conversion, and [`conversion_choice`] decides whether one is needed.
//! - [`snapshot`] writes a frame to a PNG file. [`recorder`] writes the raw frames of a stream to a file, and [`encoder`] writes
//!   the bitstream of a V4L2 encoder. Both use [`file_writer`].
//! - [`frame_sharing`] shares the frames of a stream with other processes over a socket.
//! - [`buffers`] tracks who holds each buffer, [`readers`] counts the readers of a buffer besides the compositor, and
//!   [`frame_stats`] counts captured, presented and dropped frames. [`frame_interval`] predicts whether the camera has captured
//!   another frame, and [`frame_size`] checks whether a frame is complete.
//! - [`camera_size`] and [`source_choice`] apply defaults of the command line. [`exit`] defines the exit codes, and [`exit_code`]
//!   maps errors to them.
//! - [`pattern`] draws frames whose number can be read from the pixels. [`latency`] computes the percentiles of the reports.
//!   [`log`] and [`frame_trace`] write the log and the trace.

pub mod bayer;
pub mod buffer_sets;
pub mod buffers;
pub mod camera_size;
pub mod camera_stream;
pub mod color_representation;
pub mod command_line;
pub mod completions;
pub mod compositor;
pub mod conversion_choice;
pub mod conversion_queue;
pub mod converted_camera;
pub mod dmabuf;
pub mod encoder;
pub mod events;
mod events_error;
pub mod exit;
pub mod exit_code;
pub mod explicit_sync;
pub mod feedback;
pub mod file_writer;
pub mod frame_converter;
pub mod frame_interval;
pub mod frame_sharing;
pub mod frame_size;
pub mod frame_stats;
pub mod frame_trace;
pub mod jpeg;
pub mod latency;
mod listed_formats;
pub mod log;
pub mod negotiation;
pub mod open_window;
pub mod pattern;
pub mod planning;
pub mod poller;
pub mod presentation;
pub mod print;
pub mod readers;
pub mod recorder;
pub mod replanning;
pub mod shm;
pub mod shm_copy;
pub mod signal_pipe;
pub mod snapshot;
pub mod source_choice;
pub mod tranche_request;
pub mod window;
pub mod wl_buffers;
pub mod worker;
pub mod xrgb;
pub mod xrgb_reader;
