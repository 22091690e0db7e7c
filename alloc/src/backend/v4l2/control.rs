//! V4L2 controls: the settings of a device, such as brightness, exposure or focus.

use std::fmt;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::device::{Device, text};
use super::{Error, sys};

/// The maximum number of controls that are read from a device, as a limit for faulty drivers. uvcvideo and the kernel's sensor
/// drivers have fewer than a hundred.
const MAX_CONTROLS: usize = 1024;

/// The maximum number of entries that are read from a menu control.
const MAX_MENU_ITEMS: u32 = 1024;

/// A control of a device with its present value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Control {
    /// The id (`V4L2_CID_`).
    pub id: u32,
    /// The driver's name of the control for display, such as `White Balance, Automatic`.
    pub name: String,
    /// The name in lower case with underscores, as v4l2-ctl spells it: `white_balance_automatic`.
    pub key: String,
    /// The kind of values that the control has.
    pub kind: ControlKind,
    /// The value that the driver starts with.
    pub default: i32,
    /// The present value; `None` for a button and for a control that cannot be read.
    pub value: Option<i32>,
    /// Whether the control can only be read.
    pub is_read_only: bool,
    /// Whether the value has no effect at present because of another control, such as the exposure time while exposure is
    /// automatic (V4L2_CTRL_FLAG_INACTIVE).
    pub is_inactive: bool,
    /// Whether the control is grabbed (V4L2_CTRL_FLAG_GRABBED): it cannot be set at present, because the device streams or
    /// another program uses the device.
    pub is_grabbed: bool,
}

/// The kind of values that a control has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlKind {
    /// A whole number.
    Integer {
        /// The smallest value.
        minimum: i32,
        /// The largest value.
        maximum: i32,
        /// The difference between two consecutive values.
        step: i32,
    },
    /// A control with the values 0 (off) and 1 (on).
    Boolean,
    /// One of several values with names.
    Menu(Vec<MenuItem>),
    /// A set of bits.
    Bitmask {
        /// The bits that can be set.
        maximum: i32,
    },
    /// A control without a value: VIDIOC_S_CTRL with any value starts an action.
    Button,
}

/// An entry of a menu control. The control can be set only to numbers that have an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuItem {
    /// The value of the control that selects this entry.
    pub index: i32,
    /// The name of the entry; for an integer menu, the integer as text.
    pub name: String,
}

impl Control {
    /// Parses a value of this control from text: a number, `on` or `off` for a boolean control, or the name of a menu's entry, in
    /// which upper and lower case are equal.
    ///
    /// # Errors
    /// A text that says which values the control accepts. The driver may still refuse a value from this range, when it is set.
    pub fn parse(&self, value: &str) -> Result<i32, String> {
        let number = match value.strip_prefix("0x") {
            Some(digits) => i32::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        let parsed = match &self.kind {
            ControlKind::Boolean => match value.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" => Some(1),
                "off" | "false" | "no" => Some(0),
                _ => number,
            },
            ControlKind::Menu(items) => {
                let named = |item: &&MenuItem| {
                    item.name.eq_ignore_ascii_case(value) || control_key(&item.name) == value
                };
                items.iter().find(named).map(|item| item.index).or(number)
            }
            _ => number,
        };
        let parsed = parsed.ok_or_else(|| format!("it accepts {}", self.kind))?;
        self.check(parsed)?;
        Ok(parsed)
    }

    /// Checks that the control is writable and that its kind permits the value.
    fn check(&self, value: i32) -> Result<(), String> {
        if self.is_read_only {
            return Err("the control is read-only".to_owned());
        }
        let fits = match &self.kind {
            // The step is not checked, because the driver rounds the value to its step.
            ControlKind::Integer {
                minimum, maximum, ..
            } => (*minimum..=*maximum).contains(&value),
            ControlKind::Boolean => (0..=1).contains(&value),
            ControlKind::Menu(items) => items.iter().any(|item| item.index == value),
            ControlKind::Bitmask { maximum } => value & !maximum == 0,
            ControlKind::Button => true,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("it accepts {}", self.kind))
        }
    }
}

impl fmt::Display for ControlKind {
    /// Writes the accepted values as a noun phrase, such as `numbers from 0 to 255`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The maximum number of menu entries that are written.
        const MAX_LISTED_ITEMS: usize = 16;
        match self {
            Self::Integer {
                minimum,
                maximum,
                step,
            } => {
                write!(to, "numbers from {minimum} to {maximum}")?;
                if *step > 1 {
                    write!(to, " in steps of {step}")?;
                }
                Ok(())
            }
            Self::Boolean => to.write_str("on or off"),
            Self::Menu(items) => {
                let named = items.iter().take(MAX_LISTED_ITEMS);
                let named: Vec<_> = named
                    .map(|item| format!("{} ({})", item.index, item.name))
                    .collect();
                to.write_str(&named.join(", "))?;
                match items.len().saturating_sub(MAX_LISTED_ITEMS) {
                    0 => Ok(()),
                    more => write!(to, " and {more} more"),
                }
            }
            Self::Bitmask { maximum } => write!(to, "combinations of the bits in {maximum:#x}"),
            Self::Button => to.write_str("any value, which starts the action"),
        }
    }
}

