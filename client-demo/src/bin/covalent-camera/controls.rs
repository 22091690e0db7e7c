//! `--control`, `--remember`, `--forget` and `--controls`: sets, stores and lists the camera's V4L2 controls.

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::v4l2::{Control, ControlKind, Device, MenuItem};
use covalent_alloc::text::PrintableWriter;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::{exit_code, print};
use serde::Serialize;

use crate::options::Options;
use crate::remembered;

/// Opens the camera, sets the remembered controls, and then sets the controls of the command line.
///
/// A remembered control that the driver rejects is only logged, because another version of the driver may lack the control.
pub(crate) fn open(options: &Options) -> Result<Device, Failure> {
    let device = Device::open(&options.device).map_err(exit_code::camera_failure)?;
    if options.forget {
        remembered::store(&device, remembered::Values::new()).map_err(Failure::unexpected)?;
    }
    let mut values = match remembered::load(&device) {
        Ok(values) => values,
        Err(error) if options.remember => return Err(Failure::unexpected(error)),
        Err(error) => {
            tracing::warn!("the remembered controls are not set: {error:#}");
            remembered::Values::new()
        }
    };
    if values.is_empty() && options.control.is_empty() {
        return Ok(device);
    }
    let is_given = |name: &str| options.control.iter().any(|(given, _)| given == name);
    // The remembered controls are sorted by name. A control that depends on a later one is inactive or is rejected the first
    // time, so it is set once more after all others (focus_absolute after focus_automatic_continuous).
    let mut again = Vec::new();
    for (name, value) in values.iter().filter(|(name, _)| !is_given(name)) {
        if !matches!(set_remembered(&device, name, *value), Ok(true)) {
            again.push((name, *value));
        }
    }
    for (name, value) in again {
        if let Err(failure) = set_remembered(&device, name, value) {
            tracing::warn!(
                "a remembered control is not set: {failure}; --forget removes all remembered controls of this camera"
            );
        }
    }
    for (name, value) in &options.control {
        values.insert(name.clone(), set(&device, name, value)?);
    }
    if options.remember {
        remembered::store(&device, values).map_err(Failure::unexpected)?;
    }
    Ok(device)
}

/// Returns the control with this name. The controls are queried again on each call, because setting one control can change the
/// range of another.
fn find(device: &Device, name: &str) -> Result<Control, Failure> {
    let controls = device.controls().map_err(exit_code::camera_failure)?;
    let names: Vec<_> = controls.iter().map(|control| control.key.clone()).collect();
    let control = controls.into_iter().find(|control| control.key == name);
    control.ok_or_else(|| {
        let hint = match names.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };
        Failure::new(
            Exit::Usage,
            anyhow!(
                "{} ({}) has no control {name:?}; {hint}",
                device.path().display(),
                device.card()
            ),
        )
    })
}

/// Sets a control to a value of the command line, and returns the value as a number.
fn set(device: &Device, name: &str, value: &str) -> Result<i32, Failure> {
    let control = find(device, name)?;
    let number = control.parse(value).map_err(|why| {
        Failure::new(
            Exit::Usage,
            anyhow!("--control: {name} cannot be set to {value:?}: {why}"),
        )
    })?;
    device
        .set_control(&control, number)
        .map_err(exit_code::camera_failure)?;
    if control.is_inactive {
        tracing::warn!(
            "{name} has no effect now because of the value of another control; set the other control first (auto_exposure before exposure)"
        );
    }
    Ok(number)
}

/// Sets a control to its remembered value. Returns whether the control was active, so that the value has an effect.
fn set_remembered(device: &Device, name: &str, value: i32) -> Result<bool, Failure> {
    let control = find(device, name)?;
    device
        .set_control(&control, value)
        .map_err(exit_code::camera_failure)?;
    Ok(!control.is_inactive)
}

/// The object that `--controls --json` prints.
#[derive(Debug, Serialize)]
struct List {
    device: String,
    driver: String,
    card: String,
    controls: Vec<ListedControl>,
}

