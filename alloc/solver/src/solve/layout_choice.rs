//! The choices that the solver has if constraints allow several layouts.

/// A choice among layouts that satisfy the same constraints.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayoutChoice {
    /// Whether strides follow the participants' preferences. If false, the smallest possible strides are used.
    pub preferred: bool,
    /// Whether each plane has a dma-buf of its own.
    pub disjoint: bool,
}

impl LayoutChoice {
    /// All choices, the best first. Two of them use the smallest strides, one in each placement, so a layout is found whenever
    /// one exists.
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
