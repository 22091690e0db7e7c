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
    /// The sources on the own device of one of these members, which reaches its own memory in any case.
    pub(super) own_of_address_limited: Bits,
    /// The members that need coherent memory.
    pub(super) coherent: Vec<usize>,
    /// The members that do not ask devices for transfers.
    pub(super) untransferred: Vec<usize>,
    /// The members that may refuse memory of other devices.
    pub(super) unsure_imports: Vec<usize>,
    /// The sources that are on some member's own device, which works on a shadow copy if it has one.
    pub(super) owned: Bits,
    /// The sources that some member accesses that is not on the source's device.
    pub(super) foreign: Bits,
    /// Sources whose memory a member's device does not export, but uses for all that the device itself does.
    pub(super) unexported: Bits,
    /// Sources on a device that is not every member's. Only computed if there are sources that do not export, or do not serve all.
    pub(super) shared: Bits,
}
