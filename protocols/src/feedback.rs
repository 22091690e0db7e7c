//! What a compositor tells its clients of the buffers it can use: a device, a format table and tranches in order of preference.

use std::collections::HashMap;

use bitflags::bitflags;

pub use crate::collector::Collector;
use crate::table::{ENTRIES_MAX, FormatEntry, FormatTable};

/// Tranches that feedback can have. A compositor has one for each device and use, which are a handful.
pub const TRANCHES_MAX: usize = 64;

/// Indices that all tranches of one feedback can have together: every pair of the largest table for eight devices and uses.
pub const INDICES_MAX: usize = ENTRIES_MAX << 3;

/// A device number (`dev_t`).
///
/// Two numbers can mean one device (its primary and its render node): resolve both before you compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device(pub u64);

impl Device {
    /// Lays the number out in bytes as the protocol sends it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }

    /// Reads the number from the protocol's bytes; `None` when there are not exactly eight.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes
            .try_into()
            .ok()
            .map(|bytes| Self(u64::from_ne_bytes(bytes)))
    }
}

bitflags! {
    /// How the formats of a tranche are meant to be used.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TrancheFlags: u32 {
        /// Buffers can be put on a display's plane directly.
        const SCANOUT = 1;
    }
}

/// Formats that one device can use in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tranche {
    /// The device that will use the buffer.
    pub device: Device,
    /// How it will.
    pub flags: TrancheFlags,
    /// Places in the format table.
    pub indices: Vec<u16>,
}

/// Why feedback does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedbackError {
    /// An index past the table's end.
    #[error("tranche {tranche} names index {index} of a format table with {entries} entries")]
    Index {
        /// Position of the tranche.
        tranche: usize,
        /// The index it names.
        index: u16,
        /// Entries in the table.
        entries: usize,
    },
    /// One pair in two tranches of the same device and flags, or twice in one.
    #[error("tranche {tranche} repeats index {index} for the same device and the same flags")]
    Repeated {
        /// Position of the second tranche.
        tranche: usize,
        /// The index that is repeated.
        index: u16,
    },
    /// Nothing that a device number could be.
    #[error("a device number of {0} bytes: a dev_t has 8")]
    Device(usize),
    /// Indices that do not fill whole 16-bit numbers.
    #[error("tranche indices of {0} bytes: each index has 2")]
    Indices(usize),
    /// More of something than any feedback has.
    #[error("the compositor sent more than {most} {what}: {found} with the last event")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
        /// How many it sent.
        found: usize,
    },
    /// `done` or `tranche_done` came before what it closes.
    #[error("the compositor sent {0} without {1}")]
    Missing(&'static str, &'static str),
}

/// Formats, and who can use them how, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    main_device: Device,
    table: FormatTable,
    tranches: Vec<Tranche>,
}

impl Feedback {
    /// Holds a table and its tranches together.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Index`] for an index past the table's end, [`FeedbackError::Repeated`] for a pair that appears again
    /// under the same device and flags.
    ///
    /// # References
    ///
    /// `zwp_linux_dmabuf_feedback_v1` of `linux-dmabuf`, version 4 and 5.
    pub fn new(
        main_device: Device,
        table: FormatTable,
        tranches: Vec<Tranche>,
    ) -> Result<Self, FeedbackError> {
        // One bit for each entry of the table, by device and flags.
        let mut seen: HashMap<(Device, TrancheFlags), Vec<u64>> = HashMap::new();
        let words = table.entries().len().div_ceil(64);
        for (position, tranche) in tranches.iter().enumerate() {
            let key = (tranche.device, tranche.flags);
            let seen = seen.entry(key).or_insert_with(|| vec![0; words]);
            for index in &tranche.indices {
                if table.get(*index).is_none() {
                    return Err(FeedbackError::Index {
                        tranche: position,
                        index: *index,
                        entries: table.entries().len(),
                    });
                }
                let bit = 1_u64 << (index % 64);
                let word = seen.get_mut(usize::from(index / 64));
                if word.as_ref().is_some_and(|word| **word & bit != 0) {
                    return Err(FeedbackError::Repeated {
                        tranche: position,
                        index: *index,
                    });
                }
                if let Some(word) = word {
                    *word |= bit;
                }
            }
        }
        Ok(Self {
            main_device,
            table,
            tranches,
        })
    }

