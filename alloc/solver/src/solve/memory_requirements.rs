//! The members' demands on memory, combined for all sources together.

use super::bits::Bits;
use crate::constraint::AddressWindow;

/// The members' demands on memory, as far as they can be combined before a source is considered.
pub(super) struct MemoryRequirements {
    /// The sources that a single demand of some member rejects.
    pub(super) rejected: Bits,
    /// The range of addresses that all members reach.
    pub(super) window: AddressWindow,
    /// The members that do not reach all addresses.
    pub(super) address_limited: Vec<(usize, AddressWindow)>,
    /// The sources on the devices of the members in `address_limited`. A device can always reach its own memory.
    pub(super) own_of_address_limited: Bits,
    /// The members that need coherent memory.
    pub(super) coherent: Vec<usize>,
    /// The members that do not ask drivers to transfer pixels to or from a shadow copy.
    pub(super) untransferred: Vec<usize>,
    /// The members that may refuse memory of other devices.
    pub(super) unsure_imports: Vec<usize>,
    /// The sources on the own device of at least one member. Such a device works on the source's shadow copy, if there is one.
    pub(super) owned: Bits,
    /// The sources that a member on another device, or the CPU, accesses.
    pub(super) foreign: Bits,
    /// The sources on a member's own device that cannot export its memory. Such a source can still serve members that are all on
    /// that device.
    pub(super) unexported: Bits,
    /// The sources for which at least one member is on another device. They are computed only if some source cannot be exported
    /// or serves only some devices.
    pub(super) shared: Bits,
}
