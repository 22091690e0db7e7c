//! The objects of a client by their id, and the number of objects of each interface.
//!
//! The type of an object is derived from the request that created it, or from the event if the compositor created it. An entry of
//! a client's object is removed at `wl_display.delete_id`, because the compositor sends this event however the object was
//! destroyed. The objects of every interface are counted, so the limits also apply to protocols that are added later.

use std::collections::HashMap;
use std::sync::Arc;

use smithay::reexports::wayland_server::backend::protocol::Interface;

use super::shm_pools::{ShmPools, ShmRequest};
use super::wire::{
    DELETE_ID, DISPLAY_ID, HEADER, INVALID_METHOD, INVALID_OBJECT, MESSAGE_MAX, Message,
    ObjectType, SERVER_ID_MIN, Violation, global_interface, parse_arguments, read_word, to_index,
    violation,
};
use crate::limits::{Charge, Limit, Usage};

/// The interfaces whose objects each hold at least one file descriptor of the compositor.
const FD_HOLDING_INTERFACES: [&str; 5] = [
    "wl_shm_pool",
    "wl_buffer",
    "zwp_linux_buffer_params_v1",
    "wp_linux_drm_syncobj_timeline_v1",
    "wp_security_context_v1",
];

/// The interfaces to whose objects every event of a seat, an output or the registry is sent.
const EVENT_INTERFACES: [&str; 18] = [
    "wl_registry",
    "wl_pointer",
    "wl_keyboard",
    "wl_touch",
    "wl_data_device",
    "zxdg_output_v1",
    "ext_image_copy_capture_session_v1",
    "ext_image_copy_capture_cursor_session_v1",
    "zwp_primary_selection_device_v1",
    "ext_data_control_device_v1",
    "zwlr_data_control_device_v1",
    "zwp_relative_pointer_v1",
    "zwp_pointer_gesture_swipe_v1",
    "zwp_pointer_gesture_pinch_v1",
    "zwp_pointer_gesture_hold_v1",
    "ext_idle_notification_v1",
    "zwp_tablet_seat_v2",
    "zwp_idle_inhibitor_v1",
];

/// The opcode of `wl_surface.commit`.
const COMMIT: usize = 6;

/// The types of a client's objects by object id.
#[derive(Debug)]
pub(super) struct ObjectTable {
    client: Vec<Slot>,
    server: HashMap<u32, &'static Interface>,
    counts: HashMap<&'static str, u64>,
    total: u64,
    /// The number of objects that hold file descriptors.
    fd_holders: Charge,
    usage: Arc<Usage>,
    shm_pools: Arc<ShmPools>,
    /// The first bytes of an event that is not forwarded completely yet.
    partial_event: Vec<u8>,
}

/// The state of one object id in the client's range.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    object: Option<ObjectType>,
    /// The number of earlier objects with this id for which `delete_id` is not forwarded yet. libwayland reuses an id only after
    /// `delete_id`, but another client library may reuse it before.
    replaced: u32,
}

impl ObjectTable {
    /// Creates a table that contains only `wl_display`.
    pub(super) fn new(usage: Arc<Usage>, shm_pools: Arc<ShmPools>) -> Self {
        let display = Slot {
            object: Some(ObjectType::Display),
            replaced: 0,
        };
        Self {
            client: vec![Slot::default(), display],
            server: HashMap::new(),
            counts: HashMap::new(),
            total: 0,
            fd_holders: usage.charge_nothing(Limit::Descriptors),
            usage,
            shm_pools,
            partial_event: Vec::new(),
        }
    }

