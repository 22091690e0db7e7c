//! Collects dma-buf feedback from its events.

use crate::feedback::{
    Device, Feedback, FeedbackError, INDICES_MAX, TRANCHES_MAX, Tranche, TrancheFlags,
    indices_from_bytes,
};
use crate::table::FormatTable;

/// Collects the events of a compositor, and returns the complete feedback after the `done` event.
///
/// The compositor may send new feedback at any time. The format table and the main device are kept until they are sent again.
///
/// The memory is bounded also if the compositor never sends `done`: the collector keeps at most [`TRANCHES_MAX`] tranches and
/// [`INDICES_MAX`] indices, which take 3 MiB together, and the table. If the compositor sends more, the result is an error, and
/// the tranches of the unfinished feedback are dropped.
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
    /// Sets the format table.
    pub fn format_table(&mut self, table: FormatTable) {
        self.table = Some(table);
    }

    /// Sets the main device.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Device`] if there are not exactly 8 bytes.
    pub fn main_device(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        self.main_device =
            Some(Device::from_bytes(bytes).ok_or(FeedbackError::Device(bytes.len()))?);
        Ok(())
    }

    /// Sets the target device of the current tranche.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Device`] if there are not exactly 8 bytes.
    pub fn tranche_target_device(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        self.device = Some(Device::from_bytes(bytes).ok_or(FeedbackError::Device(bytes.len()))?);
        Ok(())
    }

    /// Adds format table indices to the current tranche.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Indices`] for an odd number of bytes, [`FeedbackError::TooMany`] for more than [`INDICES_MAX`] indices.
    pub fn tranche_formats(&mut self, bytes: &[u8]) -> Result<(), FeedbackError> {
        if bytes.len() % 2 != 0 {
            return Err(FeedbackError::Indices(bytes.len()));
        }
        let closed = self.tranches.iter().map(|tranche| tranche.indices.len());
        let found = closed
            .sum::<usize>()
            .saturating_add(self.indices.len())
            .saturating_add(bytes.len() / 2);
        if found > INDICES_MAX {
            return Err(self.too_many("indices", INDICES_MAX, found));
        }
        self.indices
            .extend(indices_from_bytes(bytes).unwrap_or_default());
        Ok(())
    }

    /// Drops the tranches of the unfinished feedback, and returns the error.
    fn too_many(&mut self, what: &'static str, most: usize, found: usize) -> FeedbackError {
        self.tranches = Vec::new();
        self.indices = Vec::new();
        FeedbackError::TooMany { what, most, found }
    }

    /// Sets the flags of the current tranche. Bits that the protocol does not define are ignored.
    pub fn tranche_flags(&mut self, bits: u32) {
        self.flags = TrancheFlags::from_bits_truncate(bits);
    }

    /// Ends the current tranche.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Missing`] if the tranche has no target device, [`FeedbackError::TooMany`] for more than [`TRANCHES_MAX`]
    /// tranches.
    pub fn tranche_done(&mut self) -> Result<(), FeedbackError> {
        let found = self.tranches.len().saturating_add(1);
        if found > TRANCHES_MAX {
            return Err(self.too_many("tranches", TRANCHES_MAX, found));
        }
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

    /// Ends the feedback and returns it.
    ///
    /// # Errors
    ///
    /// [`FeedbackError::Missing`] if the format table or the main device was never sent, and the errors of [`Feedback::new`].
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
    use proptest::prelude::*;

    use crate::feedback::indices_to_bytes;
    use crate::feedback::tests::{table, tranche};

    use super::*;

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
        // A compositor sends changed feedback completely, so the second feedback must contain no tranche of the first.
        send(&feedback, &mut collector);
        assert_eq!(collector.done().unwrap(), feedback);
    }

    #[test]
    fn collector_without_a_done_event_keeps_at_most_one_feedback() {
        let mut collector = Collector::default();
        let indices = indices_to_bytes(&[0; 2048]);
        let mut sent = 0_usize;
        let error = loop {
            match collector.tranche_formats(&indices) {
                Ok(()) => sent += 2048,
                Err(error) => break error,
            }
            assert!(
                sent <= INDICES_MAX,
                "the collector accepted {sent} indices, more than its limit"
            );
        };
        assert_eq!(sent, INDICES_MAX);
        let expected = FeedbackError::TooMany {
            what: "indices",
            most: INDICES_MAX,
            found: INDICES_MAX + 2048,
        };
        assert_eq!(error, expected);
        assert_eq!(
            (collector.indices.capacity(), collector.tranches.capacity()),
            (0, 0)
        );
        // The limit also counts the indices of tranches that have ended.
        for _ in 0..8 {
            collector.tranche_target_device(&[0; 8]).unwrap();
            for _ in 0..32 {
                collector.tranche_formats(&indices).unwrap();
            }
            collector.tranche_done().unwrap();
        }
        assert!(collector.tranche_formats(&indices).is_err());
        for _ in 0..TRANCHES_MAX {
            collector.tranche_target_device(&[0; 8]).unwrap();
            collector.tranche_done().unwrap();
        }
        collector.tranche_target_device(&[0; 8]).unwrap();
        let error = collector.tranche_done().unwrap_err();
        assert!(
            error.to_string().contains("more than 64 tranches: 65"),
            "{error}"
        );
        // The collector stays usable after an error.
        let feedback = Feedback::new(
            Device(1),
            table(2),
            vec![tranche(1, TrancheFlags::empty(), &[0, 1])],
        );
        let feedback = feedback.unwrap();
        collector.device = None;
        send(&feedback, &mut collector);
        assert_eq!(collector.done().unwrap(), feedback);
    }

    #[test]
    fn collector_without_table_or_device_returns_the_missing_event() {
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

    proptest! {
        #[test]
        fn any_events_are_collected_or_refused(
            events in prop::collection::vec((0..6_u8, prop::collection::vec(any::<u8>(), 0..12)), 0..40)
        ) {
            let mut collector = Collector::default();
            for (kind, bytes) in events {
                let _ = match kind {
                    0 => collector.main_device(&bytes),
                    1 => collector.tranche_target_device(&bytes),
                    2 => collector.tranche_formats(&bytes),
                    3 => collector.tranche_done(),
                    4 => FormatTable::from_bytes(&bytes.repeat(16))
                        .map(|table| collector.format_table(table))
                        .map_err(|_| FeedbackError::Indices(0)),
                    _ => collector.done().map(|feedback| {
                        for tranche in feedback.tranches() {
                            assert_eq!(feedback.formats(tranche).count(), tranche.indices.len());
                        }
                    }),
                };
            }
        }
    }
}
