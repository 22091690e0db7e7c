//! The parser of the table of formats and modifiers of zwp_linux_dmabuf_v1 that wayland-info and older tools print.
//!
//! ```text
//! interface: 'zwp_linux_dmabuf_v1',                        version:  4, name:  3
//!         main device: 0xE280
//!         tranche
//!                 target device: 0xE280
//!                 flags: scanout
//!                 formats (fourcc) and modifiers (names):
//!                 0x34325258 = 'XR24'; 0x0000000000000000 = LINEAR
//! ```
//! weston-info writes a pair as `'XR24'(0x34325258), modifier: 0x0000000000000000`, and other tools write it as `format XR24,
//! modifier LINEAR (0x0)`.

use covalent_solver::constraint::{Constraints, FormatSet, Participant, Role};
use covalent_solver::model::{DeviceIdentity, FormatModifier, Fourcc, Modifier};

use super::error::LineError;
use super::evidence::Evidence;
use super::text::{Line, last_line, lines, number, number_in_parentheses, value_of};
use crate::{Declared, RecordedParticipant};

/// The pairs of format and modifier that a compositor advertises: those that it composites, and those of scanout tranches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compositor {
    composited: Vec<FormatModifier>,
    scanout: Vec<FormatModifier>,
}

/// Returns whether a line begins the table of formats.
pub(super) fn is_first(line: &str) -> bool {
    line.contains("zwp_linux_dmabuf_v1")
        || line.starts_with("formats (fourcc) and modifiers")
        || line.starts_with("tranche format/modifier pair")
}

/// Reads the table, in memory and time proportional to the length of the text.
pub(super) fn read(text: &str) -> Result<Compositor, LineError> {
    let mut found = Compositor::default();
    let (mut is_inside, mut is_scanout) = (false, false);
    for line in lines(text) {
        if is_first(line.text) {
            is_inside = true;
        } else if line.text.starts_with("interface:") {
            is_inside = false;
        }
        if let Some(flags) = value_of(line.text, "flags") {
            is_scanout = flags.contains("scanout");
        } else if line.text == "tranche" {
            is_scanout = false;
        }
        let Some(pair) = pair(line, is_inside)? else {
            continue;
        };
        let total = found.composited.len().saturating_add(found.scanout.len());
        if total >= FormatSet::MAXIMUM_PAIRS {
            let expected = format!("at most {} pairs", FormatSet::MAXIMUM_PAIRS);
            return Err(LineError::new(line.number, expected, line.text));
        }
        let list = if is_scanout {
            &mut found.scanout
        } else {
            &mut found.composited
        };
        list.push(pair);
    }
    if found == Compositor::default() {
        let expected = "formats and modifiers of zwp_linux_dmabuf_v1";
        return Err(LineError::new(last_line(text), expected, ""));
    }
    Ok(found)
}

/// Reads the format and the modifier of a line; `None` for a line without them.
fn pair(line: Line<'_>, is_inside: bool) -> Result<Option<FormatModifier>, LineError> {
    let text = line.text;
    let mut numbers = text.match_indices("0x").filter_map(|(at, _)| {
        let rest = text.get(at.saturating_add(2)..)?;
        let end = rest.find(|one: char| !one.is_ascii_hexdigit());
        let digits = rest.get(..end.unwrap_or(rest.len()))?;
        number(&format!("0x{digits}"))
    });
    let expected =
        "a format and a modifier, such as 0x34325258 = 'XR24'; 0x0000000000000000 = LINEAR";
    let none = || LineError::new(line.number, expected, text);
    if is_inside && text.starts_with("0x") && text.contains("'; ") || text.contains("'(0x") {
        let (Some(code), Some(modifier), None) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(none());
        };
        let code = u32::try_from(code).map_err(|_| none())?;
        return Ok(Some(FormatModifier::new(Fourcc(code), Modifier(modifier))));
    }
    let Some((_, words)) = text.split_once("format ") else {
        return Ok(None);
    };
    let Some((format, modifier)) = words.split_once(", modifier ") else {
        return Ok(None);
    };
    let name = format.split(' ').next().unwrap_or_default();
    let fourcc: Fourcc = name.parse().map_err(|_| none())?;
    let (modifier, _) = number_in_parentheses(modifier).ok_or_else(none)?;
    Ok(Some(FormatModifier::new(fourcc, Modifier(modifier))))
}

impl Compositor {
    /// Declares the compositor as up to two participants: one with the pairs that it composites, one with the pairs that it can
    /// scan out.
    pub(super) fn declare(self, evidence: &Evidence, declared: &mut Declared) {
        let lists = [
            ("compositor (composited)", self.composited),
            ("compositor (to the display)", self.scanout),
        ];
        for (name, pairs) in lists {
            if pairs.is_empty() {
                continue;
            }
            let device = DeviceIdentity {
                driver: "unknown".to_owned(),
                location: String::new(),
                node: String::new(),
            };
            let mut participant = Participant::new(name, device, Role::Compositor);
            participant.set_constraints(Constraints {
                formats: Some(pairs.into()),
                ..Constraints::default()
            });
            let what = "whether the compositor crops, and which card composites";
            declared.participants.push(RecordedParticipant {
                provenance: evidence
                    .reported()
                    .and("participant.constraints.image", Evidence::unknown(what)),
                ..RecordedParticipant::measured(participant)
            });
        }
    }
}