    /// Parses the message at the start of `bytes`; `None` if it is not complete.
    ///
    /// # Errors
    ///
    /// When the message is malformed.
    pub(super) fn parse(&self, bytes: &[u8]) -> Result<Option<Message>, Violation> {
        let (Some(object), Some(header)) = (read_word(bytes, 0), read_word(bytes, 4)) else {
            return Ok(None);
        };
        let (size, opcode) = (to_index(header >> 16), to_index(header & 0xffff));
        if !(HEADER..=MESSAGE_MAX).contains(&size) {
            let message = format!("a message to object {object} has the invalid size {size}");
            return Err(violation(INVALID_METHOD, message));
        }
        let object_type = self
            .find(object)
            .ok_or_else(|| violation(INVALID_OBJECT, format!("object {object} does not exist")))?;
        let (signature, child) = object_type.request_signature(opcode).ok_or_else(|| {
            let message = format!("{}@{object} has no request {opcode}", object_type.name());
            violation(INVALID_METHOD, message)
        })?;
        let Some(body) = bytes.get(HEADER..size) else {
            return Ok(None);
        };
        let read = parse_arguments(signature, body).map_err(|error| {
            let message = format!("{}@{object}, request {opcode}: {error}", object_type.name());
            violation(INVALID_METHOD, message)
        })?;
        let created = read.new_id.map(|id| {
            let child = child.or_else(|| {
                read.string
                    .and_then(global_interface)
                    .map(ObjectType::Other)
            });
            (id, child)
        });
        let ends = object >= SERVER_ID_MIN && object_type.is_destructor(opcode);
        Ok(Some(Message {
            size,
            fds: read.fds,
            created,
            destroyed: ends.then_some(object),
            is_commit: object_type.name() == "wl_surface" && opcode == COMMIT,
            shm: ShmRequest::parse(object, object_type.name(), opcode, body),
        }))
    }

    /// Adds the object that a message creates. If the message destroys an object of the compositor's id range, that object is
    /// removed.
    ///
    /// # Errors
    ///
    /// When the id of the new object is not free, or the client exceeds a limit.
    pub(super) fn apply(&mut self, message: &Message) -> Result<(), Violation> {
        if let Some(object) = message.destroyed {
            if let Some(interface) = self.server.remove(&object) {
                self.uncount(interface.name);
            }
        }
        if let Some(request) = message.shm {
            self.shm_pools.apply(request, &self.usage)?;
        }
        let Some((id, object_type)) = message.created else {
            return Ok(());
        };
        let index = to_index(id);
        // Object 1 is always `wl_display`.
        if id <= DISPLAY_ID || id >= SERVER_ID_MIN || index > self.client.len() {
            let message = format!("{id} is not the next free object id");
            return Err(violation(INVALID_OBJECT, message));
        }
        self.usage.check(Limit::ObjectIds, id.into())?;
        if index == self.client.len() {
            self.client.push(Slot::default());
        }
        let replaced = self.client.get_mut(index).and_then(|slot| {
            let replaced = std::mem::replace(&mut slot.object, object_type);
            if replaced.is_some() {
                slot.replaced = slot.replaced.saturating_add(1);
            }
            replaced
        });
        if let Some(replaced) = replaced {
            self.uncount(replaced.name());
        }
        if let Some(object_type) = object_type {
            self.count(object_type.name())?;
        }
        Ok(())
    }

    /// Reads events that are being forwarded to the client, to track the objects that they create or delete. `bytes` may begin
    /// and end in the middle of an event.
    ///
    /// # Errors
    ///
    /// When the compositor has created more objects for the client than a limit permits.
    pub(super) fn read_events(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut partial = std::mem::take(&mut self.partial_event);
        if partial.is_empty() {
            let consumed = self.read_whole_events(bytes)?;
            partial.extend_from_slice(bytes.get(consumed..).unwrap_or_default());
        } else {
            partial.extend_from_slice(bytes);
            let consumed = self.read_whole_events(&partial)?;
            partial.drain(..consumed);
        }
        self.partial_event = partial;
        Ok(())
    }

