//! Computes how the resources of each client have grown since the first snapshot.

use covalent_protocols::control::{Client, Snapshot};
use serde::Serialize;

/// The growth of a client's resources since the first snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Growth {
    /// The number that identifies the client.
    pub(super) client: u32,
    /// The process id.
    pub(super) pid: Option<i32>,
    /// The name of the process.
    pub(super) name: Option<String>,
    /// Whether the client connected after the first snapshot. Its resources have then grown from 0.
    pub(super) is_new: bool,
    pub(super) dmabufs: i64,
    pub(super) dmabuf_bytes: i64,
    pub(super) shm_bytes: i64,
    pub(super) timelines: i64,
    pub(super) descriptors: i64,
    pub(super) objects: i64,
    pub(super) unreleased_buffers: i64,
}

/// The amounts of a client's resources whose growth is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourceAmounts {
    pub(super) dmabufs: u64,
    pub(super) dmabuf_bytes: u64,
    pub(super) shm_bytes: u64,
    pub(super) timelines: u64,
    pub(super) descriptors: u64,
    pub(super) objects: u64,
    pub(super) unreleased_buffers: u64,
}

impl ResourceAmounts {
    pub(super) fn of(client: &Client) -> Self {
        let Some(held) = &client.holdings else {
            return Self {
                unreleased_buffers: client.unreleased_buffers,
                ..Self::default()
            };
        };
        let dmabufs = held.dmabufs.len().saturating_add(held.dmabufs_left_out);
        let objects = held.objects.values();
        Self {
            dmabufs: u64::try_from(dmabufs).unwrap_or(u64::MAX),
            dmabuf_bytes: held.dmabuf_bytes,
            shm_bytes: held.shm_bytes,
            timelines: held.timelines,
            descriptors: held.descriptors,
            objects: objects.fold(0, |sum: u64, count| sum.saturating_add(*count)),
            unreleased_buffers: client.unreleased_buffers,
        }
    }
}

/// Compares the resources of each client in `now` with those of the same client in `before`.
pub(super) fn between(before: &Snapshot, now: &Snapshot) -> Vec<Growth> {
    now.clients
        .iter()
        .map(|client| {
            let same = |other: &&Client| other.client == client.client;
            let earlier = before.clients.iter().find(same);
            let (old, new) = (
                earlier.map(ResourceAmounts::of).unwrap_or_default(),
                ResourceAmounts::of(client),
            );
            Growth {
                client: client.client,
                pid: client.pid,
                name: client.name.clone(),
                is_new: earlier.is_none(),
                dmabufs: difference(old.dmabufs, new.dmabufs),
                dmabuf_bytes: difference(old.dmabuf_bytes, new.dmabuf_bytes),
                shm_bytes: difference(old.shm_bytes, new.shm_bytes),
                timelines: difference(old.timelines, new.timelines),
                descriptors: difference(old.descriptors, new.descriptors),
                objects: difference(old.objects, new.objects),
                unreleased_buffers: difference(old.unreleased_buffers, new.unreleased_buffers),
            }
        })
        .collect()
}

/// Returns how much a number has grown; negative if it has become smaller.
pub(super) fn difference(before: u64, now: u64) -> i64 {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    signed(now).saturating_sub(signed(before))
}

#[cfg(test)]
mod tests {
    use covalent_protocols::control::ClientHoldings;

    use super::*;

    #[test]
    fn growth_of_a_client_is_found_by_its_number_and_a_new_one_grows_from_nothing() {
        let client = |number, timelines| Client {
            client: number,
            holdings: Some(ClientHoldings {
                timelines,
                ..ClientHoldings::default()
            }),
            ..Client::default()
        };
        let snapshot = |clients| Snapshot {
            clients,
            ..Snapshot::default()
        };
        let before = snapshot(vec![client(1, 9), client(2, 3)]);
        let now = snapshot(vec![client(2, 1), client(3, 4)]);
        let growth = between(&before, &now);
        assert_eq!((growth[0].client, growth[0].timelines), (2, -2));
        assert!(!growth[0].is_new && growth[1].is_new);
        assert_eq!((growth[1].client, growth[1].timelines), (3, 4));
    }
}
