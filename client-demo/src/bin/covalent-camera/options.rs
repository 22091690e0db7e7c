//! The command line.

use std::path::PathBuf;

use clap::Parser;
use covalent_alloc::backend::v4l2::{FrameRate, FrameRateError};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::explicit_sync::SyncKind;

/// Shows a V4L2 camera on a Wayland compositor or a display; the frames are captured into buffers that the display can read.
///
/// The program plans the buffers from the constraints of the camera, the compositor and every memory source of this machine; the
/// plan names the source that allocates. Where camera and display cannot share a buffer, every frame is copied once into shared
/// memory, and the program says why; with --no-copy that is an error. So it is for frames that the processor has to convert: those
/// of a camera that is fast enough only in JPEG, and of one that captures only raw Bayer. The program plans again when the
/// compositor wants other buffers, for example for a window that became fullscreen, except for frames that are converted, and with
/// --encode, --share or --record.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "covalent-camera",
    version,
    after_help = "Examples:\n  \
    covalent-camera                              the first camera, filling the screen\n  \
    covalent-camera --window --size 640x360      in a window\n  \
    covalent-camera --explain --frames 1         print the plan and the reasons for it\n  \
    covalent-camera --list                       what the camera has, and how it would be shown\n  \
    covalent-camera --display kms                without a compositor\n  \
    covalent-camera --device /dev/video6 --setup-links\n  \
                                                 link and format a media-controller camera's pipeline\n  \
    covalent-camera --camera /dev/video0 --camera /dev/video2\n  \
                                                 two cameras, each in a window\n  \
    covalent-camera --controls                   brightness, exposure, focus and so on, with their values\n  \
    covalent-camera --control gain=40 --remember with this gain, now and at every later start\n  \
    covalent-camera --frames 300 --json          300 frames, then one JSON object on stdout\n\n\
    Exit status:\n  \
    0 done  1 unexpected  2 usage  3 no camera there  4 no plan without a copy  5 no compositor or display\n  \
    6 camera busy  7 allocation failed  8 camera gone while streaming  9 compositor gone while streaming"
)]
pub(crate) struct Options {
    /// The camera's node.
    #[arg(long, value_name = "NODE", default_value = "/dev/video0")]
    pub(crate) device: PathBuf,
    /// The camera's node, as --device. Given several times, each camera is shown in a window of its own; --json then prints an object
    /// for each.
    #[arg(long = "camera", value_name = "NODE", conflicts_with = "device")]
    pub(crate) cameras: Vec<PathBuf>,
    /// Where the frames are shown: in a window of a Wayland compositor, or by KMS on a display of a card.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) display: Display,
    /// The card of --display kms; by default the first with a display.
    #[arg(long, value_name = "NODE")]
    pub(crate) card: Option<PathBuf>,
    /// List the camera's formats, sizes and frame rates, how each format would be shown and why, and which format is chosen; with
    /// --json as an object.
    #[arg(long)]
    pub(crate) list: bool,
    /// Set up the pipeline of a media-controller camera, and end: enable the links of the shortest path from a sensor to the
    /// camera's node, and set the size of --size and formats with which the camera can capture in the format of --format (by
    /// default in the possible format that costs least to convert to XRGB8888). Print one line for each change; with --json an
    /// object. The pipeline is not changed if another program streams from it.
    #[arg(long, conflicts_with_all = ["list", "controls"])]
    pub(crate) setup_links: bool,
    /// List the camera's controls with their values, what they can be set to, and which are remembered; with --json as an object.
    #[arg(long, conflicts_with = "list")]
    pub(crate) controls: bool,
    /// Set a control of the camera before the first frame: a number, on or off, or the name of an entry of its menu. May be
    /// repeated. A control that depends on another control has to be given after it, such as exposure after auto_exposure.
    #[arg(long = "control", value_name = "NAME=VALUE", value_parser = control)]
    pub(crate) control: Vec<(String, String)>,
    /// Remember the controls of --control for this camera, and set them at every later start.
    #[arg(long, requires = "control")]
    pub(crate) remember: bool,
    /// Delete the remembered controls of this camera. The camera keeps their current values until a program sets others.
    #[arg(long, conflicts_with = "remember")]
    pub(crate) forget: bool,
    /// Size of the frames in pixels; by default the screen's if the camera supports it, else the camera's largest that fits.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub(crate) size: Option<Extent>,
    /// Pixel format of the frames, by its four characters or its name (XR24, XRGB8888, NV12). The processor converts JPEG (MJPG) and
    /// raw Bayer (SBGGR8, SBGGR10P); by default they are used only where no raw format has the size and the rate, and Bayer only
    /// where the camera has no other format.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Fourcc>,
    /// Frames a second, whole or a fraction (30, 30000/1001); the camera uses the nearest rate that it supports. By default the
    /// highest that the display can show.
    #[arg(long, value_parser = frame_rate)]
    pub(crate) fps: Option<FrameRate>,
    /// Exit after this many frames were shown.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,
    /// Fill the screen (the default).
    #[arg(long, conflicts_with = "window")]
    pub(crate) fullscreen: bool,
    /// Show a window instead of filling the screen.
    #[arg(long)]
    pub(crate) window: bool,
    /// When the camera is unplugged, wait until it is plugged in again, and show its frames again. --frames then counts from the
    /// new start, and --json prints an object for each period in which the camera was plugged in.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Use memory of this source only. It is given by its identifier or its name, such as udmabuf or "dma-heap system". An
    /// unknown name prints a list of all sources.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// End with an error where the camera and the compositor can share no buffer, instead of copying every frame into shared
    /// memory, and where the processor would have to convert every frame.
    #[arg(long)]
    pub(crate) no_copy: bool,
    /// Write the first frame to this file, and the next frame each time that SIGUSR1 arrives.
    #[arg(long, value_name = "FILE.png")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Record the frames that are shown, as raw pixels: rows without gaps, one plane after the other. If the disk is too slow,
    /// frames are missing in the file; the display is not delayed.
    #[arg(long, value_name = "FILE", conflicts_with = "reconnect")]
    pub(crate) record: Option<PathBuf>,
    /// Encode the frames that are shown with a V4L2 encoder, which reads the camera's buffers without a copy, and write the
    /// bitstream to this file. If the encoder is too slow, frames are missing in the file; the display is not delayed.
    #[arg(long, value_name = "FILE", conflicts_with = "reconnect")]
    pub(crate) encode: Option<PathBuf>,
    /// The encoder of --encode; by default the first of the machine.
    #[arg(long, value_name = "NODE", requires = "encode")]
    pub(crate) encoder: Option<PathBuf>,
    /// Give the frames that are shown to other processes, which connect to this socket and read the camera's buffers without a
    /// copy. A process that is too slow misses frames; the display is not delayed. Works with --display kms too.
    #[arg(long, value_name = "SOCKET", conflicts_with = "reconnect")]
    pub(crate) share: Option<PathBuf>,
    /// Print the plan and the reasons for it: on stdout, or on stderr with --json.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Print one JSON object on stdout at the end, also after the camera or the compositor went away. SIGUSR2 prints the object
    /// so far while the stream runs; without --json it prints a line on stderr.
    #[arg(long)]
    pub(crate) json: bool,
    /// Synchronisation with the compositor: explicit by timeline points, or implicit by the fences of the dma-bufs.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sync: SyncKind,
    /// Write a trace of each buffer to this file, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) trace: Option<PathBuf>,
}

