//! What is asked of the solver.

use serde::{Deserialize, Serialize};

use crate::constraint::{Participant, Source};
use crate::model::{Extent, Fourcc};

/// Who shares which pictures, and where memory could come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The pictures' size.
    pub extent: Extent,
    /// The least number of buffers; more are planned where participants hold more.
    pub count: u32,
    /// Who touches the buffers.
    pub participants: Vec<Participant>,
    /// Where memory could come from.
    pub sources: Vec<Source>,
    /// Taken where it works as well as others; a wish, not a demand.
    pub preferred_fourcc: Option<Fourcc>,
}

impl Request {
    /// Asks for one buffer of this size for nobody yet.
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            count: 1,
            participants: Vec::new(),
            sources: Vec::new(),
            preferred_fourcc: None,
        }
    }
}