    /// Returns the device that the compositor composites with.
    pub fn main_device(&self) -> Device {
        self.main_device
    }

    /// Returns the table that the tranches point into.
    pub fn table(&self) -> &FormatTable {
        &self.table
    }

    /// Returns the tranches, the most preferred first.
    pub fn tranches(&self) -> &[Tranche] {
        &self.tranches
    }

    /// Returns the formats of one tranche in its order.
    pub fn formats<'a>(&'a self, tranche: &'a Tranche) -> impl Iterator<Item = FormatEntry> + 'a {
        tranche
            .indices
            .iter()
            .filter_map(|index| self.table.get(*index))
    }

    /// Tells whether any tranche names this pair.
    pub fn advertises(&self, entry: FormatEntry) -> bool {
        self.tranches
            .iter()
            .any(|tranche| self.formats(tranche).any(|candidate| candidate == entry))
    }
}

/// Lays indices out in bytes as the protocol sends them.
pub fn indices_to_bytes(indices: &[u16]) -> Vec<u8> {
    indices
        .iter()
        .flat_map(|index| index.to_ne_bytes())
        .collect()
}

/// Reads indices from the protocol's bytes; `None` when a byte is left over.
pub fn indices_from_bytes(bytes: &[u8]) -> Option<Vec<u16>> {
    let chunks = bytes.chunks_exact(2);
    chunks.remainder().is_empty().then(|| {
        chunks
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn table(entries: u32) -> FormatTable {
        FormatTable::new((0..entries).map(|fourcc| FormatEntry {
            fourcc,
            modifier: 0,
        }))
        .unwrap()
    }

    pub(crate) fn tranche(device: u64, flags: TrancheFlags, indices: &[u16]) -> Tranche {
        Tranche {
            device: Device(device),
            flags,
            indices: indices.to_vec(),
        }
    }

    #[test]
    fn feedback_with_an_index_past_the_table_is_refused() {
        let error = Feedback::new(
            Device(1),
            table(2),
            vec![tranche(1, TrancheFlags::empty(), &[2])],
        );
        assert_eq!(
            error,
            Err(FeedbackError::Index {
                tranche: 0,
                index: 2,
                entries: 2
            })
        );
    }

    #[test]
    fn feedback_with_a_pair_repeated_for_one_device_is_refused() {
        let twice = vec![
            tranche(1, TrancheFlags::SCANOUT, &[0]),
            tranche(1, TrancheFlags::SCANOUT, &[1, 0]),
        ];
        assert_eq!(
            Feedback::new(Device(1), table(2), twice),
            Err(FeedbackError::Repeated {
                tranche: 1,
                index: 0
            })
        );
        let apart = vec![
            tranche(1, TrancheFlags::SCANOUT, &[0]),
            tranche(1, TrancheFlags::empty(), &[0]),
        ];
        assert!(Feedback::new(Device(1), table(2), apart).is_ok());
    }

    #[test]
    fn feedback_of_the_largest_table_for_eight_uses_is_taken() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let tranches = (0..8).map(|device| tranche(device, TrancheFlags::empty(), &all));
        let feedback = Feedback::new(Device(0), table(1 << 16), tranches.collect());
        assert_eq!(feedback.unwrap().tranches().len(), 8);
        let last = vec![
            tranche(0, TrancheFlags::empty(), &all),
            tranche(0, TrancheFlags::empty(), &[u16::MAX]),
        ];
        let repeated = FeedbackError::Repeated {
            tranche: 1,
            index: u16::MAX,
        };
        assert_eq!(
            Feedback::new(Device(0), table(1 << 16), last),
            Err(repeated)
        );
    }
}
