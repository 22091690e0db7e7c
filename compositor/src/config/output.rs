//! The tables `[[output]]`: mode, scale, transform and position of displays.

use toml::de::DeValue;

use super::problem::Source;
use super::table::{Checked, Table, boolean, choice, number, parsed, text};
use crate::edid::Monitor;
use crate::output_config::{OutputConfig, POSITION_MAX, SCALES, TRANSFORMS};

/// The maximum number of settings of outputs.
const OUTPUTS_MAX: usize = 64;

/// Which outputs a setting is for. Each part that is set has to be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputMatch {
    /// The name of the connector, for example `DP-1`.
    pub name: Option<String>,
    /// The manufacturer, as `wl_output` has it.
    pub make: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
}

/// The settings of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSetting {
    /// The outputs that have these settings.
    pub of: OutputMatch,
    /// The settings; the name is empty.
    pub config: OutputConfig,
}

impl OutputMatch {
    /// Returns whether the settings are for the output with this name and monitor.
    pub fn matches(&self, name: &str, monitor: &Monitor) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        is(&self.name, name)
            && is(&self.make, &monitor.make)
            && is(&self.model, &monitor.model)
            && is(&self.serial, &monitor.serial)
    }
}

/// Reads all tables `[[output]]`.
pub(super) fn read_outputs(source: &mut Source<'_>, root: &mut Table<'_>) -> Vec<OutputSetting> {
    let mut settings: Vec<OutputSetting> = Vec::new();
    let mut lines: Vec<usize> = Vec::new();
    for (mut table, at) in root.tables(source, "output", OUTPUTS_MAX) {
        let of = OutputMatch {
            name: table.take(source, "name", text("DP-1")),
            make: table.take(source, "make", text("DEL")),
            model: table.take(source, "model", text("DELL U2720Q")),
            serial: table.take(source, "serial", text("ABC123")),
        };
        let modes = parsed("a mode such as \"1920x1080\" or \"1920x1080@59.94\"");
        let mut config = OutputConfig {
            mode: table.take(source, "mode", modes),
            position: table.take(source, "position", position),
            ..OutputConfig::default()
        };
        let scales = number(*SCALES.start()..=*SCALES.end());
        table.set(source, "scale", &mut config.scale, scales);
        table.set(
            source,
            "transform",
            &mut config.transform,
            choice(&TRANSFORMS),
        );
        table.set(source, "off", &mut config.off, boolean);
        table.finish(source);
        let (line, _) = source.place(&at);
        if of == OutputMatch::default() {
            let message = "[[output]] does not say which output it is for: add name, or make, model and serial";
            source.problem(&at, message.to_owned());
        }
        let mut earlier = settings.iter().zip(&lines);
        if let Some((_, earlier)) = earlier.find(|(setting, _)| setting.of == of) {
            let message = format!(
                "line {line} has settings of the same output as line {earlier}: merge the two tables"
            );
            source.problem(&at, message);
        }
        lines.push(line);
        settings.push(OutputSetting { of, config });
    }
    settings
}

/// Checks for a position, such as `[1920, 0]`.
fn position(value: &DeValue<'_>) -> Checked<(i32, i32)> {
    let coordinate = |value: &DeValue<'_>| {
        let number = value.as_integer().filter(|number| number.radix() == 10)?;
        let number = number.as_str().parse::<i32>().ok()?;
        (number.unsigned_abs() <= POSITION_MAX.unsigned_abs()).then_some(number)
    };
    let array = value.as_array().filter(|array| array.len() == 2);
    let place = array.and_then(|array| {
        let mut numbers = array.iter().map(|number| coordinate(number.get_ref()));
        Some((numbers.next()??, numbers.next()??))
    });
    place.ok_or_else(|| {
        format!("[x, y] in logical pixels, each from -{POSITION_MAX} to {POSITION_MAX}")
    })
}
