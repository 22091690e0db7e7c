//! The solved allocation: only the solver makes one.

use serde::Serialize;

use crate::constraint::{MergedImage, PlanePlacement, SourceId};
use crate::model::{DeviceIdentity, Layout};

/// What to allocate from which source, and who imports it.
///
/// Its fields are private: what was not solved cannot be allocated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub(super) source: SourceId,
    pub(super) source_name: String,
    pub(super) source_device: Option<DeviceIdentity>,
    pub(super) layout: Layout,
    pub(super) count: u32,
    pub(super) steps: Vec<Step>,
    pub(super) verdict: Verdict,
    pub(super) doubts: Vec<String>,
    pub(super) reasons: Vec<String>,
    pub(super) rejections: Vec<Rejection>,
    #[serde(skip)]
    pub(super) terms: Box<MergedImage>,
}

/// How sure it is that every participant takes the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All demands are met by what the source promises.
    Guaranteed,
    /// A demand is met only if memory happens to lie well.
    Possible,
}

/// What one participant does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Who.
    pub participant: String,
    /// What.
    pub action: Action,
}

/// What a participant does with the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Its own device allocates and exports them.
    Exports,
    /// It imports them.
    Imports,
    /// The processor maps them.
    Maps,
    /// Nothing: it has only said what it accepts.
    Accepts,
}

/// Why a source was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The source.
    pub source: SourceId,
    /// Its name in words.
    pub source_name: String,
    /// The reason, in words that follow its name.
    pub words: String,
}

/// Why a layout is not one that the participants of a plan accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout is not one that the plan's participants accept: {0}")]
pub struct PlanError(String);

impl Plan {
    /// Returns the source that allocates.
    pub fn source(&self) -> &SourceId {
        &self.source
    }

    /// Returns the source's name in words.
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Returns the device whose memory it is; none for memory that belongs to no device.
    pub fn source_device(&self) -> Option<&DeviceIdentity> {
        self.source_device.as_ref()
    }

    /// Returns the layout of every buffer.
    ///
    /// A source may give more memory than this, and another stride where [`Plan::accepts`] allows it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns how many buffers there are to be.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns what each participant does, in the request's order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns how sure it is that all take the buffers.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Returns what is not sure, in words; empty for a guaranteed plan.
    pub fn doubts(&self) -> &[String] {
        &self.doubts
    }

    /// Returns why other sources were not taken.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Checks a layout that a source gave against what the participants accept.
    ///
    /// # Errors
    ///
    /// [`PlanError`] says which bound the layout breaks.
    pub fn accepts(&self, layout: &Layout) -> Result<(), PlanError> {
        let refuse = |words: String| Err(PlanError(words));
        if layout.extent() != self.layout.extent() || layout.format() != self.layout.format() {
            return refuse(format!(
                "it is {} of {} where {} of {} was planned",
                layout.format(),
                layout.extent(),
                self.layout.format(),
                self.layout.extent()
            ));
        }
        let terms = &self.terms;
        if let Some(first) = layout.planes().first() {
            let range = terms.stride_minimum.value..=terms.stride_maximum.value;
            if !range.contains(&first.stride_bytes) {
                return refuse(format!(
                    "its stride of {} bytes is not from {} to {}",
                    first.stride_bytes,
                    range.start(),
                    range.end()
                ));
            }
        }
        let mut end = 0;
        for (number, plane) in layout.planes().iter().enumerate() {
            let steps =
                |value: u64, step: u64| value.checked_rem(step).is_some_and(|rest| rest != 0);
            if steps(
                plane.stride_bytes.into(),
                terms.stride_alignment.value.into(),
            ) {
                return refuse(format!(
                    "the stride of plane {number}, {} bytes, is not a multiple of {}",
                    plane.stride_bytes, terms.stride_alignment.value
                ));
            }
            if steps(plane.offset_bytes, terms.offset_alignment.value) {
                return refuse(format!(
                    "plane {number} begins at {}, which is not a multiple of {} bytes",
                    plane.offset_bytes, terms.offset_alignment.value
                ));
            }
            if terms.packed_planes.value && plane.memory == 0 && plane.offset_bytes != end {
                return refuse(format!(
                    "plane {number} begins at {} and not at {end}",
                    plane.offset_bytes
                ));
            }
            let rows = layout
                .format()
                .fourcc
                .info()
                .and_then(|info| info.planes.get(number))
                .map_or(0, |shape| shape.rows(layout.extent().height()));
            end = plane
                .offset_bytes
                .saturating_add(u64::from(plane.stride_bytes).saturating_mul(rows.into()));
        }
        let memories = layout.memory_sizes().len();
        let placed = match terms.placement.value {
            PlanePlacement::Either => true,
            PlanePlacement::Together => memories == 1,
            PlanePlacement::Apart => memories == layout.planes().len(),
            PlanePlacement::Neither => false,
        };
        if !placed {
            return refuse(format!("its planes lie in {memories} dma-bufs"));
        }
        if layout.total_bytes() < terms.minimum_size.value {
            return refuse(format!(
                "it has {} bytes, and {} are needed",
                layout.total_bytes(),
                terms.minimum_size.value
            ));
        }
        Ok(())
    }
}
