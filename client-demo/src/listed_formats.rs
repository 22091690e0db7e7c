//! The formats of linux-dmabuf version 3. This version has no feedback; the compositor lists its formats by `modifier` events.

use std::collections::BTreeSet;

use covalent_protocols::feedback::{Device, Feedback, Tranche, TrancheFlags};
use covalent_protocols::table::{ENTRIES_MAX, FormatEntry, FormatTable};
use wayland_client::{Connection, Dispatch, QueueHandle};
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_v1::{
    Event as Sent, ZwpLinuxDmabufV1,
};

use crate::compositor::{Compositor, Event};

/// The pairs of format and modifier that the compositor has listed so far.
#[derive(Debug, Default)]
pub(crate) struct ListedFormats(BTreeSet<FormatEntry>);

impl ListedFormats {
    /// Returns the list as feedback with one tranche. Its target device is 0, which means unknown, and it has no scanout flag.
    pub(crate) fn feedback(&self) -> Option<Feedback> {
        let table = FormatTable::new(self.0.iter().copied()).ok()?;
        let count = table.entries().len();
        let tranche = Tranche {
            device: Device(0),
            flags: TrancheFlags::empty(),
            indices: (0..=u16::MAX).take(count).collect(),
        };
        Feedback::new(Device(0), table, vec![tranche]).ok()
    }
}

impl Dispatch<ZwpLinuxDmabufV1, ()> for Compositor {
    fn event(
        state: &mut Self,
        _: &ZwpLinuxDmabufV1,
        event: Sent,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // Version 3 sends `modifier` for every format, so `format` adds nothing and is ignored.
        if let Sent::Modifier {
            format,
            modifier_hi,
            modifier_lo,
        } = event
        {
            let entry = FormatEntry {
                fourcc: format,
                modifier: u64::from(modifier_hi) << 32 | u64::from(modifier_lo),
            };
            let listed = &mut state.listed_formats.0;
            // A compositor may list an entry twice, which needs no space.
            if listed.len() < ENTRIES_MAX || listed.contains(&entry) {
                listed.insert(entry);
            } else {
                state.push_event(Event::InvalidData(format!(
                    "linux-dmabuf lists more than {ENTRIES_MAX} formats and modifiers"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_a_tranche_of_an_unknown_device() {
        let entry = |fourcc, modifier| FormatEntry { fourcc, modifier };
        let pairs = [entry(1, 0), entry(1, 1 << 60), entry(2, 0)];
        let feedback = ListedFormats(pairs.into()).feedback().unwrap();
        assert!(pairs.iter().all(|pair| feedback.advertises(*pair)));
        assert_eq!(feedback.tranches().len(), 1);
        assert_eq!(feedback.tranches()[0].device, Device(0));
        let empty = ListedFormats::default().feedback().unwrap();
        assert!(empty.tranches()[0].indices.is_empty());
    }
}
