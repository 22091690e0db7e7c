//! The command line.

use std::path::PathBuf;

use clap::Parser;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::explicit_sync::SyncKind;

/// Renders with Vulkan into buffers that the compositor can show without a copy; with --camera, over a camera's pictures.
///
/// The program allocates its swapchain itself: it plans from the compositor's dma-buf feedback, the constraints of the Vulkan
/// device and every memory source of this machine, and the plan names the source that allocates. It plans again when the feedback
/// or the window's size changes. Where device and compositor cannot share a buffer, every frame is copied once into shared memory,
/// and the program says why; with --no-copy that is an error.
#[derive(Debug, Parser)]
#[command(
    name = "covalent-vulkan",
    version,
    after_help = "Examples:\n  \
    covalent-vulkan                               a scene that fills the screen\n  \
    covalent-vulkan --window --size 640x360       in a window\n  \
    covalent-vulkan --camera /dev/video0          a camera, with a lens over it\n  \
    covalent-vulkan --device llvmpipe --explain   on the device of this name; print the plan\n  \
    covalent-vulkan --frames 300 --json           300 frames, then one JSON object on stdout\n\n\
    Exit status:\n  \
    0 done  1 unexpected  2 usage  3 no camera there  4 no plan without a copy  5 no compositor\n  \
    6 camera busy  7 allocation failed  8 camera gone while streaming  9 compositor gone while streaming"
)]
pub(crate) struct Options {
    /// Use the Vulkan device with this text in its name or its driver's name, or with this device node; an unknown name lists all
    /// devices. By default the first one that can share buffers with the compositor, CPU drivers last.
    #[arg(long, value_name = "NAME|NODE")]
    pub(crate) device: Option<String>,
    /// Draw over the pictures of this camera.
    #[arg(long, value_name = "NODE")]
    pub(crate) camera: Option<PathBuf>,
    /// Pixel format of the camera's pictures, by its four characters or its name (XR24, YUYV, NV12).
    #[arg(long, value_name = "FORMAT", requires = "camera")]
    pub(crate) format: Option<Fourcc>,
    /// Size of the buffers in pixels; by default the window's, and they are reallocated when that changes.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub(crate) size: Option<Extent>,
    /// Exit after this many frames were shown.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// Keep the last frame on the screen until SIGINT or SIGTERM.
    #[arg(long, requires = "frames")]
    pub(crate) hold: bool,
    /// Number of the first frame.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) first: u32,
    /// Fill the screen (the default).
    #[arg(long, conflicts_with = "window")]
    pub(crate) fullscreen: bool,
    /// Show a window instead of filling the screen.
    #[arg(long)]
    pub(crate) window: bool,
    /// Leave fullscreen and show a window after this many frames were shown.
    #[arg(long, value_name = "COUNT", conflicts_with = "window")]
    pub(crate) window_after: Option<u64>,
    /// Use memory of this source only for the window, by its identifier or its name; an unknown name lists all sources.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// End with an error where the device and the compositor can share no buffer, instead of copying every frame into shared memory.
    #[arg(long)]
    pub(crate) no_copy: bool,
    /// Print each plan and the reasons for it: on stdout, or on stderr with --json.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print one JSON object on stdout at the end, also when the compositor went away.
    #[arg(long)]
    pub(crate) json: bool,
    /// Synchronisation with the compositor: explicit by timeline points, or implicit by the fences of the dma-bufs.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sync: SyncKind,
    /// What signals that a frame is rendered: a fence of the device, or a thread that waits for the device.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) completion: CompletionChoice,
    /// Write a trace of each buffer to this file, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,
}

/// What signals that a frame is rendered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CompletionChoice {
    /// The fence for a GPU, and the thread for a CPU driver, because a CPU driver exports a fence only after the work is done.
    #[default]
    Auto,
    /// A fence of the device.
    Fence,
    /// A thread that waits for the device.
    Thread,
}

#[cfg(test)]
#[allow(dead_code, reason = "tests/paths.rs uses the other items")]
#[path = "../../../tests/paths/table.rs"]
mod table;

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::path::PathBuf;

    use clap::CommandFactory as _;

    use super::{Options, table};

    #[test]
    fn option_with_a_path_is_in_the_table_of_tested_paths() {
        let command = Options::command();
        let is_path = |argument: &&clap::Arg| {
            argument.get_value_parser().type_id() == TypeId::of::<PathBuf>()
        };
        let paths = command.get_arguments().filter(is_path);
        let mut found: Vec<_> = paths.filter_map(clap::Arg::get_long).collect();
        found.sort_unstable();
        assert_eq!(found, table::of("covalent-vulkan"));
    }
}
