//! The members' demands on memory, combined for all sources at once.

use super::bits::Bits;
use crate::constraint::AddressWindow;

/// The members' demands on memory, as far as they can be combined for all sources.
pub(super) struct MemoryRequirements {
    /// The sources that a single demand rejects.
    pub(super) rejected: Bits,
    /// The range of addresses that all members reach.
    pub(super) window: AddressWindow,
    /// The members that do not reach all addresses.
    pub(super) address_limited: Vec<(usize, AddressWindow)>,
    /// The sources on the devices of these members. A device reaches its own memory in any case.
    pub(super) own_of_address_limited: Bits,
    /// The members that need coherent memory.
    pub(super) coherent: Vec<usize>,
    /// The members that do not ask devices for transfers.
    pub(super) untransferred: Vec<usize>,
    /// The members that may refuse memory of other devices.
    pub(super) unsure_imports: Vec<usize>,
    /// The sources that are on some member's own device, which works on a shadow copy if it has one.
    pub(super) owned: Bits,
    /// The sources that are accessed by a member on another device, or by the CPU.
    pub(super) foreign: Bits,
    /// The sources on a member's own device, if that device cannot export its memory. Such a source can still serve members that
    /// are all on the device.
    pub(super) unexported: Bits,
    /// The sources that are not on the own device of every member. They are only computed if some source cannot be exported or
    /// serves only some devices.
    pub(super) shared: Bits,
}