    /// Reads the complete events at the start of `bytes`. Returns their total size.
    fn read_whole_events(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut consumed = 0_usize;
        while let Some(unread) = bytes.get(consumed..) {
            let (Some(object), Some(header)) = (read_word(unread, 0), read_word(unread, 4)) else {
                break;
            };
            let (size, opcode) = (to_index(header >> 16), to_index(header & 0xffff));
            let Some(body) = unread.get(HEADER..size.max(HEADER)) else {
                break;
            };
            if (object, opcode) == (DISPLAY_ID, DELETE_ID) {
                self.delete(read_word(body, 0).unwrap_or(0));
            } else if let Some((signature, child)) = self
                .find(object)
                .and_then(|object_type| object_type.event_child(opcode))
            {
                let created = parse_arguments(signature, body).ok();
                if let Some(id) = created.and_then(|read| read.new_id) {
                    self.server.insert(id, child);
                    self.count(child.name)?;
                }
            }
            consumed = consumed.saturating_add(size.max(HEADER));
        }
        Ok(consumed)
    }

    fn find(&self, object: u32) -> Option<ObjectType> {
        if object >= SERVER_ID_MIN {
            return self.server.get(&object).copied().map(ObjectType::Other);
        }
        self.client.get(to_index(object))?.object
    }

    /// Handles `delete_id`: removes an earlier object of this id that was replaced, or else the current one.
    fn delete(&mut self, id: u32) {
        let Some(slot) = self.client.get_mut(to_index(id)) else {
            return;
        };
        if slot.replaced > 0 {
            slot.replaced = slot.replaced.saturating_sub(1);
        } else if let Some(object_type) = slot.object.take() {
            self.shm_pools.delete(id);
            self.uncount(object_type.name());
        }
    }

    /// Counts a new object of an interface, and checks the limits.
    fn count(&mut self, interface: &'static str) -> Result<(), Violation> {
        self.total = self.total.saturating_add(1);
        let count = self.counts.entry(interface).or_default();
        *count = count.saturating_add(1);
        self.usage.check(limit_of(interface), *count)?;
        self.usage.check(Limit::Objects, self.total)?;
        if FD_HOLDING_INTERFACES.contains(&interface) {
            self.fd_holders
                .set(self.fd_holders.amount().saturating_add(1))?;
        }
        Ok(())
    }

    /// Removes a deleted object from the counts.
    fn uncount(&mut self, interface: &'static str) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.counts.get_mut(interface) {
            *count = count.saturating_sub(1);
        }
        if FD_HOLDING_INTERFACES.contains(&interface) {
            // Reducing the amount of a charge cannot exceed a limit.
            let _ = self
                .fd_holders
                .set(self.fd_holders.amount().saturating_sub(1));
        }
    }
}

/// Returns the limit that applies to the objects of an interface.
fn limit_of(interface: &str) -> Limit {
    match interface {
        "wl_surface" => Limit::Surfaces,
        "wl_callback" => Limit::Callbacks,
        _ if EVENT_INTERFACES.contains(&interface) => Limit::EventObjects,
        _ if global_interface(interface.as_bytes()).is_some() => Limit::EventObjects,
        _ => Limit::ObjectsOfOneKind,
    }
}

#[cfg(test)]
mod tests {
    use smithay::reexports::wayland_server::Resource;
    use smithay::reexports::wayland_server::protocol::wl_data_device::WlDataDevice;

    use super::*;
    use crate::limits::Limits;

    const REGISTRY: u32 = 2;

    fn message(object: u32, opcode: u32, words: &[u32]) -> Vec<u8> {
        let size = u32::try_from(words.len() * 4 + HEADER).unwrap();
        [&[object, size << 16 | opcode], words]
            .concat()
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect()
    }

    fn table(limits: &[(Limit, u64)]) -> ObjectTable {
        let mut values = Limits::default();
        for (limit, value) in limits {
            values.set(*limit, *value);
        }
        let mut table = ObjectTable::new(Arc::new(Usage::new(values)), Arc::default());
        request(&mut table, DISPLAY_ID, 1, &[REGISTRY]).unwrap();
        table
    }

