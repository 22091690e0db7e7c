//! What the solver may choose where constraints leave a layout open.

/// A choice between layouts that satisfy the same constraints.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayoutChoice {
    /// Whether strides follow the preferences; otherwise they are the least ones.
    pub preferred: bool,
    /// Whether each plane has a dma-buf of its own.
    pub disjoint: bool,
}

impl LayoutChoice {
    /// All choices, best first. The least strides, tried in both placements, find a layout whenever there is one.
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
