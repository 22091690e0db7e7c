//! What one participant demands of pictures, in words, and pictures without it.

use super::demand::Field;
use super::image::{ImageTerms, PlanePlacement, SideTerms, StrideTerms};

impl ImageTerms {
    /// Returns whether anything is demanded of a field; wishes are not demands.
    pub(crate) fn demands_field(&self, field: Field) -> bool {
        let free = Self::default();
        match field {
            Field::Planes => {
                self.packed_planes
                    || self.placement != free.placement
                    || self.maximum_planes != free.maximum_planes
            }
            Field::Stride => {
                self.stride.minimum != free.stride.minimum
                    || self.stride.maximum != free.stride.maximum
                    || self.stride.alignment > 1
                    || self.stride.packed
            }
            Field::Offset => self.offset_alignment_bytes > 1 || self.padding_before_bytes > 0,
            Field::Size => {
                self.size_alignment_bytes > 1
                    || self.plane_size_alignment_bytes > 1
                    || self.rows_multiple_of > 1
                    || self.minimum_size_bytes > 0
                    || self.maximum_size_bytes != free.maximum_size_bytes
                    || self.padding_bytes > 0
            }
            Field::Extent => [&self.width, &self.height]
                .into_iter()
                .any(|side| side.minimum > 1 || side.maximum != u32::MAX || side.multiple_of > 1),
            _ => false,
        }
    }

    pub(crate) fn relax(&mut self, field: Field) {
        let free = Self::default();
        match field {
            Field::Planes => {
                self.packed_planes = free.packed_planes;
                self.placement = free.placement;
                self.maximum_planes = free.maximum_planes;
            }
            // The wishes stay: they stand in nobody's way.
            Field::Stride => {
                self.stride.minimum = free.stride.minimum;
                self.stride.maximum = free.stride.maximum;
                self.stride.alignment = free.stride.alignment;
                self.stride.packed = free.stride.packed;
            }
            Field::Offset => {
                self.offset_alignment_bytes = free.offset_alignment_bytes;
                self.padding_before_bytes = free.padding_before_bytes;
            }
            Field::Size => {
                self.size_alignment_bytes = free.size_alignment_bytes;
                self.plane_size_alignment_bytes = free.plane_size_alignment_bytes;
                self.rows_multiple_of = free.rows_multiple_of;
                self.minimum_size_bytes = free.minimum_size_bytes;
                self.maximum_size_bytes = free.maximum_size_bytes;
                self.padding_bytes = free.padding_bytes;
            }
            Field::Extent => {
                self.width = free.width;
                self.height = free.height;
            }
            Field::Unknown => self.unknown = free.unknown,
            _ => {}
        }
    }

    pub(super) fn words(&self, field: Field) -> Option<String> {
        let free = Self::default();
        match field {
            Field::Planes => {
                let placed = match self.placement {
                    PlanePlacement::Either => None,
                    PlanePlacement::Together => Some("needs all planes in one dma-buf"),
                    PlanePlacement::Apart => Some("needs a dma-buf for each plane"),
                    PlanePlacement::Neither => Some("takes only pictures of one plane"),
                };
                let packed = self
                    .packed_planes
                    .then_some("needs planes without a gap between them");
                let words = placed.into_iter().map(str::to_owned);
                let words: Vec<_> = words
                    .chain(packed.map(str::to_owned))
                    .chain((self.maximum_planes != free.maximum_planes).then(|| {
                        format!("takes pictures of at most {} planes", self.maximum_planes)
                    }))
                    .collect();
                (!words.is_empty()).then(|| words.join(" and "))
            }
            Field::Stride => stride_words(&self.stride),
            Field::Offset => {
                let mut words = Vec::new();
                if self.offset_alignment_bytes > 1 {
                    words.push(format!(
                        "planes to begin at multiples of {} bytes",
                        self.offset_alignment_bytes
                    ));
                }
                if self.padding_before_bytes > 0 {
                    words.push(format!(
                        "{} bytes before the first plane",
                        self.padding_before_bytes
                    ));
                }
                (!words.is_empty()).then(|| format!("needs {}", words.join(" and ")))
            }
            Field::Size => {
                let mut words = Vec::new();
                if self.size_alignment_bytes > 1 {
                    words.push(format!("in multiples of {}", self.size_alignment_bytes));
                }
                if self.plane_size_alignment_bytes > 1 {
                    words.push(format!(
                        "in multiples of {} for each plane",
                        self.plane_size_alignment_bytes
                    ));
                }
                if self.minimum_size_bytes > 0 {
                    words.push(format!("at least {}", self.minimum_size_bytes));
                }
                if self.maximum_size_bytes != free.maximum_size_bytes {
                    words.push(format!("at most {}", self.maximum_size_bytes));
                }
                if self.padding_bytes > 0 {
                    words.push(format!("{} behind the picture", self.padding_bytes));
                }
                let bytes =
                    (!words.is_empty()).then(|| format!("{} bytes of memory", words.join(", ")));
                let rows = (self.rows_multiple_of > 1).then(|| {
                    format!(
                        "memory for a multiple of {} rows in each plane",
                        self.rows_multiple_of
                    )
                });
                let words: Vec<_> = bytes.into_iter().chain(rows).collect();
                (!words.is_empty()).then(|| format!("needs {}", words.join(" and ")))
            }
            Field::Extent => (self.width != free.width || self.height != free.height).then(|| {
                format!(
                    "needs a width {} and a height {}",
                    side_words(&self.width),
                    side_words(&self.height)
                )
            }),
            _ => None,
        }
    }
}

fn side_words(side: &SideTerms) -> String {
    let steps = if side.multiple_of > 1 {
        format!(" in steps of {}", side.multiple_of)
    } else {
        String::new()
    };
    match (side.minimum, side.maximum) {
        (1 | 0, u32::MAX) => format!("of any size{steps}"),
        (least, most) if least == most => format!("of {least}"),
        (least, u32::MAX) => format!("from {least}{steps}"),
        (least, most) => format!("from {least} to {most}{steps}"),
    }
}

fn stride_words(stride: &StrideTerms) -> Option<String> {
    let mut words = Vec::new();
    match (stride.minimum, stride.maximum) {
        (0, u32::MAX) => {}
        (least, most) if least == most => words.push(format!("of exactly {least}")),
        (0, most) => words.push(format!("of at most {most}")),
        (least, u32::MAX) => words.push(format!("of at least {least}")),
        (least, most) => words.push(format!("from {least} to {most}")),
    }
    if stride.alignment > 1 {
        words.push(format!("in multiples of {}", stride.alignment));
    }
    let bytes = (!words.is_empty()).then(|| format!("a stride {} bytes", words.join(" ")));
    let packed = stride
        .packed
        .then(|| "rows without a gap between them".to_owned());
    let words: Vec<_> = bytes.into_iter().chain(packed).collect();
    (!words.is_empty()).then(|| format!("needs {}", words.join(" and ")))
}
