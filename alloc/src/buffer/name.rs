//! The names that this crate gives to its dma-bufs (DMA_BUF_SET_NAME), such as `covalent-NV12-640x480-640`, and the layout that a
//! name describes.
//!
//! The last number is the stride of the first plane in bytes. The name contains it only if the whole layout follows from it: the
//! modifier is LINEAR, and all planes are in one dma-buf, one after another, with the strides of [`Layout::linear`].

use std::fmt::Write as _;

use crate::model::{Extent, Fourcc, Layout, Modifier};

use super::sys::MAX_NAME_BYTES;

const PREFIX: &str = "covalent-";

/// The layout that a name describes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamedLayout {
    /// The name has a stride, so the layout of all planes is known.
    Whole(Layout),
    /// The name has no stride, so only the size and format are known.
    Picture(Extent, Fourcc),
}

/// Returns the name of a dma-buf with this layout.
pub(super) fn name_of(layout: &Layout) -> String {
    let mut name = String::with_capacity(2 * MAX_NAME_BYTES);
    // The result is ignored, because a write to a String cannot fail.
    let _ = write!(
        name,
        "{PREFIX}{}-{}",
        layout.format().fourcc,
        layout.extent()
    );
    if let Some(first) = layout
        .planes()
        .first()
        .filter(|_| follows_from_stride(layout))
    {
        let length_without_stride = name.len();
        let _ = write!(name, "-{}", first.stride_bytes);
        // `named_layout` ignores a name of the maximum length, because the kernel may have truncated it. So such a name gets no
        // stride.
        if name.len() >= MAX_NAME_BYTES {
            name.truncate(length_without_stride);
        }
    }
    name
}

/// Returns whether the whole layout follows from the stride of its first plane.
fn follows_from_stride(layout: &Layout) -> bool {
    if layout.format().modifier != Modifier::LINEAR {
        return false;
    }
    match layout.planes() {
        [] => false,
        // For a single plane the size is computed here, because this is faster than a comparison with [`Layout::linear`], and the
        // function is called for every allocated buffer.
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

/// Parses the name that the crate gave to a dma-buf of `memory_bytes` bytes. Returns `None` for any other name, and for a layout
/// that does not fit into the dma-buf.
///
/// Any process that has a file descriptor of the dma-buf can set its name, so the result is an untrusted claim.
#[must_use]
pub fn named_layout(name: &str, memory_bytes: u64) -> Option<NamedLayout> {
    let rest = name.strip_prefix(PREFIX)?;
    if name.len() >= MAX_NAME_BYTES {
        return None;
    }
    // The text is split from its end, because the name of a format may contain a dash, and size and stride may not.
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
        fn name_of_a_linear_layout_describes_the_whole_layout(
            fourcc in formats(),
            (width, height) in (1_u32..=4096, 1_u32..=4096),
            alignment in prop_oneof![Just(1_u32), Just(4), Just(64), Just(256)],
            padding in 0_u64..10_000,
        ) {
            let extent = Extent::new(width, height).unwrap();
            let layout = Layout::linear(extent, fourcc, alignment, 0).unwrap();
            let bytes = layout.total_bytes() + padding;
            let layout = layout.with_memory_sizes(vec![bytes]).unwrap();
            let name = name_of(&layout);
            prop_assert!(name.len() <= MAX_NAME_BYTES);
            prop_assert_eq!(named_layout(&name, bytes), Some(NamedLayout::Whole(layout.clone())));
            // A dma-buf that is smaller than the layout is refused.
            prop_assert_eq!(named_layout(&name, layout.total_bytes() - padding - 1), None);
        }

        #[test]
        fn arbitrary_name_is_parsed_without_a_panic(name in "covalent-.{0,30}|.*", bytes: u64) {
            if let Some(NamedLayout::Whole(layout)) = named_layout(&name, bytes) {
                prop_assert_eq!(layout.memory_sizes(), [bytes]);
            }
        }
    }

    #[test]
    fn name_of_a_layout_that_no_stride_describes_has_only_size_and_format() {
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
    fn name_that_may_be_truncated_or_is_not_of_covalent_is_ignored() {
        for name in [
            "",
            "covalent-",
            "camera-XR24-640x480-2560",
            "covalent-XR24-0x480-2560",
            "covalent-XR24-640x480-2559",
            "covalent-XR24-640x480--2560",
            // The name has the maximum of 31 bytes, so the kernel may have cut off a digit of the stride.
            "covalent-XR24-65536x65536-26214",
        ] {
            assert_eq!(named_layout(name, u64::MAX), None, "{name}");
        }
    }
}
