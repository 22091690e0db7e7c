//! Layouts with one wrong value.

use super::message::{Kind, Plane};

/// The value that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Pitch,
    Offset,
    PlaneCount,
    Modifier,
}

impl Value {
    pub(crate) const ALL: [Self; 4] = [Self::Pitch, Self::Offset, Self::PlaneCount, Self::Modifier];

    /// Returns the name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pitch => "pitch",
            Self::Offset => "offset",
            Self::PlaneCount => "planes",
            Self::Modifier => "modifier",
        }
    }
}

/// A modifier of a vendor that does not exist.
const UNKNOWN_MODIFIER: u64 = 0x3f00_0000_0000_0001;

/// Returns the layouts in which this value is wrong. `listed` has the modifiers that the driver lists for the format.
pub(crate) fn layouts(
    value: Value,
    kind: Kind,
    planes: &[Plane],
    listed: &[u64],
) -> Vec<(Kind, Vec<Plane>)> {
    let first = |change: fn(&mut Plane)| {
        let mut changed = planes.to_vec();
        changed.first_mut().into_iter().for_each(change);
        (kind, changed)
    };
    match value {
        // A pitch that no hardware has, one that LINEAR could have, and one that is half of what a row needs.
        Value::Pitch => vec![
            first(|plane| plane.pitch = plane.pitch.saturating_add(1)),
            first(|plane| plane.pitch = plane.pitch.saturating_mul(2)),
            first(|plane| plane.pitch /= 2),
        ],
        Value::Offset => vec![
            first(|plane| plane.offset = plane.offset.saturating_add(1)),
            // Beyond every buffer of this trial.
            first(|plane| plane.offset = 1 << 30),
        ],
        Value::PlaneCount => {
            let mut more = planes.to_vec();
            more.extend(planes.last());
            let fewer = planes.split_last().map(|(_, rest)| rest.to_vec());
            // A layout without planes is not one that could be described.
            let fewer = fewer.filter(|rest| !rest.is_empty());
            std::iter::once(more)
                .chain(fewer)
                .map(|changed| (kind, changed))
                .collect()
        }
        Value::Modifier => {
            let with = |modifier| (Kind { modifier, ..kind }, planes.to_vec());
            let other = listed.iter().copied().find(|own| *own != kind.modifier);
            other
                .into_iter()
                .chain([UNKNOWN_MODIFIER])
                .map(with)
                .collect()
        }
    }
}
