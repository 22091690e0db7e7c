//! Caches the results of test commits.

use std::collections::HashMap;

use super::{Assignment, Candidates, Picture};
use crate::kms::PlaneDescription;

/// The maximum number of cached results.
const CACHE_MAX: usize = 128;

/// The properties of one plane's use on which the result of a test commit depends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PlaneUse {
    plane: u32,
    picture: Picture,
    /// The position of the layer; `None` for the pointer, which is moved without a test commit.
    position: Option<(i32, i32)>,
    size: (i32, i32),
}

/// The uses of all planes in an assignment, in the order of the layers. It is the key of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    uses: Vec<PlaneUse>,
    is_drawn: bool,
}

impl Configuration {
    /// Returns the configuration of an assignment.
    pub fn new(
        assignment: &Assignment,
        candidates: &Candidates,
        planes: &[PlaneDescription],
    ) -> Self {
        let mut uses = Vec::new();
        let layers = candidates.layers.iter().zip(&assignment.layers);
        for (layer, plane) in layers {
            let plane = plane.and_then(|plane| planes.get(plane));
            if let (Some(plane), Some(picture)) = (plane, &layer.picture) {
                uses.push(PlaneUse {
                    plane: plane.id,
                    picture: picture.clone(),
                    position: Some((layer.destination.x, layer.destination.y)),
                    size: (layer.destination.width, layer.destination.height),
                });
            }
        }
        let plane = assignment.cursor.and_then(|plane| planes.get(plane));
        if let (Some(plane), Some(cursor)) = (plane, &candidates.cursor) {
            uses.extend(cursor.picture.clone().map(|picture| PlaneUse {
                plane: plane.id,
                picture,
                position: None,
                size: (cursor.destination.width, cursor.destination.height),
            }));
        }
        Self {
            uses,
            is_drawn: assignment.is_drawn,
        }
    }
}

/// The results of test commits by configuration. Transient failures are not recorded.
#[derive(Debug, Default)]
pub struct TestCache {
    results: HashMap<Configuration, Result<(), String>>,
}

impl TestCache {
    /// Returns the result of a test commit; `None` if none was made.
    pub fn result(&self, configuration: &Configuration) -> Option<&Result<(), String>> {
        self.results.get(configuration)
    }

    /// Records the result of a test commit. A moving window makes new configurations continuously, so all results are dropped
    /// when there are too many.
    pub fn record(&mut self, configuration: Configuration, result: Result<(), String>) {
        if self.results.len() >= CACHE_MAX && !self.results.contains_key(&configuration) {
            self.results.clear();
        }
        self.results.insert(configuration, result);
    }

    /// Drops all results, because the mode or the state of the card has changed.
    pub fn clear(&mut self) {
        self.results.clear();
    }
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::{FormatModifier, Fourcc};

    use super::*;
    use crate::kms::SourceRect;
    use crate::region::Rect;

    #[test]
    fn cache_with_ever_new_configurations_is_bounded() {
        let mut cache = TestCache::default();
        let configuration = |plane: u32| {
            let picture = Picture {
                format: FormatModifier::linear(Fourcc::NV12),
                extent: (10, 10),
                layout: Vec::new(),
                source: SourceRect::whole(Rect::of_size(10, 10)),
                yuv: None,
            };
            Configuration {
                uses: vec![PlaneUse {
                    plane,
                    picture,
                    position: None,
                    size: (10, 10),
                }],
                is_drawn: true,
            }
        };
        for plane in 0..1000 {
            cache.record(configuration(plane), Ok(()));
            assert_eq!(cache.result(&configuration(plane)), Some(&Ok(())));
        }
        assert!(cache.results.len() <= CACHE_MAX);
    }
}
