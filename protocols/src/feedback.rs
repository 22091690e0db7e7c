//! dma-buf feedback: the compositor's main device, its format table, and its tranches in order of preference.

use std::collections::HashMap;

use bitflags::bitflags;

pub use crate::collector::Collector;
use crate::table::{ENTRIES_MAX, FormatEntry, FormatTable};

/// The maximum number of tranches in one feedback. A compositor needs one tranche for each pair of device and flags, of which
/// there are few.
pub const TRANCHES_MAX: usize = 64;

/// The maximum number of indices in all tranches of one feedback together, which is sufficient for eight tranches with every
/// entry of the largest table.
pub const INDICES_MAX: usize = ENTRIES_MAX << 3;

/// A device number (`dev_t`).
///
/// Two different numbers can belong to the same device, which has a primary node and a render node. So device numbers must be
/// resolved to devices before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device(pub u64);

impl Device {
    /// Returns the number as the protocol sends it: 8 bytes in native byte order.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }

    /// Parses a number as the protocol sends it; `None` if there are not exactly 8 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes
            .try_into()
            .ok()
            .map(|bytes| Self(u64::from_ne_bytes(bytes)))
    }
}

bitflags! {
    /// The flags of a tranche.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TrancheFlags: u32 {
        /// The compositor may scan out buffers of this tranche directly.
        const SCANOUT = 1;
    }
}

/// The formats and modifiers that one target device supports, with flags for their use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tranche {
    /// The target device, which will use the buffer.
    pub device: Device,
    /// The flags of the tranche.
    pub flags: TrancheFlags,
    /// Indices of entries in the format table.
    pub indices: Vec<u16>,
}

/// Why feedback is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedbackError {
    /// A tranche has an index beyond the end of the format table.
    #[error(
        "tranche {tranche} has the index {index}, and the format table has only {entries} entries"
    )]
    Index {
        /// The number of the tranche, counted from 0.
        tranche: usize,
        /// The index that is beyond the end of the table.
        index: u16,
        /// The number of entries in the table.
        entries: usize,
    },
    /// An index occurs twice in the tranches of the same device and flags.
    #[error("tranche {tranche} repeats index {index} for the same device and the same flags")]
    Repeated {
        /// The number of the second tranche, counted from 0.
        tranche: usize,
        /// The index that occurs twice.
        index: u16,
    },
    /// A device number does not have the 8 bytes of a `dev_t`.
    #[error("the compositor sent a device number of {0} bytes: a dev_t has 8")]
    Device(usize),
    /// The length of a tranche's indices is not a multiple of 2 bytes.
    #[error("the compositor sent tranche indices of {0} bytes: each index has 2")]
    Indices(usize),
    /// There are more tranches or indices than are accepted.
    #[error("the compositor sent more than {most} {what}: {found} with the last event")]
    TooMany {
        /// The name of the counted items: tranches or indices.
        what: &'static str,
        /// The maximum number of these items.
        most: usize,
        /// The number that the compositor sent.
        found: usize,
    },
    /// `done` or `tranche_done` was sent without an event that has to precede it: the name of the event that was sent, and of the
    /// event that is missing.
    #[error("the compositor sent {0} without {1}")]
    Missing(&'static str, &'static str),
}

/// dma-buf feedback: the format table, and the tranches in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feedback {
    main_device: Device,
    table: FormatTable,
    tranches: Vec<Tranche>,
}

impl Feedback {
    /// Makes feedback from a format table and tranches whose indices refer to the table.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Index`] for an index beyond the end of the table, [`FeedbackError::Repeated`] for an index that occurs
    /// twice under the same device and flags.
    ///
    /// # References
    ///
    /// `zwp_linux_dmabuf_feedback_v1` of `linux-dmabuf`, version 4 and 5.
    pub fn new(
        main_device: Device,
        table: FormatTable,
        tranches: Vec<Tranche>,
    ) -> Result<Self, FeedbackError> {
        // For each pair of device and flags, one bit for each entry of the table: whether a tranche with this pair has the entry.
        let mut seen: HashMap<(Device, TrancheFlags), Vec<u64>> = HashMap::new();
        let word_count = table.entries().len().div_ceil(64);
        for (position, tranche) in tranches.iter().enumerate() {
            let key = (tranche.device, tranche.flags);
            let seen = seen.entry(key).or_insert_with(|| vec![0; word_count]);
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

    /// Returns the main device, with which the compositor composites.
    pub fn main_device(&self) -> Device {
        self.main_device
    }

    /// Returns the format table that the tranches refer to.
    pub fn table(&self) -> &FormatTable {
        &self.table
    }

    /// Returns the tranches, the most preferred first.
    pub fn tranches(&self) -> &[Tranche] {
        &self.tranches
    }

    /// Returns the formats and modifiers of one tranche, in the order of its indices.
    pub fn formats<'a>(&'a self, tranche: &'a Tranche) -> impl Iterator<Item = FormatEntry> + 'a {
        tranche
            .indices
            .iter()
            .filter_map(|index| self.table.get(*index))
    }

    /// Returns whether any tranche has this pair of format and modifier.
    pub fn advertises(&self, entry: FormatEntry) -> bool {
        self.tranches
            .iter()
            .any(|tranche| self.formats(tranche).any(|candidate| candidate == entry))
    }
}

/// Returns indices as the protocol sends them: 2 bytes each in native byte order.
pub fn indices_to_bytes(indices: &[u16]) -> Vec<u8> {
    indices
        .iter()
        .flat_map(|index| index.to_ne_bytes())
        .collect()
}

/// Parses indices as the protocol sends them; `None` for an odd number of bytes.
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
    fn feedback_of_the_largest_table_in_eight_tranches_is_accepted() {
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
