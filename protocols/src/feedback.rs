//! What a compositor tells its clients of the buffers it can use: a device, a format table and tranches in order of preference.

use std::collections::HashSet;

use bitflags::bitflags;

use crate::table::{FormatEntry, FormatTable};

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
        let mut seen = HashSet::new();
        for (position, tranche) in tranches.iter().enumerate() {
            for index in &tranche.indices {
                if table.get(*index).is_none() {
                    return Err(FeedbackError::Index {
                        tranche: position,
                        index: *index,
                        entries: table.entries().len(),
                    });
                }
                if !seen.insert((tranche.device, tranche.flags, *index)) {
                    return Err(FeedbackError::Repeated {
                        tranche: position,
                        index: *index,
                    });
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

/// Gathers feedback from the events of a peer, and hands it out whole when the peer says that it is done.
///
/// A peer may send everything again at any time; a table that is not sent again stays.
#[derive(Debug, Default)]
pub struct Collector {
    table: Option<FormatTable>,
    main_device: Option<Device>,
    tranches: Vec<Tranche>,
    device: Option<Device>,
    flags: TrancheFlags,
    indices: Vec<u16>,
}

impl Collector {
    /// Takes the format table that replaces the one before.
    pub fn format_table(&mut self, table: FormatTable) {
        self.table = Some(table);
    }

    /// Takes the main device's number.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Device`] when the bytes are no device number.
    pub fn main_device(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        self.main_device =
            Some(Device::from_bytes(bytes).ok_or(FeedbackError::Device(bytes.len()))?);
        Ok(())
    }

    /// Takes the device of the tranche that is being sent.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Device`] when the bytes are no device number.
    pub fn tranche_target_device(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        self.device = Some(Device::from_bytes(bytes).ok_or(FeedbackError::Device(bytes.len()))?);
        Ok(())
    }

    /// Takes the formats of the tranche that is being sent.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Indices`] when the bytes are no whole indices.
    pub fn tranche_formats(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        self.indices
            .extend(indices_from_bytes(bytes).ok_or(FeedbackError::Indices(bytes.len()))?);
        Ok(())
    }

    /// Takes the flags of the tranche that is being sent; bits that nobody defined are dropped.
    pub fn tranche_flags(&mut self, bits: u32) {
        self.flags = TrancheFlags::from_bits_truncate(bits);
    }

    /// Closes the tranche that is being sent.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Missing`] when it has no device.
    pub fn tranche_done(&mut self) -> Result<(), FeedbackError> {
        let device = self.device.take().ok_or(FeedbackError::Missing(
            "tranche_done",
            "tranche_target_device",
        ))?;
        let flags = std::mem::take(&mut self.flags);
        let indices = std::mem::take(&mut self.indices);
        self.tranches.push(Tranche {
            device,
            flags,
            indices,
        });
        Ok(())
    }

    /// Closes the feedback and returns it.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Missing`] when the table or the main device never came, and whatever [`Feedback::new`] refuses.
    pub fn done(&mut self) -> Result<Feedback, FeedbackError> {
        let tranches = std::mem::take(&mut self.tranches);
        let table = self
            .table
            .clone()
            .ok_or(FeedbackError::Missing("done", "format_table"))?;
        let main_device = self
            .main_device
            .ok_or(FeedbackError::Missing("done", "main_device"))?;
        Feedback::new(main_device, table, tranches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: u32) -> FormatTable {
        FormatTable::new((0..entries).map(|fourcc| FormatEntry {
            fourcc,
            modifier: 0,
        }))
        .unwrap()
    }

    fn tranche(device: u64, flags: TrancheFlags, indices: &[u16]) -> Tranche {
        Tranche {
            device: Device(device),
            flags,
            indices: indices.to_vec(),
        }
    }

    fn send(feedback: &Feedback, collector: &mut Collector) {
        let sealed = feedback.table().seal().unwrap();
        collector.format_table(FormatTable::receive(&sealed, sealed.size_bytes()).unwrap());
        collector
            .main_device(&feedback.main_device().to_bytes())
            .unwrap();
        for tranche in feedback.tranches() {
            collector
                .tranche_target_device(&tranche.device.to_bytes())
                .unwrap();
            collector.tranche_flags(tranche.flags.bits());
            collector
                .tranche_formats(&indices_to_bytes(&tranche.indices))
                .unwrap();
            collector.tranche_done().unwrap();
        }
    }

    #[test]
    fn feedback_sent_and_collected_is_unchanged() {
        let feedback = Feedback::new(
            Device(7),
            table(3),
            vec![
                tranche(7, TrancheFlags::SCANOUT, &[2, 0]),
                tranche(7, TrancheFlags::empty(), &[0, 1, 2]),
            ],
        )
        .unwrap();
        let mut collector = Collector::default();
        send(&feedback, &mut collector);
        assert_eq!(collector.done().unwrap(), feedback);
        // Sent again in full, as a change is: nothing of the first round may be left.
        send(&feedback, &mut collector);
        assert_eq!(collector.done().unwrap(), feedback);
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
    fn collector_without_table_or_device_says_what_is_missing() {
        let mut collector = Collector::default();
        assert_eq!(
            collector.done(),
            Err(FeedbackError::Missing("done", "format_table"))
        );
        assert_eq!(
            collector.tranche_done(),
            Err(FeedbackError::Missing(
                "tranche_done",
                "tranche_target_device"
            ))
        );
        assert_eq!(
            collector.main_device(&[0; 4]),
            Err(FeedbackError::Device(4))
        );
        assert_eq!(
            collector.tranche_formats(&[0; 3]),
            Err(FeedbackError::Indices(3))
        );
    }
}
