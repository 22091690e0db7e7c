//! What is asked of memory, whatever the source.

use super::bits::Bits;
use crate::constraint::AddressWindow;

/// What the members of a sweep ask of memory, as far as it can be said of all sources at once.
pub(super) struct MemoryRequirements {
    /// Sources that a demand rules out by itself.
    pub(super) rejected: Bits,
    /// What all reach.
    pub(super) window: AddressWindow,
    /// Who does not reach everything.
    pub(super) address_limited: Vec<usize>,
    /// Sources that are on the own device of one of these, who reaches them anyway.
    pub(super) own_of_address_limited: Bits,
    /// Who needs memory that is seen alike without a sync.
    pub(super) coherent: Vec<usize>,
    /// Who asks no device for transfers.
    pub(super) untransferred: Vec<usize>,
    /// Sources that some member's device works on as its own.
    pub(super) owned: Bits,
    /// Sources that some member touches that is on another device.
    pub(super) foreign: Bits,
}
