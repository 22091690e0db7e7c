//! The configuration of an output, from the option `--output`.

use std::str::FromStr;

use crate::options::ModeRequest;
use crate::render::view::Transform;

/// The minimum and the maximum scale. Text would be illegible at a smaller scale, and sizes in pixels would overflow at a larger
/// one.
pub(crate) const SCALES: std::ops::RangeInclusive<f64> = 0.25..=16.0;

/// The maximum distance from the origin in logical pixels, which is also the maximum of clients' coordinates.
pub(crate) const POSITION_MAX: i32 = 1 << 24;

/// The configuration of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// The name of the connector, for example `Virtual-1`.
    pub name: String,
    /// The mode; `None` for the preferred one.
    pub mode: Option<ModeRequest>,
    /// The number of physical pixels for each logical pixel.
    pub scale: f64,
    /// The transform of the output, as in `wl_output.transform`.
    pub transform: Transform,
    /// The position of the upper left corner on the desktop; with `None`, the output is placed to the right of the others.
    pub position: Option<(i32, i32)>,
    /// Whether the output stays off.
    pub off: bool,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            mode: None,
            scale: 1.0,
            transform: Transform::Normal,
            position: None,
            off: false,
        }
    }
}

/// The error for a configuration that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid output: {cause}; write it as Virtual-1:mode=640x480,scale=2,transform=90,position=640,0"
)]
pub struct OutputConfigError {
    text: String,
    cause: String,
}

/// The names of the transforms.
pub(crate) const TRANSFORMS: [(&str, Transform); 8] = [
    ("normal", Transform::Normal),
    ("90", Transform::Rotated90),
    ("180", Transform::Rotated180),
    ("270", Transform::Rotated270),
    ("flipped", Transform::Flipped),
    ("flipped-90", Transform::Flipped90),
    ("flipped-180", Transform::Flipped180),
    ("flipped-270", Transform::Flipped270),
];

impl FromStr for OutputConfig {
    type Err = OutputConfigError;

    fn from_str(text: &str) -> Result<Self, OutputConfigError> {
        let error = |cause: String| OutputConfigError {
            text: text.to_owned(),
            cause,
        };
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(error("it has no name".to_owned()));
        }
        let mut config = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut parts = settings.split(',').filter(|part| !part.is_empty());
        while let Some(part) = parts.next() {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let invalid_value = || error(format!("the setting {part:?} has no valid value"));
            match key {
                "mode" => config.mode = Some(value.parse().map_err(|_| invalid_value())?),
                "scale" => {
                    let scale = value.parse().ok().filter(|scale| SCALES.contains(scale));
                    config.scale = scale.ok_or_else(invalid_value)?;
                }
                "transform" => {
                    let transform = TRANSFORMS.iter().find(|(name, _)| *name == value);
                    config.transform = transform.ok_or_else(invalid_value)?.1;
                }
                "position" => {
                    let number = |text: &str| {
                        let number = text.parse::<i32>().ok();
                        number.filter(|number| number.unsigned_abs() <= POSITION_MAX.unsigned_abs())
                    };
                    // The comma separates both the settings and the two numbers of a position.
                    let y = parts.next().and_then(number).ok_or_else(invalid_value)?;
                    config.position = Some((number(value).ok_or_else(invalid_value)?, y));
                }
                "off" if part == "off" => config.off = true,
                _ => return Err(error(format!("there is no setting {part:?}"))),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_config_with_all_settings_is_parsed() {
        let text = "DP-2:mode=640x480@60,scale=1.5,transform=flipped-90,position=-640,20,off";
        let config: OutputConfig = text.parse().unwrap();
        assert_eq!(config.name, "DP-2");
        assert_eq!(config.mode.map(|mode| mode.width), Some(640));
        assert_eq!(config.scale, 1.5);
        assert_eq!(config.transform, Transform::Flipped90);
        assert_eq!(config.position, Some((-640, 20)));
        assert!(config.off);
        let plain: OutputConfig = "HEADLESS-1".parse().unwrap();
        assert_eq!((plain.scale, plain.position, plain.off), (1.0, None, false));
    }

    #[test]
    fn output_config_that_is_not_valid_is_rejected_with_its_part() {
        for (text, part) in [
            ("", "no name"),
            (":scale=1", "no name"),
            ("A:scale=0", "scale=0"),
            ("A:scale=NaN", "scale=NaN"),
            ("A:scale=1e9", "scale=1e9"),
            ("A:position=1", "position=1"),
            ("A:position=1,x", "position=1"),
            ("A:position=2147483647,0", "position=2147483647"),
            ("A:position=-2147483648,0", "position=-2147483648"),
            ("A:transform=45", "transform=45"),
            ("A:mode=640", "mode=640"),
            ("A:of", "of"),
            ("A:off=1", "off=1"),
        ] {
            let error = text.parse::<OutputConfig>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