/// A control in the list. `minimum`, `maximum` and `step` are null for a type of control that has none.
#[derive(Debug, Serialize)]
struct ListedControl {
    name: String,
    /// The name that the driver gives to the control.
    description: String,
    kind: &'static str,
    value: Option<i32>,
    default: Option<i32>,
    minimum: Option<i32>,
    maximum: Option<i32>,
    step: Option<i32>,
    menu: Vec<ListedItem>,
    read_only: bool,
    inactive: bool,
    /// The remembered value, which every start sets; null if none is remembered.
    remembered: Option<i32>,
}

#[derive(Debug, Serialize)]
struct ListedItem {
    index: i32,
    name: String,
}

impl ListedControl {
    fn new(control: &Control, remembered: Option<i32>) -> Self {
        let items = |items: &[MenuItem]| -> Vec<ListedItem> {
            let item = |item: &MenuItem| ListedItem {
                index: item.index,
                name: item.name.clone(),
            };
            items.iter().map(item).collect()
        };
        let (kind, range, menu) = match &control.kind {
            ControlKind::Integer {
                minimum,
                maximum,
                step,
            } => (
                "integer",
                (Some(*minimum), Some(*maximum), Some(*step)),
                Vec::new(),
            ),
            ControlKind::Boolean => ("boolean", (None, None, None), Vec::new()),
            ControlKind::Menu(own) => ("menu", (None, None, None), items(own)),
            ControlKind::Bitmask { maximum } => {
                ("bitmask", (None, Some(*maximum), None), Vec::new())
            }
            ControlKind::Button => ("button", (None, None, None), Vec::new()),
            _ => ("other", (None, None, None), Vec::new()),
        };
        Self {
            name: control.key.clone(),
            description: control.name.clone(),
            kind,
            value: control.value,
            default: (control.kind != ControlKind::Button).then_some(control.default),
            minimum: range.0,
            maximum: range.1,
            step: range.2,
            menu,
            read_only: control.is_read_only,
            inactive: control.is_inactive,
            remembered,
        }
    }
}

/// Prints the controls of the camera.
pub(crate) fn list(options: &Options) -> Result<(), Failure> {
    let device = open(options)?;
    let controls = device.controls().map_err(exit_code::camera_failure)?;
    let remembered = remembered::load(&device).unwrap_or_default();
    let printed = if options.json {
        let listed = controls
            .iter()
            .map(|control| ListedControl::new(control, remembered.get(&control.key).copied()));
        print::json(&List {
            device: device.path().display().to_string(),
            driver: device.driver().to_owned(),
            card: device.card().to_owned(),
            controls: listed.collect(),
        })
    } else {
        print_text(&device, &controls, &remembered)
    };
    printed
        .context("printing the controls")
        .map_err(Failure::unexpected)
}

/// Prints the controls as text.
fn print_text(
    device: &Device,
    controls: &[Control],
    remembered: &remembered::Values,
) -> std::io::Result<()> {
    let mut text = format!(
        "{} ({}) has {} controls:\n",
        device.path().display(),
        device.card(),
        controls.len()
    );
    for control in controls {
        let value = match (&control.kind, control.value) {
            (ControlKind::Boolean, Some(value)) => if value == 0 { "off" } else { "on" }.to_owned(),
            (ControlKind::Menu(items), Some(value)) => {
                let named = items.iter().find(|item| item.index == value);
                named.map_or_else(|| value.to_string(), |item| item.name.clone())
            }
            (_, Some(value)) => value.to_string(),
            (ControlKind::Button, None) => "a button".to_owned(),
            (_, None) => "cannot be read".to_owned(),
        };
        text.push_str(&format!("  {} = {value}\n", control.key));
        let mut details = Vec::new();
        match &control.kind {
            _ if control.is_read_only => details.push("can only be read".to_owned()),
            ControlKind::Button | ControlKind::Boolean => {}
            kind => details.push(kind.to_string()),
        }
        if control.value.is_some_and(|value| value != control.default) {
            details.push(format!("default {}", control.default));
        }
        if control.is_inactive {
            details.push("has no effect now because of another control".to_owned());
        }
        if let Some(value) = remembered.get(&control.key) {
            details.push(format!("set to {value} at every start"));
        }
        if !details.is_empty() {
            text.push_str(&format!("      {}\n", details.join("; ")));
        }
    }
    let mut out = PrintableWriter::new(std::io::stdout());
    out.write_all(text.as_bytes())?;
    out.flush()
}
