//! What layouts leave free.

/// What is free to choose where the demands leave it open.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayoutChoice {
    /// Whether strides are wished-for ones where there are any; else the least.
    pub wishes: bool,
    /// Whether each plane has a memory of its own.
    pub apart: bool,
}

impl LayoutChoice {
    /// What can be chosen, best first. Only the least strides in both placements leave nothing out that could fit.
    pub(super) const ALL: [Self; 4] = [
        Self {
            wishes: true,
            apart: false,
        },
        Self {
            wishes: false,
            apart: false,
        },
        Self {
            wishes: true,
            apart: true,
        },
        Self {
            wishes: false,
            apart: true,
        },
    ];
}
