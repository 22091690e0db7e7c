//! The parser of the text that `drm_info` prints. The text is a tree; the parser reads the words and ignores the lines that draw
//! the tree.
//!
//! ```text
//! Node: /dev/dri/card0
//! ├───Driver: rockchip-ebc (Rockchip E-Book Controller) version 0.3.0
//! │   ├───DRM_CAP_DUMB_BUFFER = 1
//! ├───Framebuffer size
//! │   ├───Width: [0, 4096]
//! └───Planes
//!     ├───Plane 0
//!     │   ├───Object ID: 33
//!     │   ├───CRTCs: {0}
//!     │   ├───Legacy info
//!     │   │   └───Formats:
//!     │   │       └───XRGB8888 (0x34325258)
//!     │   └───Properties
//!     │       ├───"type" (immutable): enum {Overlay, Primary, Cursor} = Primary
//!     │       ├───"IN_FORMATS" (immutable): blob = 34
//!     │       │   └───DRM_FORMAT_MOD_LINEAR (0x0)
//!     │       │       └───XRGB8888 (0x34325258)
//! ```

use covalent_solver::constraint::{FormatSet, PlaneKind};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};

use super::card::{Card, CardPlane};
use super::error::LineError;
use super::text::{Line, last_line, lines, number, number_in_parentheses, value_of};

/// The maximum number of cards of a file, and the maximum number of planes and capabilities of a card.
const MAXIMUM: usize = 256;

/// The number of hexadecimal digits by which a format's code is recognised. A modifier's code has more digits, or a single digit
/// where an older version of drm_info writes LINEAR as `0x0`.
const FORMAT_DIGITS: usize = 8;

/// The section of a card's text to which the current line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Driver,
    Framebuffer,
    Planes,
    /// The formats that `DRM_IOCTL_MODE_GETPLANE` returned.
    Formats,
    /// The formats of a modifier of `IN_FORMATS`; `None` before the first modifier.
    InFormats(Option<Modifier>),
    Other,
}

/// Returns whether a line begins drm_info's text of a card.
pub(super) fn is_first(line: &str) -> bool {
    line.strip_prefix("Node: /dev/").is_some() || is_driver(line)
}

/// Returns whether a line names a card's driver, such as `Driver: i915 (Intel Graphics) version 1.6.0 (20201103)`.
fn is_driver(line: &str) -> bool {
    line.starts_with("Driver: ") && line.contains(" version ") && line.contains('(')
}

/// Reads the cards of a text, in memory and time proportional to its length.
pub(super) fn read(text: &str) -> Result<Vec<Card>, LineError> {
    let mut reader = Reader {
        found: Vec::new(),
        section: Section::Other,
        pairs: 0,
    };
    for line in lines(text) {
        reader.line(line)?;
    }
    reader.found.retain(|card| !card.driver.is_empty());
    if reader.found.is_empty() {
        let expected = "a card with its driver, as drm_info prints it";
        return Err(LineError::new(last_line(text), expected, ""));
    }
    Ok(reader.found)
}

struct Reader {
    found: Vec<Card>,
    section: Section,
    /// The number of pairs of format and modifier that were read, of all planes together.
    pairs: usize,
}

