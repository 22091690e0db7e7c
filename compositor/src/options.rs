//! The command line.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use covalent_alloc::files::{self, FileError};

use crate::config::OutputSetting;
use crate::edid::Monitor;
use crate::limits::LimitSetting;
pub use crate::output_config::OutputConfig;
use crate::shell;

/// A Wayland compositor that scans clients' dma-bufs out if the display can.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(version, about, after_long_help = shell::help())]
pub struct Options {
    /// The output: a display by kernel mode setting, or a virtual output.
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendKind,

    /// Drive the displays of this card; without it, those of all cards.
    #[arg(long, value_name = "/dev/dri/cardN")]
    pub device: Option<PathBuf>,

    /// The renderer that composes windows. The headless backend supports only the software renderer.
    #[arg(long, value_enum, default_value_t)]
    pub renderer: RendererKind,

    /// Set this mode on outputs without a mode of their own; without this option, the display's preferred mode is set.
    #[arg(long, value_name = "WxH[@Hz]")]
    pub mode: Option<ModeRequest>,

    /// Configure an output by the name of its connector. Outputs without a position are placed to the right of the others. With
    /// the headless backend, each use of the option adds an output.
    #[arg(
        long,
        value_name = "NAME[:mode=WxH[@Hz],scale=S,transform=T,position=X,Y,off]"
    )]
    pub output: Vec<OutputConfig>,

    /// Show every window in the middle of its output, without the keys below. The user cannot move windows.
    #[arg(long)]
    pub kiosk: bool,

    /// Change the mode to the size of a fullscreen buffer if the display has such a mode.
    #[arg(long)]
    pub match_mode: bool,

    /// Planes that show clients' buffers: all, or only the primary one, for drivers whose other planes have faults.
    #[arg(long, value_enum, default_value_t)]
    pub planes: PlaneSelection,

    /// Listen on this socket, a name in XDG_RUNTIME_DIR or an absolute path; without it, the first free wayland-N.
    #[arg(long, value_name = "NAME")]
    pub socket: Option<String>,

    /// Serve `covalent watch` on this socket, for processes of this user only; without it, on `covalent-NAME` beside the Wayland
    /// socket NAME.
    #[arg(long, value_name = "PATH", conflicts_with = "no_control")]
    pub control: Option<PathBuf>,

    /// Open no socket for `covalent watch`.
    #[arg(long)]
    pub no_control: bool,

    /// Write one JSON object for each presented frame to this regular file, which other programs can read while it grows.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Write a trace of each buffer to this file, which Perfetto (ui.perfetto.dev) and chrome://tracing open.
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,

    /// Save the frame on the display as a PNG file, at the end or after the frame of --screenshot-after.
    #[arg(long, value_name = "FILE.png")]
    pub screenshot: Option<PathBuf>,

    /// Take the screenshot of this presented frame, counted from 1.
    #[arg(long, value_name = "N", requires = "screenshot")]
    pub screenshot_after: Option<u64>,

    /// Save every frame in this directory with the card's writeback connector. Only one display is used then. At the end, the
    /// compositor waits up to ten seconds for the last frame.
    // The buffers of the writeback have the size of one mode.
    #[arg(long, value_name = "DIR", conflicts_with = "match_mode")]
    pub writeback: Option<PathBuf>,

    /// Save the pixels of every N-th writeback; with 0, save only the checksums.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "writeback")]
    pub writeback_every: u64,

    /// Change a limit of each client, such as windows=64; may be given several times.
    #[arg(long, value_name = "NAME=N")]
    pub limit: Vec<LimitSetting>,

    /// Read the configuration from this file; without it, from covalent/compositor.toml in XDG_CONFIG_HOME or ~/.config. Other
    /// options win over the file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Read no configuration file.
    #[arg(long, conflicts_with = "config")]
    pub no_config: bool,

    /// Check the configuration in FILE, or the one that would be read, print its problems and end: with exit code 0 if there are
    /// none, or else with 1.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub check_config: Option<Option<PathBuf>>,

    /// Print the default configuration with descriptions, and end.
    #[arg(long)]
    pub print_config: bool,

    /// The outputs of the configuration file.
    #[arg(skip)]
    pub file_outputs: Vec<OutputSetting>,

    /// Start this command when the compositor is ready; the compositor ends with the command and its exit status.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

impl Options {
    /// Returns the configuration of an output with that monitor: that of the command line, or else that of the configuration
    /// file.
    pub fn config_of(&self, name: &str, monitor: &Monitor) -> OutputConfig {
        // As in other programs, the last use of the option for an output applies.
        let output_option = self.output.iter().rev().find(|config| config.name == name);
        let mut settings = self.file_outputs.iter().rev();
        let setting = settings.find(|setting| setting.of.matches(name, monitor));
        let mut config = match (output_option, setting) {
            (Some(config), _) => OutputConfig {
                mode: config.mode.or(self.mode),
                ..config.clone()
            },
            (None, Some(setting)) => OutputConfig {
                mode: self.mode.or(setting.config.mode),
                ..setting.config.clone()
            },
            (None, None) => OutputConfig {
                mode: self.mode,
                ..OutputConfig::default()
            },
        };
        name.clone_into(&mut config.name);
        config
    }

