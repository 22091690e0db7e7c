//! The JSON of `drm_info -j`: an object with an entry for each card, by its node.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use covalent_solver::constraint::{FormatSet, PlaneKind};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};
use covalent_solver::reading::budget::{self, BudgetScope};

use super::card::{Card, CardPlane};
use super::error::LineError;
use super::json::{self, Number};

/// The input that this parser expects, as its errors name it.
const EXPECTED: &str = "the JSON of drm_info -j";

/// The maximum number of cards that are read from a dump, and the maximum number of planes that are read of a card.
const MAXIMUM: usize = 256;

#[derive(Deserialize)]
struct WrittenCard {
    #[serde(default)]
    driver: Option<WrittenDriver>,
    #[serde(default)]
    device: Option<WrittenDevice>,
    #[serde(default)]
    fb_size: Option<FramebufferSize>,
    #[serde(default, deserialize_with = "planes")]
    planes: Vec<WrittenPlane>,
}

#[derive(Deserialize)]
struct WrittenDriver {
    name: String,
    #[serde(default)]
    kernel: Option<WrittenKernel>,
    /// The value of each `DRM_CAP_`. It is null for a capability that the driver does not support.
    #[serde(default)]
    caps: BTreeMap<String, Option<Number>>,
}

#[derive(Deserialize)]
struct WrittenKernel {
    #[serde(default)]
    release: String,
}

#[derive(Deserialize)]
struct WrittenDevice {
    #[serde(default)]
    bus_type: Option<Number>,
}

#[derive(Deserialize)]
struct FramebufferSize {
    min_width: Number,
    max_width: Number,
    min_height: Number,
    max_height: Number,
}

#[derive(Deserialize)]
struct WrittenPlane {
    id: Number,
    #[serde(default)]
    possible_crtcs: Number,
    #[serde(default, deserialize_with = "numbers")]
    formats: Vec<Number>,
    #[serde(default)]
    properties: Option<WrittenProperties>,
}

#[derive(Deserialize)]
struct WrittenProperties {
    #[serde(default, rename = "type")]
    kind: Option<WrittenKind>,
    #[serde(default, rename = "IN_FORMATS")]
    in_formats: Option<WrittenBlob>,
}

#[derive(Deserialize)]
struct WrittenKind {
    #[serde(default)]
    raw_value: Option<Number>,
    #[serde(default)]
    value: Option<Number>,
}

#[derive(Deserialize)]
struct WrittenBlob {
    /// The decoded blob; null where drm_info could not read it.
    #[serde(default)]
    data: Option<InFormats>,
}

/// The pairs of format and modifier of `IN_FORMATS`. A modifier without formats adds no pair.
struct InFormats(Vec<FormatModifier>);

impl<'de> Deserialize<'de> for InFormats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Entry {
            modifier: Number,
            #[serde(default, deserialize_with = "numbers")]
            formats: Vec<Number>,
        }
        let most = FormatSet::MAXIMUM_PAIRS;
        let entries: Vec<Entry> = budget::list(deserializer, most, "modifiers of IN_FORMATS")?;
        let count: usize = entries.iter().map(|entry| entry.formats.len()).sum();
        if count > most {
            return Err(serde::de::Error::custom(format!(
                "more than {most} pairs of format and modifier"
            )));
        }
        let pairs = entries.iter().flat_map(|entry| {
            let modifier = Modifier(entry.modifier.0);
            let formats = entry.formats.iter();
            formats.map(move |code| FormatModifier::new(Fourcc(code.to_u32()), modifier))
        });
        Ok(Self(pairs.collect()))
    }
}

fn planes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WrittenPlane>, D::Error> {
    budget::list(deserializer, MAXIMUM, "planes of a card")
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Number>, D::Error> {
    budget::list(deserializer, FormatSet::MAXIMUM_PAIRS, "formats of a plane")
}

/// Reads the cards, in memory and time proportional to the length of the text.
pub(super) fn read(text: &str) -> Result<Vec<Card>, LineError> {
    let _scope = BudgetScope::begin();
    let cards: BTreeMap<String, WrittenCard> = json::read(text, EXPECTED)?;
    if cards.len() > MAXIMUM {
        let expected = format!("at most {MAXIMUM} cards");
        return Err(LineError::new(1, expected, &cards.len().to_string()));
    }
    let found: Vec<Card> = cards
        .into_iter()
        .filter_map(|(node, written)| card(node, written))
        .collect();
    if found.is_empty() {
        let expected = format!("{EXPECTED} with a card that has a driver");
        return Err(LineError::new(
            1,
            expected,
            text.lines().next().unwrap_or(""),
        ));
    }
    Ok(found)
}

/// Returns a card; `None` if drm_info could not read the driver of the card.
fn card(node: String, written: WrittenCard) -> Option<Card> {
    /// `DRM_BUS_PCI`.
    const PCI: u64 = 0;
    let driver = written.driver?;
    let caps = driver.caps.into_iter();
    let size = written.fb_size.as_ref();
    Some(Card {
        node,
        driver: driver.name,
        kernel: driver.kernel.map_or_else(String::new, |own| own.release),
        is_pci: written.device.and_then(|own| own.bus_type) == Some(Number(PCI)),
        caps: caps
            .filter_map(|(name, value)| Some((name, value?.0)))
            .collect(),
        widths: size.map(|own| (own.min_width.to_u32(), own.max_width.to_u32())),
        heights: size.map(|own| (own.min_height.to_u32(), own.max_height.to_u32())),
        planes: written.planes.into_iter().map(plane).collect(),
    })
}

/// Converts a plane of the JSON. A plane without a type is an overlay plane.
fn plane(written: WrittenPlane) -> CardPlane {
    let properties = written.properties;
    let (kind, blob) = properties.map_or((None, None), |own| (own.kind, own.in_formats));
    let kind = kind.and_then(|own| own.raw_value.or(own.value));
    CardPlane {
        possible_crtcs: written.possible_crtcs.to_u32(),
        kind: match kind {
            Some(Number(1)) => PlaneKind::Primary,
            Some(Number(2)) => PlaneKind::Cursor,
            _ => PlaneKind::Overlay,
        },
        formats: written
            .formats
            .iter()
            .map(|code| Fourcc(code.to_u32()))
            .collect(),
        in_formats: blob.and_then(|own| own.data).map(|own| own.0),
        ..CardPlane::new(written.id.to_u32())
    }
}
