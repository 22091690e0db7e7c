//! What layouts leave free.

/// What is free to choose where the demands leave it open.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayoutChoice {
    /// Whether strides are wished-for ones where there are any; else the least.
    pub preferred: bool,
    /// Whether each plane has a memory of its own.
    pub disjoint: bool,
}

impl LayoutChoice {
    /// What can be chosen, best first. Only the least strides in both placements leave nothing out that could fit.
    pub(super) const ALL: [Self; 4] = [
        Self {
            preferred: true,
            disjoint: false,
        },
        Self {
            preferred: false,
            disjoint: false,
        },
        Self {
            preferred: true,
            disjoint: true,
        },
        Self {
            preferred: false,
            disjoint: true,
        },
    ];
}
