//! Counts the objects, dma-bufs, shared memory, timelines and file descriptors that a client holds in the compositor.

use std::collections::BTreeMap;

use covalent_protocols::control::{ClientHoldings, DMABUFS_MAX, Dmabuf};
use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::shm::with_buffer_contents;

use crate::limits::Limit;
use crate::state::{ClientState, State};

/// Counts what a client holds.
pub(super) fn of_client(state: &State, client: &ClientId) -> ClientHoldings {
    let mut objects: BTreeMap<String, u64> = BTreeMap::new();
    let mut buffers: Vec<ObjectId> = Vec::new();
    let handle = state.display.backend_handle();
    // The closure must not use the backend, which is locked during the call. So the buffers are inspected afterwards.
    let listed = handle.with_all_objects_for(client.clone(), |id| {
        let interface = id.interface().name;
        match objects.get_mut(interface) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(objects.insert(interface.to_owned(), 1)),
        }
        if interface == WlBuffer::interface().name {
            buffers.push(id);
        }
    });
    if listed.is_err() {
        // The client has disconnected.
        return ClientHoldings::default();
    }
    let mut dmabufs: BTreeMap<u64, Dmabuf> = BTreeMap::new();
    let mut shm_bytes = 0_u64;
    for buffer in buffers {
        let Ok(buffer) = WlBuffer::from_id(&state.display, buffer) else {
            continue;
        };
        let Some(imported) = state.dmabuf.find(&buffer) else {
            shm_bytes = shm_bytes.saturating_add(shm_size(&buffer));
            continue;
        };
        let memory = imported.buffer();
        for (identity, size_bytes) in memory.identities().zip(memory.layout().memory_sizes()) {
            let dmabuf = dmabufs.entry(identity.0).or_insert(Dmabuf {
                inode: identity.0,
                size_bytes: *size_bytes,
                ..Dmabuf::default()
            });
            dmabuf.descriptors = dmabuf.descriptors.saturating_add(1);
            dmabuf.buffers = dmabuf.buffers.saturating_add(1);
        }
    }
    let data = handle.get_client_data(client.clone()).ok();
    let data = data
        .as_ref()
        .and_then(|data| (**data).downcast_ref::<ClientState>());
    let timelines = data.map_or(0, |data| data.usage.used(Limit::Timelines));
    let sum = |value: fn(&Dmabuf) -> u64| {
        dmabufs
            .values()
            .fold(0_u64, |sum, dmabuf| sum.saturating_add(value(dmabuf)))
    };
    let pools = objects.get("wl_shm_pool").copied().unwrap_or(0);
    ClientHoldings {
        dmabuf_bytes: sum(|dmabuf| dmabuf.size_bytes),
        shm_bytes,
        timelines,
        descriptors: sum(|dmabuf| dmabuf.descriptors)
            .saturating_add(pools)
            .saturating_add(timelines),
        dmabufs_left_out: dmabufs.len().saturating_sub(DMABUFS_MAX),
        dmabufs: dmabufs.into_values().take(DMABUFS_MAX).collect(),
        objects,
    }
}

/// Returns the number of bytes of its pool that a `wl_shm` buffer uses; 0 for any other buffer.
fn shm_size(buffer: &WlBuffer) -> u64 {
    let bytes = with_buffer_contents(buffer, |_, _, data| {
        i64::from(data.stride).saturating_mul(i64::from(data.height))
    });
    u64::try_from(bytes.unwrap_or(0)).unwrap_or(0)
}