/// Where the frames are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Display {
    /// A Wayland compositor.
    #[default]
    Wayland,
    /// KMS, without a compositor. No other program may drive the card's displays.
    Kms,
}

/// Parses `NAME=VALUE` of `--control`.
fn control(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("a control is set as NAME=VALUE, and --controls lists the names".to_owned()),
    }
}

/// Parses a frame rate, up to 1000 frames per second.
fn frame_rate(text: &str) -> Result<FrameRate, String> {
    /// The highest frame rate that the option accepts.
    const FASTEST: u32 = 1000;
    let rate: FrameRate = text
        .parse()
        .map_err(|error: FrameRateError| error.to_string())?;
    if FrameRate::new(FASTEST, 1).is_some_and(|fastest| rate > fastest) {
        return Err(format!("more than {FASTEST} frames a second"));
    }
    Ok(rate)
}

#[cfg(test)]
#[allow(dead_code, reason = "tests/paths.rs uses the other items")]
#[path = "../../../tests/paths/table.rs"]
mod table;

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::path::PathBuf;

    use clap::{CommandFactory as _, Parser as _};

    use super::{Options, table};

    #[test]
    fn frame_rate_is_whole_or_a_fraction_within_bounds() {
        let read = |text: &str| Options::try_parse_from(["covalent-camera", "--fps", text]);
        for (text, printed) in [("30", "30"), ("30000/1001", "29.97"), ("1000", "1000")] {
            let rate = read(text).unwrap().fps.unwrap();
            assert_eq!(rate.to_string(), printed);
        }
        for text in ["0", "1001", "30/0", "29.97", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn control_has_a_name_and_a_value() {
        let read = |text: &str| Options::try_parse_from(["covalent-camera", "--control", text]);
        let gain = read("gain=40").unwrap().control;
        assert_eq!(gain, [("gain".to_owned(), "40".to_owned())]);
        for text in ["gain", "gain=", "=40", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn option_with_a_path_is_in_the_table_of_tested_paths() {
        let command = Options::command();
        let is_path = |argument: &&clap::Arg| {
            argument.get_value_parser().type_id() == TypeId::of::<PathBuf>()
        };
        let paths = command.get_arguments().filter(is_path);
        let mut found: Vec<_> = paths.filter_map(clap::Arg::get_long).collect();
        found.sort_unstable();
        assert_eq!(found, table::of("covalent-camera"));
    }
}