impl Device {
    /// Lists the controls whose value is a 32-bit number, in the order of their ids. Controls with text, 64-bit or compound
    /// values, and controls that the driver has disabled, are left out.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Request`].
    ///
    /// # References
    /// Kernel documentation, "ioctls VIDIOC_QUERYCTRL, VIDIOC_QUERY_EXT_CTRL and VIDIOC_QUERYMENU".
    pub fn controls(&self) -> Result<Vec<Control>, Error> {
        let mut controls = Vec::new();
        let mut last = 0;
        for _ in 0..MAX_CONTROLS {
            let mut description = sys::ControlDescription {
                id: last | sys::CTRL_FLAG_NEXT,
                ..sys::ControlDescription::default()
            };
            match sys::query_control(self.as_fd(), &mut description) {
                Ok(()) => {}
                // There is no further control, or the driver has none at all.
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(source) => return Err(self.failed("VIDIOC_QUERYCTRL", source)),
            }
            // The loop ends here if a faulty driver does not return a larger id, because it would otherwise not end.
            if description.id <= last {
                break;
            }
            last = description.id;
            if description.flags & sys::CTRL_FLAG_DISABLED != 0 {
                continue;
            }
            if let Some(kind) = self.control_kind(&description)? {
                controls.push(self.control(&description, kind)?);
            }
        }
        Ok(controls)
    }

    /// Sets a control. The driver rounds a number to the control's step.
    ///
    /// # Errors
    /// [`Error::Control`] if the control cannot have this value, is [read-only](Control::is_read_only) or is
    /// [grabbed](Control::is_grabbed); [`Error::Gone`], [`Error::Request`].
    pub fn set_control(&self, control: &Control, value: i32) -> Result<(), Error> {
        let failed = |why: String| Error::Control {
            device: self.path().to_owned(),
            driver: self.driver().to_owned(),
            control: control.key.clone(),
            value,
            why,
        };
        control.check(value).map_err(failed)?;
        let mut request = sys::ControlValue {
            id: control.id,
            value,
        };
        match sys::set_control(self.as_fd(), &mut request) {
            Ok(()) => Ok(()),
            Err(source @ (Errno::RANGE | Errno::INVAL)) => Err(failed(format!(
                "VIDIOC_S_CTRL returned {source}, although the control takes {}",
                control.kind
            ))),
            Err(Errno::BUSY) => Err(failed(
                "the control is grabbed: the device streams, or another program uses the device"
                    .to_owned(),
            )),
            Err(Errno::ACCESS) => Err(failed("the control is read-only".to_owned())),
            Err(source) => Err(self.failed("VIDIOC_S_CTRL", source)),
        }
    }

    /// Reads the current value of a control, and makes its description.
    fn control(
        &self,
        description: &sys::ControlDescription,
        kind: ControlKind,
    ) -> Result<Control, Error> {
        let has = |flag: u32| description.flags & flag != 0;
        let mut request = sys::ControlValue {
            id: description.id,
            value: 0,
        };
        let is_readable = kind != ControlKind::Button && !has(sys::CTRL_FLAG_WRITE_ONLY);
        let value = match is_readable.then(|| sys::get_control(self.as_fd(), &mut request)) {
            Some(Ok(())) => Some(request.value),
            Some(Err(source @ (Errno::NODEV | Errno::NXIO))) => {
                return Err(self.failed("VIDIOC_G_CTRL", source));
            }
            // If the driver returns an error for the value of one control, this control is listed without a value, and all others
            // are listed too.
            Some(Err(_)) | None => None,
        };
        let name = text(&description.name);
        Ok(Control {
            id: description.id,
            key: control_key(&name),
            name,
            kind,
            default: description.default,
            value,
            is_read_only: has(sys::CTRL_FLAG_READ_ONLY),
            is_inactive: has(sys::CTRL_FLAG_INACTIVE),
            is_grabbed: has(sys::CTRL_FLAG_GRABBED),
        })
    }