    fn request(
        table: &mut ObjectTable,
        object: u32,
        opcode: u32,
        words: &[u32],
    ) -> Result<(), Violation> {
        let parsed = table.parse(&message(object, opcode, words))?.unwrap();
        table.apply(&parsed)
    }

    #[test]
    fn objects_are_counted_until_their_id_is_deleted() {
        let mut table = table(&[(Limit::Callbacks, 2)]);
        request(&mut table, DISPLAY_ID, 0, &[3]).unwrap();
        request(&mut table, DISPLAY_ID, 0, &[4]).unwrap();
        let exceeded = request(&mut table, DISPLAY_ID, 0, &[5]).unwrap_err();
        assert!(
            exceeded.message.contains("--limit callbacks"),
            "{exceeded:?}"
        );
        // The events are split at every possible position.
        let events = [
            message(3, 0, &[0]),
            message(DISPLAY_ID, 1, &[3]),
            message(DISPLAY_ID, 1, &[4]),
        ];
        for byte in events.concat() {
            table.read_events(&[byte]).unwrap();
        }
        request(&mut table, DISPLAY_ID, 0, &[3]).unwrap();
        assert_eq!(table.counts["wl_callback"], 2);
        assert_eq!(table.total, 3);
    }

    #[test]
    fn id_that_is_used_again_before_it_was_deleted_is_counted_once() {
        let mut table = table(&[]);
        for _ in 0..5 {
            request(&mut table, DISPLAY_ID, 0, &[3]).unwrap();
        }
        assert_eq!(table.counts["wl_callback"], 1);
        for _ in 0..4 {
            table.read_events(&message(DISPLAY_ID, 1, &[3])).unwrap();
            assert_eq!(table.counts["wl_callback"], 1);
        }
        table.read_events(&message(DISPLAY_ID, 1, &[3])).unwrap();
        assert_eq!(table.counts["wl_callback"], 0);
        table.read_events(&message(DISPLAY_ID, 1, &[3])).unwrap();
        assert_eq!((table.counts["wl_callback"], table.total), (0, 1));
    }

    #[test]
    fn objects_that_the_compositor_creates_are_counted_until_they_are_destroyed() {
        let mut table = table(&[(Limit::ObjectsOfOneKind, 2)]);
        let device = 3;
        table.client.push(Slot {
            object: Some(ObjectType::Other(WlDataDevice::interface())),
            replaced: 0,
        });
        let offer = |number: u32| SERVER_ID_MIN + number;
        for number in 0..2 {
            let event = message(device, 0, &[offer(number)]);
            table.read_events(&event).unwrap();
        }
        let event = message(device, 0, &[offer(2)]);
        assert!(table.read_events(&event).is_err());
        // `wl_data_offer.destroy`
        request(&mut table, offer(0), 2, &[]).unwrap();
        assert!(table.parse(&message(offer(0), 2, &[])).is_err());
        assert!(table.parse(&message(offer(1), 2, &[])).is_ok());
        assert_eq!(table.counts["wl_data_offer"], 2);
    }

    #[test]
    fn message_that_is_parsed_twice_creates_one_object() {
        let mut table = table(&[]);
        let sync = message(DISPLAY_ID, 0, &[3]);
        let parsed = table.parse(&sync).unwrap().unwrap();
        assert!(table.parse(&sync).unwrap().is_some());
        table.apply(&parsed).unwrap();
        assert_eq!(table.total, 2);
    }

    #[test]
    fn client_that_never_uses_an_id_again_exceeds_the_limit_of_ids() {
        let mut table = table(&[(Limit::ObjectIds, 100)]);
        let mut end = None;
        for id in 3..200 {
            if let Err(violation) = request(&mut table, DISPLAY_ID, 0, &[id]) {
                end = Some((id, violation.message));
                break;
            }
            table.read_events(&message(DISPLAY_ID, 1, &[id])).unwrap();
        }
        let (id, message) = end.unwrap();
        assert_eq!(id, 101);
        assert!(message.contains("object-ids"), "{message}");
    }
}
