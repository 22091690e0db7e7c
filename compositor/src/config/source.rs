//! Where the configuration file is, and how it is read.

use std::path::{Path, PathBuf};
use std::str;

use covalent_alloc::files::{self, FileError};

use super::apply::log_rejected;
use super::problem::Source;
use super::{Config, ConfigError};
use crate::options::Options;

/// The file with the defaults and their descriptions, which `--print-config` prints.
pub const DEFAULTS: &str = include_str!("../../compositor.toml");

/// The maximum size of a configuration file in bytes.
const FILE_BYTES_MAX: usize = 256 << 10;

/// The name of the file in the folder of the user's configuration.
const NAME: &str = "covalent/compositor.toml";

/// The path of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    /// Whether the user specified the path. Otherwise the file need not exist, and must belong to the user or root.
    is_specified: bool,
}

impl ConfigFile {
    /// Returns a file that the user specified.
    pub fn specified(path: &Path) -> Self {
        // The compositor keeps its working directory, so a relative path stays the same.
        let absolute = std::path::absolute(path);
        Self {
            path: absolute.unwrap_or_else(|_| path.to_owned()),
            is_specified: true,
        }
    }

    /// Returns the file that the command line selects; `None` with `--no-config`, or if the user has no folder for it.
    pub fn of_options(options: &Options) -> Option<Self> {
        if options.no_config {
            return None;
        }
        match &options.config {
            Some(path) => Some(Self::specified(path)),
            None => Self::of_user(),
        }
    }

    /// Returns the user's file.
    ///
    /// # References
    ///
    /// XDG Base Directory Specification: a relative path in `XDG_CONFIG_HOME` is ignored.
    fn of_user() -> Option<Self> {
        let folder = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let folder = folder("XDG_CONFIG_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".config")))?;
        Some(Self {
            path: folder.join(NAME),
            is_specified: false,
        })
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the user specified the path.
    pub fn is_specified(&self) -> bool {
        self.is_specified
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// When the file does not exist, is no regular file, is too large, or is not UTF-8.
    pub(super) fn read(&self) -> Result<String, ConfigError> {
        let read = if self.is_specified {
            files::read
        } else {
            files::read_own
        };
        let bytes = read(&self.path, FILE_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = error.as_bytes().get(..valid).unwrap_or_default();
            let text = str::from_utf8(text).unwrap_or_default();
            let mut source = Source::new(text, &self.path);
            let message = "this byte is not valid UTF-8: save the file with the encoding UTF-8";
            source.problem(&(valid..valid), message.to_owned());
            ConfigError::Content(source.problems)
        })
    }

    /// Reads and parses the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not valid.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let text = self.read()?;
        Config::parse(&text, &self.path).map_err(ConfigError::Content)
    }
}

/// The configuration at the start.
#[derive(Debug, Default)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// The file that is watched.
    pub file: Option<ConfigFile>,
    /// The text of the file, if it could be read.
    pub text: Option<String>,
}

impl LoadedConfig {
    /// Reads the file that the command line selects. If the user's file is not valid, the defaults apply and the log says why, so
    /// that the user can log in and correct it. A kiosk stays one.
    ///
    /// # Errors
    ///
    /// When a file that the user specified cannot be used.
    pub fn of_options(options: &Options) -> Result<Self, ConfigError> {
        let Some(file) = ConfigFile::of_options(options) else {
            return Ok(Self::default());
        };
        let mut loaded = Self {
            config: Config::default(),
            text: None,
            file: Some(file.clone()),
        };
        let parsed = file.read().and_then(|text| {
            let parsed = Config::parse(&text, &file.path);
            loaded.config.kiosk = parsed.is_err() && Config::wants_kiosk(&text);
            loaded.text = Some(text);
            parsed.map_err(ConfigError::Content)
        });
        match parsed {
            Ok(config) => loaded.config = config,
            Err(error) if file.is_specified => return Err(error),
            Err(error) if error.is_not_found() => {}
            Err(error) => log_rejected(&error),
        }
        Ok(loaded)
    }
}

impl ConfigError {
    /// Returns whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::File(error) if FileError::is_not_found(error))
    }

    /// Returns the lines of a message.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::File(error) => vec![error.to_string()],
            Self::Content(problems) => problems.lines().collect(),
        }
    }
}