    /// Returns the kind of values of a control; `None` if they are not 32-bit numbers.
    fn control_kind(
        &self,
        description: &sys::ControlDescription,
    ) -> Result<Option<ControlKind>, Error> {
        let (minimum, maximum) = (description.minimum, description.maximum);
        Ok(Some(match description.kind {
            sys::CTRL_TYPE_INTEGER => ControlKind::Integer {
                minimum,
                maximum,
                step: description.step,
            },
            sys::CTRL_TYPE_BOOLEAN => ControlKind::Boolean,
            sys::CTRL_TYPE_MENU | sys::CTRL_TYPE_INTEGER_MENU => {
                ControlKind::Menu(self.menu(description)?)
            }
            sys::CTRL_TYPE_BITMASK => ControlKind::Bitmask { maximum },
            sys::CTRL_TYPE_BUTTON => ControlKind::Button,
            _ => return Ok(None),
        }))
    }

    /// Lists the entries of a menu control.
    fn menu(&self, description: &sys::ControlDescription) -> Result<Vec<MenuItem>, Error> {
        let first = u32::try_from(description.minimum).unwrap_or(0);
        let last = u32::try_from(description.maximum).unwrap_or(0);
        let mut items = Vec::new();
        for index in (first..=last).take(MAX_MENU_ITEMS as usize) {
            let mut entry = sys::MenuEntry {
                id: description.id,
                index,
                ..sys::MenuEntry::default()
            };
            match sys::query_menu(self.as_fd(), &mut entry) {
                Ok(()) => {}
                // A menu need not have an entry for every number in its range. The kernel returns EINVAL for a number without an
                // entry.
                Err(Errno::INVAL) => continue,
                Err(source) => return Err(self.failed("VIDIOC_QUERYMENU", source)),
            }
            let bytes = entry.name;
            let name = if description.kind == sys::CTRL_TYPE_INTEGER_MENU {
                let mut number = [0; 8];
                number.copy_from_slice(&bytes[..8]);
                i64::from_ne_bytes(number).to_string()
            } else {
                text(&bytes)
            };
            if let Ok(index) = i32::try_from(index) {
                items.push(MenuItem { index, name });
            }
        }
        Ok(items)
    }
}

/// Returns a control's name in lower case, with its letters and digits only. One underscore replaces each run of other characters
/// between them.
fn control_key(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(kind: ControlKind) -> Control {
        Control {
            id: 0x0098_0900,
            name: "Brightness".to_owned(),
            key: "brightness".to_owned(),
            kind,
            default: 0,
            value: Some(0),
            is_read_only: false,
            is_inactive: false,
            is_grabbed: false,
        }
    }

    #[test]
    fn key_has_the_letters_and_digits_of_the_name() {
        for (name, expected) in [
            ("Brightness", "brightness"),
            ("White Balance, Automatic", "white_balance_automatic"),
            (" Exposure (Absolute) ", "exposure_absolute"),
            ("---", ""),
        ] {
            assert_eq!(control_key(name), expected);
        }
    }

    #[test]
    fn parse_reads_numbers_names_and_switches_of_the_kind() {
        let number = control(ControlKind::Integer {
            minimum: -64,
            maximum: 64,
            step: 2,
        });
        assert_eq!(number.parse("-12"), Ok(-12));
        assert_eq!(number.parse("0x20"), Ok(32));
        for wrong in ["65", "on", "", "9999999999"] {
            let why = number.parse(wrong).unwrap_err();
            assert_eq!(
                why, "it accepts numbers from -64 to 64 in steps of 2",
                "{wrong}"
            );
        }
        let switch = control(ControlKind::Boolean);
        for (text, value) in [("on", 1), ("Off", 0), ("1", 1), ("false", 0)] {
            assert_eq!(switch.parse(text), Ok(value), "{text}");
        }
        assert_eq!(switch.parse("2"), Err("it accepts on or off".to_owned()));
        let item = |index, name: &str| MenuItem {
            index,
            name: name.to_owned(),
        };
        let menu = control(ControlKind::Menu(vec![
            item(1, "Manual Mode"),
            item(3, "Aperture Priority Mode"),
        ]));
        for text in ["3", "aperture priority mode", "aperture_priority_mode"] {
            assert_eq!(menu.parse(text), Ok(3), "{text}");
        }
        let why = menu.parse("2").unwrap_err();
        assert_eq!(
            why,
            "it accepts 1 (Manual Mode), 3 (Aperture Priority Mode)"
        );
        let bits = control(ControlKind::Bitmask { maximum: 0b101 });
        assert_eq!(bits.parse("4"), Ok(4));
        assert!(bits.parse("2").is_err());
    }

    #[test]
    fn parse_of_a_control_that_can_only_be_read_says_so() {
        let mut gain = control(ControlKind::Boolean);
        gain.is_read_only = true;
        assert_eq!(gain.parse("on"), Err("the control is read-only".to_owned()));
    }
}
