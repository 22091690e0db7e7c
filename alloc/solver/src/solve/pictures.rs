//! The common properties of the sizes of a request's pictures.

use super::request::Request;
use crate::constraint::{Field, MergedImage, MergedSide, gcd};
use crate::model::Extent;

/// The common properties of the pictures of all sizes. With them, constraints are checked for all pictures together, and not for
/// each picture.
pub(super) struct Pictures {
    width: Lengths,
    height: Lengths,
}

/// The widths of all pictures, or the heights of all pictures.
struct Lengths {
    least: u32,
    most: u32,
    /// The greatest common divisor of all these lengths.
    divisor: u64,
}

impl Pictures {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            width: Lengths::of(request.extents().map(Extent::width)),
            height: Lengths::of(request.extents().map(Extent::height)),
        }
    }

    /// Checks the width and height of every picture.
    ///
    /// # Errors
    /// [`Field::Extent`] if the constraints do not allow one of them.
    pub(super) fn check(&self, merged: &MergedImage) -> Result<(), Field> {
        let fit = self.width.satisfy(&merged.width) && self.height.satisfy(&merged.height);
        if fit { Ok(()) } else { Err(Field::Extent) }
    }
}

impl Lengths {
    fn of(all: impl Iterator<Item = u32>) -> Self {
        let none = Self {
            least: u32::MAX,
            most: 0,
            divisor: 0,
        };
        all.fold(none, |found, length| Self {
            least: found.least.min(length),
            most: found.most.max(length),
            divisor: gcd(length.into(), found.divisor),
        })
    }

    /// Returns whether all these lengths satisfy the constraints on a side.
    fn satisfy(&self, side: &MergedSide) -> bool {
        side.minimum.value <= self.least
            && self.most <= side.maximum.value
            && side.multiple_of.value.divides(self.divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::ImageConstraints;

    #[test]
    fn constraints_on_all_sizes_are_met_if_each_size_meets_them() {
        for (sizes, step, fits) in [
            ([48, 64, 80], 16, true),
            ([48, 64, 80], 32, false),
            ([48, 64, 80], 0, true),
            ([16, 64, 80], 1, false),
            ([48, 64, 96], 1, false),
        ] {
            let [one, more @ ..] = sizes.map(|size| Extent::new(size, 8).unwrap());
            let mut request = Request::new(one);
            request.more_extents = more.to_vec();
            let mut image = ImageConstraints::default();
            (image.width.minimum, image.width.maximum) = (20, 90);
            image.width.multiple_of = step;
            let met = Pictures::of(&request).check(&MergedImage::of(0, &image));
            assert_eq!(met.is_ok(), fits, "{sizes:?} in steps of {step}");
        }
    }
}