    /// Checks that the output files can be created, before the compositor starts.
    ///
    /// # Errors
    ///
    /// When a path exists and must not be replaced.
    pub fn check_files(&self) -> Result<(), FileError> {
        [&self.report, &self.trace, &self.screenshot]
            .into_iter()
            .flatten()
            .try_for_each(|path| files::check(path))
    }
}

/// Checks that a socket can be bound at `path`. wayland-server removes any file at this path and truncates the lock file.
///
/// # Errors
///
/// When the path or its lock file exists and must not be replaced.
pub fn check_socket(path: &Path) -> Result<(), FileError> {
    files::check_socket(path)?;
    let lock = path.with_extension("lock");
    match files::read(&lock, 0) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => files::check(&lock),
    }
}

/// The kind of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// A display, by kernel mode setting.
    #[default]
    Kms,
    /// A virtual output, driven by a timer.
    Headless,
}

/// The planes that show clients' buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PlaneSelection {
    /// All planes of the display.
    #[default]
    All,
    /// Only the primary plane.
    Primary,
}

/// The kind of renderer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RendererKind {
    /// The card's GPU if OpenGL ES supports it, or else the CPU.
    #[default]
    Auto,
    /// The card's GPU by OpenGL ES, even if the driver is a software renderer.
    Gles,
    /// The CPU.
    Software,
}

/// A requested mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRequest {
    /// The width in pixels.
    pub width: u16,
    /// The height in pixels.
    pub height: u16,
    /// The refresh rate in millihertz; `None` for any rate.
    pub refresh_millihertz: Option<u32>,
}

/// The error for a mode that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid mode: write it as 640x480 or 640x480@60")]
pub struct ModeError(String);

impl FromStr for ModeRequest {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError(text.to_owned());
        let (size, refresh) = match text.split_once('@') {
            Some((size, refresh)) => (size, Some(refresh)),
            None => (text, None),
        };
        let (width, height) = size.split_once('x').ok_or_else(error)?;
        let number = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|number| (1..=16384).contains(number))
        };
        let refresh_millihertz = refresh
            .map(|text| millihertz(text).ok_or_else(error))
            .transpose()?;
        Ok(Self {
            width: number(width).ok_or_else(error)?,
            height: number(height).ok_or_else(error)?,
            refresh_millihertz,
        })
    }
}

/// Parses a refresh rate such as `60` or `59.94`, in Hz, to millihertz.
fn millihertz(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{fraction:0<3}");
    let fraction = digits
        .get(..3)?
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| digits[..3].parse::<u32>().ok())??;
    let whole = whole.parse::<u32>().ok().filter(|rate| *rate <= 1000)?;
    let rate = whole * 1000 + fraction;
    (rate > 0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_request_with_and_without_a_refresh_rate_is_parsed() {
        let mode = |text: &str| text.parse::<ModeRequest>();
        assert_eq!(
            mode("640x480@59.94"),
            Ok(ModeRequest {
                width: 640,
                height: 480,
                refresh_millihertz: Some(59940)
            })
        );
        assert_eq!(mode("1920x1080").unwrap().refresh_millihertz, None);
        for broken in [
            "",
            "640",
            "0x480",
            "640x480@",
            "640x480@0",
            "640x480@x",
            "70000x1",
            "640x480@1.-1",
        ] {
            assert!(mode(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn socket_path_that_holds_another_file_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
        std::fs::write(&file, "kept").unwrap();
        assert!(check_socket(&file).is_err());
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        check_socket(&socket).unwrap();
        check_socket(&folder.path().join("new")).unwrap();
        // The lock file of `new` is an unrelated file, which binding would truncate.
        std::fs::write(folder.path().join("new.lock"), "kept").unwrap();
        let error = check_socket(&folder.path().join("new")).unwrap_err();
        assert!(error.to_string().contains("new.lock"), "{error}");
        std::fs::write(folder.path().join("new.lock"), "").unwrap();
        check_socket(&folder.path().join("new")).unwrap();
        std::fs::remove_file(folder.path().join("new.lock")).unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("new.lock")).unwrap();
        assert!(check_socket(&folder.path().join("new")).is_err());
    }

    #[test]
    fn command_line_with_two_dashes_has_a_command() {
        use clap::Parser;
        let options = Options::parse_from(["c", "--backend", "headless", "--", "ls", "-l"]);
        assert_eq!(options.command, ["ls", "-l"]);
        assert!(Options::try_parse_from(["c", "--screenshot-after", "3"]).is_err());
        assert!(Options::try_parse_from(["c", "--writeback", "folder"]).is_ok());
        assert!(Options::try_parse_from(["c", "--writeback", "folder", "--match-mode"]).is_err());
    }
}
