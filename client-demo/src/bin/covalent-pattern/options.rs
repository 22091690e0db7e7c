//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use covalent_client_demo::explicit_sync::SyncKind;

/// Shows numbered frames: a strip of black and white cells encodes the number, and colour bars move from frame to frame.
#[derive(Debug, Parser)]
#[command(
    name = "covalent-pattern",
    version,
    after_help = "Examples:\n  \
    covalent-pattern --frames 300 --json     300 frames, one a refresh, filling the screen\n  \
    covalent-pattern --window --size 320x240 --fps 10\n  \
    covalent-pattern --frames 1 --hold       one still picture until a signal comes\n  \
    covalent-pattern --v4l2-output /dev/video1   to a video output, for a camera that is looped back to it"
)]
pub(crate) struct Options {
    /// Fill the screen (the default).
    #[arg(long, conflicts_with = "window")]
    pub(crate) fullscreen: bool,
    /// Show a window instead of filling the screen.
    #[arg(long)]
    pub(crate) window: bool,
    /// Size of the picture in pixels; by default the screen's.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub(crate) size: Option<Size>,
    /// Exit after this many frames were shown.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// Frames per second; by default one frame for each frame callback of the compositor.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) fps: Option<u32>,
    /// Draw into dma-bufs, allocated by a plan, instead of shared memory.
    #[arg(long, conflicts_with = "v4l2_output")]
    pub(crate) dmabuf: bool,
    /// End with an error if the CPU and the compositor can share no dma-buf, instead of drawing into shared memory.
    #[arg(long, requires = "dmabuf")]
    pub(crate) no_copy: bool,
    /// Send the frames to a V4L2 output, at its own rate, instead of a compositor.
    #[arg(long, value_name = "NODE", conflicts_with_all = ["window", "fullscreen", "fps", "hold", "json"])]
    pub(crate) v4l2_output: Option<PathBuf>,
    /// Number of the first frame.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) first: u32,
    /// Keep the last frame on the screen until SIGINT or SIGTERM.
    #[arg(long, requires = "frames")]
    pub(crate) hold: bool,
    /// Print one JSON object on stdout at the end.
    #[arg(long)]
    pub(crate) json: bool,
    /// Synchronisation with the compositor: explicit by timeline points, or implicit by the fences of the dma-bufs.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sync: SyncKind,
    /// Write a trace of each buffer to this file, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,
}

/// A size in pixels. Width and height are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sides = text
            .split_once('x')
            .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        match sides {
            Some((width @ 1.., height @ 1..)) => Ok(Self { width, height }),
            _ => Err("a size is two numbers of pixels with an x between, as in 640x480".to_owned()),
        }
    }
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
        assert_eq!(found, table::of("covalent-pattern"));
    }
}