impl Reader {
    /// Reads a line of drm_info's output, as the current section requires.
    fn line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let text = line.text;
        if let Some(node) = text.strip_prefix("Node: ") {
            self.add_card(line, node)?;
        } else if is_driver(text) {
            self.driver(line)?;
        } else if self.found.is_empty() {
            // The line precedes drm_info's output. It may be a shell's prompt, for example.
        } else if text == "Framebuffer size" {
            self.section = Section::Framebuffer;
        } else if matches!(text, "Connectors" | "Encoders" | "CRTCs") {
            self.section = Section::Other;
        } else if text == "Planes" {
            self.section = Section::Planes;
        } else {
            self.card_line(line)?;
        }
        Ok(())
    }

    fn add_card(&mut self, line: Line<'_>, node: &str) -> Result<(), LineError> {
        if self.found.len() >= MAXIMUM {
            let expected = format!("at most {MAXIMUM} cards");
            return Err(LineError::new(line.number, expected, line.text));
        }
        self.found.push(Card {
            node: node.to_owned(),
            ..Card::default()
        });
        self.section = Section::Driver;
        Ok(())
    }

    /// Reads the line with the name of the card's driver.
    fn driver(&mut self, line: Line<'_>) -> Result<(), LineError> {
        // A pasted text may begin after the line `Node:`. The card then gets the node `/dev/dri/card0`.
        if self.found.last().is_none_or(|card| !card.driver.is_empty()) {
            self.add_card(line, "/dev/dri/card0")?;
        }
        let words = line.text.strip_prefix("Driver: ").unwrap_or_default();
        let name = words.split(' ').next().unwrap_or_default();
        if let Some(card) = self.found.last_mut() {
            card.driver = name.to_owned();
        }
        self.section = Section::Driver;
        Ok(())
    }

    fn card_line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let Some(card) = self.found.last_mut() else {
            return Ok(());
        };
        let text = line.text;
        match self.section {
            Section::Driver => {
                if let Some(device) = text.strip_prefix("Device: ") {
                    card.is_pci = device.starts_with("PCI");
                } else if let Some((name, value)) = capability(line)? {
                    if card.caps.len() < MAXIMUM {
                        card.caps.insert(name.to_owned(), value);
                    }
                }
            }
            Section::Framebuffer => {
                if let Some(value) = value_of(text, "Width") {
                    card.widths = Some(range(line.number, value)?);
                } else if let Some(value) = value_of(text, "Height") {
                    card.heights = Some(range(line.number, value)?);
                }
            }
            Section::Other => {}
            Section::Planes | Section::Formats | Section::InFormats(_) => {
                self.plane_line(line)?;
            }
        }
        Ok(())
    }

    fn plane_line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let text = line.text;
        let Some(card) = self.found.last_mut() else {
            return Ok(());
        };
        if is_plane(text) {
            if card.planes.len() >= MAXIMUM {
                let expected = format!("at most {MAXIMUM} planes of a card");
                return Err(LineError::new(line.number, expected, text));
            }
            card.planes.push(CardPlane::new(0));
            self.section = Section::Planes;
            return Ok(());
        }
        let Some(plane) = card.planes.last_mut() else {
            return Ok(());
        };
        if let Some(value) = value_of(text, "Object ID") {
            // A plane's framebuffer has an object ID too. It follows the plane's ID and is ignored.
            if plane.id == 0 {
                let none = || LineError::new(line.number, "the ID of the plane", value);
                plane.id = value.parse().map_err(|_| none())?;
            }
        } else if let Some(value) = value_of(text, "CRTCs") {
            plane.possible_crtcs = mask(line.number, value)?;
        } else if text == "Formats:" {
            self.section = Section::Formats;
        } else if text.starts_with("\"IN_FORMATS\"") {
            plane.in_formats = Some(Vec::new());
            self.section = Section::InFormats(None);
        } else if text.starts_with("\"type\"") {
            plane.kind = match text.rsplit_once(" = ").map(|(_, kind)| kind) {
                Some("Primary") => PlaneKind::Primary,
                Some("Cursor") => PlaneKind::Cursor,
                _ => PlaneKind::Overlay,
            };
            self.section = Section::Planes;
        } else if text.starts_with('"') || text == "Properties" {
            self.section = Section::Planes;
        } else {
            return self.format_line(line);
        }
        Ok(())
    }

    fn format_line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let plane = self
            .found
            .last_mut()
            .and_then(|card| card.planes.last_mut());
        let (Some(plane), Section::Formats | Section::InFormats(_)) = (plane, self.section) else {
            return Ok(());
        };
        if !line.text.contains(char::is_alphanumeric) {
            // A line without letters and digits is ignored. People replace a part of a long list by dots.
            return Ok(());
        }
        let expected = "a format or a modifier with its number in parentheses";
        let none = || LineError::new(line.number, expected, line.text);
        let (number, digits) = number_in_parentheses(line.text).ok_or_else(none)?;
        let format = u32::try_from(number).ok().map(Fourcc);
        let format = format.filter(|_| digits == FORMAT_DIGITS);
        self.pairs = self.pairs.saturating_add(1);
        if self.pairs > FormatSet::MAXIMUM_PAIRS {
            let expected = format!("at most {} formats", FormatSet::MAXIMUM_PAIRS);
            return Err(LineError::new(line.number, expected, line.text));
        }
        match (self.section, format) {
            (Section::Formats, Some(format)) => plane.formats.push(format),
            (Section::InFormats(Some(modifier)), Some(format)) => {
                let pairs = plane.in_formats.get_or_insert_default();
                pairs.push(FormatModifier::new(format, modifier));
            }
            (Section::InFormats(_), None) => {
                self.section = Section::InFormats(Some(Modifier(number)));
            }
            _ => return Err(none()),
        }
        Ok(())
    }
}

/// Returns whether a line is the heading of a KMS plane, such as `Plane 0`.
fn is_plane(text: &str) -> bool {
    text.strip_prefix("Plane ")
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Reads a capability such as `DRM_CAP_PRIME = 3`; `None` for another line and for a capability that the driver does not support.
fn capability(line: Line<'_>) -> Result<Option<(&str, u64)>, LineError> {
    let Some(rest) = line.text.strip_prefix("DRM_CAP_") else {
        return Ok(None);
    };
    let Some((name, value)) = rest.split_once(" = ") else {
        return Ok(None);
    };
    let none = || LineError::new(line.number, "the value of a capability", value);
    Ok(Some((name, number(value.trim()).ok_or_else(none)?)))
}

/// Reads a range such as `[32, 8192]`.
fn range(line: usize, text: &str) -> Result<(u32, u32), LineError> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let both = inner.and_then(|inner| inner.split_once(','));
    let both = both
        .and_then(|(least, most)| Some((least.trim().parse().ok()?, most.trim().parse().ok()?)));
    both.ok_or_else(|| {
        LineError::new(
            line,
            "the minimum and the maximum size, such as [1, 4096]",
            text,
        )
    })
}

/// Reads the indices of CRTCs, such as `{0, 2}`, as a bit mask like KMS's `possible_crtcs`.
fn mask(line: usize, text: &str) -> Result<u32, LineError> {
    let none = || LineError::new(line, "the numbers of CRTCs, such as {0, 1}", text);
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    let mut mask = 0_u32;
    for word in inner
        .ok_or_else(none)?
        .split(',')
        .filter(|word| !word.trim().is_empty())
    {
        let bit: u32 = word.trim().parse().map_err(|_| none())?;
        mask |= 1_u32.checked_shl(bit).ok_or_else(none)?;
    }
    Ok(mask)
}
