//! Searches for formats of the pads along a path, by setting try formats.

use super::access::{Access, Which};
use super::bus_code::BusCode;
use super::bus_format::BusFormat;
use super::error::MediaError;
use super::node_format::NodeFormat;
use super::setup::PipelineRequest;
use super::topology::{Entity, Link, Pad, Topology};
use crate::model::Fourcc;

/// The maximum number of try formats that a search sets. A path of five entities with twenty codes each needs some hundreds.
const MAXIMUM_TRIALS: u32 = 4096;

/// The formats that a search has found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The formats of the pads from the sensor to the last sub-device, in the order in which they have to be set.
    pub(super) pads: Vec<(Pad, BusFormat)>,
    /// The format of the video node.
    pub(super) node: NodeFormat,
}

/// The search for the formats of the pads of one path.
pub(super) struct Search<'a, A> {
    topology: &'a Topology,
    path: &'a [Link],
    request: &'a PipelineRequest,
    access: &'a mut A,
    trials: u32,
    /// The best formats so far, with the index of their pixel format in the list of requested formats.
    best: Option<(usize, Found)>,
}

impl<'a, A: Access> Search<'a, A> {
    pub(super) fn new(
        topology: &'a Topology,
        path: &'a [Link],
        request: &'a PipelineRequest,
        access: &'a mut A,
    ) -> Self {
        Self {
            topology,
            path,
            request,
            access,
            trials: 0,
            best: None,
        }
    }

    /// Returns formats with which the video node captures in the first requested format that is possible.
    pub(super) fn find(mut self) -> Result<Found, MediaError> {
        self.search()?;
        if let Some((_, found)) = self.best {
            return Ok(found);
        }
        let name = |pad: Option<Pad>| {
            let entity = pad.and_then(|pad| self.topology.entity(pad.entity).ok());
            entity.map(|entity| entity.name.clone()).unwrap_or_default()
        };
        let mut wanted: Vec<String> = self.request.formats.iter().map(Fourcc::to_string).collect();
        wanted.extend(self.request.extent.map(|extent| format!("of {extent}")));
        Err(MediaError::NoFormat {
            sensor: name(self.path.first().map(|link| link.source)),
            node: name(self.path.last().map(|link| link.sink)),
            wanted: wanted.join(" "),
        })
    }

    /// Tries each media bus code of the sensor, with every continuation along the path.
    fn search(&mut self) -> Result<(), MediaError> {
        let Some((first, rest)) = self.path.split_first() else {
            return Ok(());
        };
        let sensor = self.entity(first.source)?;
        let Some(mut format) = self.access.pad_format(sensor, first.source)? else {
            return Err(no_node(sensor));
        };
        if let Some(extent) = self.request.extent {
            format = format.with_extent(extent);
        }
        for code in self.access.codes(sensor, first.source)? {
            if let Some(set) = self.attempt(first.source, format.with_code(code))? {
                let mut pads = vec![(first.source, set)];
                self.descend(*first, rest, set, &mut pads)?;
            }
        }
        Ok(())
    }

    /// Continues the search at the sink pad of `link`, whose source pad has the format `delivered`. `pads` contains the formats
    /// of the pads before it, and is unchanged when the function returns.
    fn descend(
        &mut self,
        link: Link,
        rest: &[Link],
        delivered: BusFormat,
        pads: &mut Vec<(Pad, BusFormat)>,
    ) -> Result<(), MediaError> {
        let sink = self.entity(link.sink)?;
        let Some((next, rest)) = rest.split_first() else {
            return self.keep_if_better(sink, delivered, pads);
        };
        let set = self.attempt(link.sink, delivered)?;
        let Some(set) = set.filter(|set| delivered.is_valid_for(*set)) else {
            return Ok(());
        };
        let depth = pads.len();
        pads.push((link.sink, set));
        let out = match self.request.extent {
            Some(extent) => set.with_extent(extent),
            None => set,
        };
        // A sub-device that does not convert passes the code on, so this code is tried first.
        let listed = self.access.codes(sink, next.source)?;
        let others = listed.iter().copied().filter(|code| *code != set.code);
        let same = listed.contains(&set.code).then_some(set.code);
        let codes: Vec<BusCode> = same.into_iter().chain(others).collect();
        for code in codes {
            if let Some(source) = self.attempt(next.source, out.with_code(code))? {
                pads.push((next.source, source));
                self.descend(*next, rest, source, pads)?;
                pads.truncate(depth.saturating_add(1));
            }
        }
        pads.truncate(depth);
        Ok(())
    }

    /// Stores the formats in `best` if the video node can then capture in a requested format that is earlier in the list than the
    /// one of the best formats so far.
    fn keep_if_better(
        &mut self,
        node: &Entity,
        delivered: BusFormat,
        pads: &[(Pad, BusFormat)],
    ) -> Result<(), MediaError> {
        let Ok(extent) = delivered.extent() else {
            return Ok(());
        };
        if self.request.extent.is_some_and(|wanted| wanted != extent) {
            return Ok(());
        }
        for pixel_format in self.access.pixel_formats(node, delivered.code)? {
            let Some((fourcc, _)) = pixel_format.fourcc() else {
                continue;
            };
            let mut wanted = self.request.formats.iter();
            let place = wanted.position(|format| *format == fourcc);
            let best = self.best.as_ref().map_or(usize::MAX, |(best, _)| *best);
            if let Some(place) = place.filter(|place| *place < best) {
                let node = NodeFormat {
                    extent,
                    pixel_format,
                };
                let pads = pads.to_vec();
                self.best = Some((place, Found { pads, node }));
            }
        }
        Ok(())
    }

    /// Sets a try format, and returns the format that the driver set. The result is `None` if the driver set another code, or if
    /// the search is over.
    fn attempt(&mut self, pad: Pad, wanted: BusFormat) -> Result<Option<BusFormat>, MediaError> {
        let is_best = self.best.as_ref().is_some_and(|(place, _)| *place == 0);
        if is_best || self.trials >= MAXIMUM_TRIALS {
            return Ok(None);
        }
        self.trials = self.trials.saturating_add(1);
        let entity = self.entity(pad)?;
        let set = self
            .access
            .set_pad_format(entity, pad, Which::Try, wanted)?;
        Ok(Some(set).filter(|set| set.code == wanted.code))
    }

    fn entity(&self, pad: Pad) -> Result<&'a Entity, MediaError> {
        self.topology
            .entity(pad.entity)
            .map_err(MediaError::topology)
    }
}

pub(super) fn no_node(entity: &Entity) -> MediaError {
    MediaError::NoNode {
        entity: entity.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BGR3, RGB3, Simulated, vimc};
    use super::super::graph::shortest_path;
    use super::*;

    #[test]
    fn first_wanted_format_that_is_possible_is_found_whatever_the_sensor_lists_first() {
        let graph = vimc();
        let topology = graph.topology();
        let path = shortest_path(&topology, graph.id("RGB/YUV Capture")).unwrap();
        for (formats, expected) in [
            ([Fourcc::RGB888, Fourcc::BGR888], BGR3),
            ([Fourcc::BGR888, Fourcc::RGB888], RGB3),
            ([Fourcc::NV12, Fourcc::RGB888], BGR3),
        ] {
            let mut device = Simulated::vimc(&graph);
            let request = PipelineRequest {
                formats: formats.to_vec(),
                ..Default::default()
            };
            let found = Search::new(&topology, &path, &request, &mut device).find();
            assert_eq!(found.unwrap().node.pixel_format, expected);
        }
    }
}
