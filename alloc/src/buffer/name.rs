//! What the crate names its dma-bufs, and what such a name says of them: `covalent-NV12-640x480-640`.
//!
//! The last number is the stride of the first plane. It is there only where the rest follows from it: linear, all planes in one
//! memory, one behind another, with the strides that [`Layout::linear`] gives them.

use std::fmt::Write as _;

use crate::model::{Extent, Fourcc, Layout, Modifier};

use super::sys::LONGEST_NAME;

const PREFIX: &str = "covalent-";

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamedLayout {
    /// Where each plane lies.
    Whole(Layout),
    /// Size and format, and not how the pixels are arranged.
    Picture(Extent, Fourcc),
}

/// Returns the name for memory of this layout.
pub(super) fn name_of(layout: &Layout) -> String {
    let mut name = String::with_capacity(2 * LONGEST_NAME);
    // A String takes whatever is written to it.
    let _ = write!(
        name,
        "{PREFIX}{}-{}",
        layout.format().fourcc,
        layout.extent()
    );
    if let Some(first) = layout.planes().first().filter(|_| follows(layout)) {
        let short = name.len();
        let _ = write!(name, "-{}", first.stride_bytes);
        // One that fills its place may have been cut off, and is not believed.
        if name.len() >= LONGEST_NAME {
            name.truncate(short);
        }
    }
    name
}

/// Whether all of a layout follows from the stride of its first plane.
fn follows(layout: &Layout) -> bool {
    if layout.format().modifier != Modifier::LINEAR {
        return false;
    }
    match layout.planes() {
        [] => false,
        // Every allocation comes by here: what most are is not laid out anew.
        [only] => {
            let rows = layout.rows(0).map(u64::from);
            let bytes = rows.and_then(|rows| rows.checked_mul(only.stride_bytes.into()));
            (only.memory, only.offset_bytes) == (0, 0) && bytes == Some(only.size_bytes)
        }
        planes @ [first, ..] => {
            let fourcc = layout.format().fourcc;
            Layout::linear(layout.extent(), fourcc, 1, first.stride_bytes)
                .is_ok_and(|linear| linear.planes() == planes)
        }
    }
}

/// Reads what the crate has named memory of that many bytes; `None` for any other name, and for a layout that does not fit.
///
/// Whoever has an fd can name it: this is a claim, as a client's description is.
#[must_use]
pub fn named_layout(name: &str, memory_bytes: u64) -> Option<NamedLayout> {
    let rest = name.strip_prefix(PREFIX)?;
    if name.len() >= LONGEST_NAME {
        return None;
    }
    // A format's name may hold a dash, a size and a stride do not.
    let mut parts = rest.rsplitn(3, '-');
    let last = parts.next()?;
    if let Ok(extent) = last.parse::<Extent>() {
        let fourcc = rest.strip_suffix(last)?.strip_suffix('-')?.parse().ok()?;
        return Some(NamedLayout::Picture(extent, fourcc));
    }
    let extent = parts.next()?.parse().ok()?;
    let fourcc: Fourcc = parts.next()?.parse().ok()?;
    let stride = last.parse().ok()?;
    let layout = Layout::linear(extent, fourcc, 1, stride).ok()?;
    let is_its_own = layout.planes().first()?.stride_bytes == stride;
    let layout = layout.with_memory_sizes(vec![memory_bytes]).ok()?;
    is_its_own.then_some(NamedLayout::Whole(layout))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{FormatModifier, PlaneLayout};

    fn formats() -> impl Strategy<Value = Fourcc> {
        let all: Vec<Fourcc> = crate::model::FormatInfo::all()
            .map(|info| info.fourcc)
            .collect();
        proptest::sample::select(all)
    }

    proptest! {
        #[test]
        fn name_of_rows_says_the_whole_layout(
            fourcc in formats(),
            (width, height) in (1_u32..=4096, 1_u32..=4096),
            alignment in prop_oneof![Just(1_u32), Just(4), Just(64), Just(256)],
            behind in 0_u64..10_000,
        ) {
            let extent = Extent::new(width, height).unwrap();
            let layout = Layout::linear(extent, fourcc, alignment, 0).unwrap();
            let bytes = layout.total_bytes() + behind;
            let layout = layout.with_memory_sizes(vec![bytes]).unwrap();
            let name = name_of(&layout);
            prop_assert!(name.len() <= LONGEST_NAME);
            prop_assert_eq!(named_layout(&name, bytes), Some(NamedLayout::Whole(layout.clone())));
            // Memory that is too small makes a lie of it.
            prop_assert_eq!(named_layout(&name, layout.total_bytes() - behind - 1), None);
        }

        #[test]
        fn name_of_anything_is_read_without_a_panic(name in "covalent-.{0,30}|.*", bytes: u64) {
            if let Some(NamedLayout::Whole(layout)) = named_layout(&name, bytes) {
                prop_assert_eq!(layout.memory_sizes(), [bytes]);
            }
        }
    }

    #[test]
    fn name_of_what_no_stride_tells_says_size_and_format_alone() {
        let extent = Extent::new(640, 480).unwrap();
        let picture = Some(NamedLayout::Picture(extent, Fourcc::XRGB8888));
        let plane = PlaneLayout {
            memory: 0,
            offset_bytes: 4096,
            stride_bytes: 2560,
            size_bytes: 2560 * 480,
        };
        for (modifier, plane) in [
            (Modifier::LINEAR, plane),
            (
                Modifier(0x0100_0000_0000_0002),
                PlaneLayout {
                    offset_bytes: 0,
                    ..plane
                },
            ),
        ] {
            let format = FormatModifier::new(Fourcc::XRGB8888, modifier);
            let layout = Layout::new(extent, format, vec![plane], vec![1 << 21]).unwrap();
            let name = name_of(&layout);
            assert_eq!(name, "covalent-XR24-640x480");
            assert_eq!(named_layout(&name, 1 << 21), picture);
        }
    }

    #[test]
    fn name_that_may_be_cut_off_or_is_of_others_is_not_believed() {
        for name in [
            "",
            "covalent-",
            "camera-XR24-640x480-2560",
            "covalent-XR24-0x480-2560",
            "covalent-XR24-640x480-2559",
            "covalent-XR24-640x480--2560",
            // 31 bytes: there may have been another digit.
            "covalent-XR24-65536x65536-26214",
        ] {
            assert_eq!(named_layout(name, u64::MAX), None, "{name}");
        }
    }
}
