//! What is asked of the solver.

use serde::{Deserialize, Serialize};

use crate::constraint::{Participant, Source, Unknown, keeps_unknown};
use crate::model::{Extent, Fourcc};

/// Who shares which pictures, and where memory could come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Request {
    /// The pictures' size.
    pub extent: Extent,
    /// Other sizes that the same buffers must hold, as when a screen is turned. Each is laid out by itself; memory is
    /// enough for the largest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_extents: Vec<Extent>,
    /// The least number of buffers; more are planned where participants hold more.
    pub count: u32,
    /// Who touches the buffers.
    pub participants: Vec<Participant>,
    /// Where memory could come from.
    pub sources: Vec<Source>,
    /// Taken where it works as well as others; a wish, not a demand.
    pub preferred_fourcc: Option<Fourcc>,
    /// Fields of a newer version: demands that nothing meets, unless they are optional.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Request);

impl Request {
    /// The most buffers that a plan has: what the request asks for, or all participants hold together.
    ///
    /// A V4L2 queue has at most 32 (`VIDEO_MAX_FRAME`), and 64 in newer kernels; a number far over that is a mistake, and its
    /// memory would be counted wrong.
    pub const MAXIMUM_BUFFERS: u32 = 1024;

    /// Asks for one buffer of this size for nobody yet.
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            more_extents: Vec::new(),
            count: 1,
            participants: Vec::new(),
            sources: Vec::new(),
            preferred_fourcc: None,
            unknown: Unknown::default(),
        }
    }

    /// Returns all sizes that the buffers must hold.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        std::iter::once(self.extent).chain(self.more_extents.iter().copied())
    }
}
