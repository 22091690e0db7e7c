//! Colours and glyphs.
//!
//! Green and red also differ in lightness and glyph: a pair that can share is dark with a tick, and a pair that cannot is pale
//! with a cross.

use super::PairStatus;

/// Returns the CSS class of a status.
pub(super) fn class(status: PairStatus) -> &'static str {
    match status {
        PairStatus::Guaranteed => "yes",
        PairStatus::Possible => "maybe",
        PairStatus::Untested => "untested",
        PairStatus::NeedsHardware => "needs-hardware",
        PairStatus::Impossible => "no",
        PairStatus::Disagrees => "wrong",
    }
}

/// Returns the glyph of a status: a path around (0, 0), about 12 pixels wide.
pub(super) fn glyph(status: PairStatus) -> &'static str {
    match status {
        PairStatus::Guaranteed => "M-6 0.5L-2 4.5L6 -4.5",
        PairStatus::Possible => {
            "M-6 -1.5C-4 -5 -2 -4 0 -2.5S4 0 6 -3.5M-6 4C-4 0.5 -2 1.5 0 3S4 5.5 6 2"
        }
        PairStatus::Untested => "M-3 -2.5C-3 -6.5 3.5 -6.5 3.5 -2.5C3.5 0 0 0 0 2.5M0 5.6V6",
        PairStatus::NeedsHardware => {
            "M-5 0A5 5 0 0 1 -2.5 -4.3M2.5 -4.3A5 5 0 0 1 5 0M2.5 4.3A5 5 0 0 1 -2.5 4.3"
        }
        PairStatus::Impossible => "M-4.5 -4.5L4.5 4.5M4.5 -4.5L-4.5 4.5",
        PairStatus::Disagrees => "M0 -6V1.5M0 5.6V6",
    }
}

/// The style sheet. The colours for light mode come first, then those for dark mode in the same order.
pub(super) const SHEET: &str = "\
text{font:12px ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}
.title{font-size:19px;font-weight:600}
.label,.number{text-anchor:end}
.number{font-size:9px}
.hint{font-size:11px;font-style:italic}
.mark{font-size:11px;font-weight:600;text-anchor:end}
.glyph{fill:none;stroke-width:2.2;stroke-linecap:round;stroke-linejoin:round}
.paper{fill:#ffffff;stroke:#d1d9e0}
.ink{fill:#1f2328}.faint,.hint{fill:#59636e}.dot{fill:#b8c0c8}
.yes{fill:#0f7a5c}.glyph.yes{fill:none;stroke:#ffffff}.number.yes{fill:#ffffff}
.maybe{fill:#f2b632}.glyph.maybe{fill:none;stroke:#463300}.number.maybe{fill:#463300}
.no{fill:#f8d9d2}.glyph.no{fill:none;stroke:#b4371b}.number.no{fill:#8a2a14}
.untested{fill:#dde2e8}.glyph.untested{fill:none;stroke:#4a5561}.number.untested{fill:#4a5561}
.needs-hardware{fill:#f6f8fa;stroke:#a5afba;stroke-dasharray:3 3}.glyph.needs-hardware{fill:none;stroke:#7b8794;stroke-dasharray:none}.number.needs-hardware{fill:#59636e;stroke:none}
.wrong{fill:#7d3c98}.glyph.wrong{fill:none;stroke:#ffffff}.number.wrong{fill:#ffffff}
@media (prefers-color-scheme:dark){
.paper{fill:#0d1117;stroke:#3d444d}
.ink{fill:#f0f6fc}.faint,.hint{fill:#9198a1}.dot{fill:#4b535d}
.yes{fill:#2fa37e}.glyph.yes{stroke:#04140e}.number.yes{fill:#04140e}
.maybe{fill:#d29a1f}.glyph.maybe{stroke:#1c1400}.number.maybe{fill:#1c1400}
.no{fill:#43221c}.glyph.no{stroke:#f2917c}.number.no{fill:#f2b0a2}
.untested{fill:#2d343d}.glyph.untested{stroke:#aeb7c2}.number.untested{fill:#aeb7c2}
.needs-hardware{fill:#141a22;stroke:#59636e}.glyph.needs-hardware{stroke:#9198a1}.number.needs-hardware{fill:#9198a1}
.wrong{fill:#b77fd1}.glyph.wrong{stroke:#150a1b}.number.wrong{fill:#150a1b}
}
";
