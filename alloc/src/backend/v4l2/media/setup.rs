//! Sets up the pipeline of a video node: enables the links of one path from a sensor, and propagates one format along it.
//!
//! Formats are tried first (V4L2_SUBDEV_FORMAT_TRY), which changes nothing, so a pipeline that cannot deliver the wanted format
//! stays as it was.

use serde::Serialize;

use super::access::{Access, Which};
use super::bus_format::BusFormat;
use super::check::check;
use super::error::MediaError;
use super::fault::PadName;
use super::graph::{connected, shortest_path};
use super::node_format::NodeFormat;
use super::search::Search;
use super::topology::{Entity, Id, Link, Pad, Topology};
use crate::model::{Extent, Fourcc};
use crate::text::printable;

/// The size and formats of the frames for which a pipeline is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineRequest {
    /// The size of the frames in pixels; `None` for the size of the sensor.
    pub extent: Option<Extent>,
    /// The formats of the frames, the best first.
    pub formats: Vec<Fourcc>,
}

/// Something that the setup of a pipeline changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PipelineChange {
    /// A link was enabled or disabled.
    Link {
        /// The pad at which the link begins.
        source: PadName,
        /// The pad at which the link ends.
        sink: PadName,
        /// Whether the link is enabled after the change.
        enabled: bool,
    },
    /// The format of a pad was set.
    Format {
        /// The pad whose format was set.
        pad: PadName,
        /// The format before the change.
        from: BusFormat,
        /// The format after the change.
        to: BusFormat,
    },
    /// The format of a video node was set.
    Node {
        /// The entity of the node.
        entity: String,
        /// The format before the change.
        from: NodeFormat,
        /// The format after the change.
        to: NodeFormat,
    },
}

impl std::fmt::Display for PipelineChange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link {
                source,
                sink,
                enabled,
            } => {
                let verb = if *enabled { "enabled" } else { "disabled" };
                write!(out, "{verb} the link from {source} to {sink}")
            }
            Self::Format { pad, from, to } => write!(out, "set {pad} to {to}; it had {from}"),
            Self::Node { entity, from, to } => {
                write!(out, "set {} to {to}; it had {from}", printable(entity))
            }
        }
    }
}

/// Sets up the pipeline that ends at a video node, and returns what was changed.
pub(super) fn set_up(
    topology: &mut Topology,
    node: Id,
    request: &PipelineRequest,
    access: &mut impl Access,
) -> Result<Vec<PipelineChange>, MediaError> {
    let path = shortest_path(topology, node);
    let path = match path {
        Some(path) if !path.is_empty() => path,
        _ => {
            let entity = topology.entity(node).map_err(MediaError::topology)?;
            return Err(MediaError::NoPath {
                entity: entity.name.clone(),
            });
        }
    };
    let links = link_changes(topology, &path);
    let found = Search::new(topology, &path, request, access).find()?;
    let mut steps: Vec<Step> = found.pads.into_iter().map(Step::Pad).collect();
    steps.push(Step::Node(node, found.node));
    steps.extend(branches(topology, &path, &steps, access)?);
    let is_set = is_set(topology, &steps, access)?;
    let mut changes = Vec::new();
    if !links.is_empty() || !is_set {
        check_idle(topology, node, &path, access)?;
        for (link, is_enabled) in links {
            let (source, sink) = (name(topology, link.source)?, name(topology, link.sink)?);
            access
                .enable(link, is_enabled)
                .map_err(|error| match error {
                    MediaError::BusyPart { operation, .. } => MediaError::BusyPart {
                        operation,
                        what: format!("the link from {source} to {sink}"),
                    },
                    error => error,
                })?;
            topology.set_enabled(link, is_enabled);
            changes.push(PipelineChange::Link {
                source,
                sink,
                enabled: is_enabled,
            });
        }
        for step in steps {
            changes.extend(apply(topology, step, access)?);
        }
    }
    match check(topology, node, access)? {
        None => Ok(changes),
        Some(fault) => Err(MediaError::Incomplete {
            fault: Box::new(fault),
        }),
    }
}

/// A step of the setup: the format to set on a pad or on a video node.
#[derive(Clone, Copy, Debug)]
enum Step {
    Pad((Pad, BusFormat)),
    Node(Id, NodeFormat),
}

/// Returns the links to change, and whether each is to be enabled. The links of the path are enabled. Other links at the pads of
/// the path are disabled, because they would bring other pictures or require the same format; they are first in the list.
fn link_changes(topology: &Topology, path: &[Link]) -> Vec<(Link, bool)> {
    let others = path.iter().flat_map(|link| {
        let others = [
            topology.links_to(link.sink),
            topology.links_from(link.source),
        ];
        others.into_iter().flatten()
    });
    let mut changes: Vec<(Link, bool)> = Vec::new();
    for other in others.filter(|other| other.is_enabled && !other.is_immutable) {
        if !path.contains(&other) && !changes.contains(&(other, false)) {
            changes.push((other, false));
        }
    }
    let disabled = path.iter().filter(|link| !link.is_enabled);
    changes.extend(disabled.map(|link| (*link, true)));
    changes
}

/// Returns the formats to set at the sink pads of enabled immutable links that leave the path. The kernel checks these links too.
fn branches(
    topology: &Topology,
    path: &[Link],
    steps: &[Step],
    access: &mut impl Access,
) -> Result<Vec<Step>, MediaError> {
    let mut more = Vec::new();
    for link in path {
        let format = steps.iter().find_map(|step| match step {
            Step::Pad((pad, format)) if pad.id == link.source.id => Some(*format),
            _ => None,
        });
        let Some(format) = format else { continue };
        let leaving = topology.links_from(link.source).into_iter();
        for branch in leaving.filter(|other| other.is_immutable && other.is_enabled) {
            if path.contains(&branch) {
                continue;
            }
            let sink = entity(topology, branch.sink)?;
            if !sink.is_video_node() {
                more.push(Step::Pad((branch.sink, format)));
                continue;
            }
            let Some(present) = access.node_format(sink)? else {
                continue;
            };
            let possible = access.pixel_formats(sink, format.code)?;
            let kept = Some(present.pixel_format).filter(|format| possible.contains(format));
            let pixel_format = kept.or(possible.first().copied());
            if let (Some(pixel_format), Ok(extent)) = (pixel_format, format.extent()) {
                more.push(Step::Node(
                    sink.id,
                    NodeFormat {
                        extent,
                        pixel_format,
                    },
                ));
            }
        }
    }
    Ok(more)
}

fn is_set(
    topology: &Topology,
    steps: &[Step],
    access: &mut impl Access,
) -> Result<bool, MediaError> {
    for step in steps {
        let is_set = match step {
            Step::Pad((pad, format)) => {
                access.pad_format(entity(topology, *pad)?, *pad)? == Some(*format)
            }
            Step::Node(node, format) => {
                let node = topology.entity(*node).map_err(MediaError::topology)?;
                access.node_format(node)? == Some(*format)
            }
        };
        if !is_set {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns an error if another open file streams from a video node that is connected to `node` or to an entity of `path`.
fn check_idle(
    topology: &Topology,
    node: Id,
    path: &[Link],
    access: &mut impl Access,
) -> Result<(), MediaError> {
    let mut concerned = connected(topology, node);
    for link in path {
        concerned.extend(connected(topology, link.source.entity));
    }
    for id in concerned {
        let entity = topology.entity(id).map_err(MediaError::topology)?;
        if entity.is_video_node() && entity.node.is_some() && access.is_busy(entity)? {
            let device = access.node_path(entity)?;
            return Err(MediaError::Busy { device });
        }
    }
    Ok(())
}

/// Sets a format if the current format is different. The current format is read immediately before, because an earlier step may
/// have changed it.
fn apply(
    topology: &Topology,
    step: Step,
    access: &mut impl Access,
) -> Result<Option<PipelineChange>, MediaError> {
    match step {
        Step::Pad((pad, to)) => {
            let owner = entity(topology, pad)?;
            let from = access.pad_format(owner, pad)?;
            let Some(from) = from.filter(|from| *from != to) else {
                return Ok(None);
            };
            let set = access.set_pad_format(owner, pad, Which::Active, to)?;
            let pad = name(topology, pad)?;
            if !set.is_valid_for(to) {
                return Err(MediaError::Refused {
                    pad,
                    wanted: to,
                    set,
                });
            }
            Ok(Some(PipelineChange::Format { pad, from, to }))
        }
        Step::Node(node, to) => {
            let owner = topology.entity(node).map_err(MediaError::topology)?;
            let from = access.node_format(owner)?;
            let Some(from) = from.filter(|from| *from != to) else {
                return Ok(None);
            };
            let to = access.set_node_format(owner, to)?;
            let entity = owner.name.clone();
            Ok(Some(PipelineChange::Node { entity, from, to }))
        }
    }
}

fn entity(topology: &Topology, pad: Pad) -> Result<&Entity, MediaError> {
    topology.entity(pad.entity).map_err(MediaError::topology)
}

fn name(topology: &Topology, pad: Pad) -> Result<PadName, MediaError> {
    PadName::of(topology, pad).map_err(MediaError::topology)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{BAYER, Graph, RAW, RGB3, Simulated, vimc};
    use super::*;

    fn run(
        graph: &Graph,
        device: &mut Simulated,
        node: &str,
        request: &PipelineRequest,
    ) -> Result<Vec<String>, MediaError> {
        let changes = set_up(&mut graph.topology(), graph.id(node), request, device)?;
        Ok(changes.iter().map(ToString::to_string).collect())
    }

    fn wanted(formats: &[Fourcc]) -> PipelineRequest {
        PipelineRequest {
            extent: Some(Extent::new(320, 240).unwrap()),
            formats: formats.to_vec(),
        }
    }

    #[test]
    fn shortest_path_is_linked_and_gets_one_format() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let request = wanted(&[Fourcc::XRGB8888, Fourcc::BGR888]);
        let changes = run(&graph, &mut device, "RGB/YUV Capture", &request).unwrap();
        assert_eq!(
            changes,
            [
                "disabled the link from pad 1 of Debayer A to pad 0 of Scaler",
                "enabled the link from pad 0 of RGB/YUV Input to pad 0 of Scaler",
                "set pad 0 of RGB/YUV Input to RGB888_1X24 320x240; it had RGB888_1X24 640x480",
                "set pad 0 of Scaler to RGB888_1X24 320x240; it had RGB888_1X24 640x480",
                "set pad 1 of Scaler to RGB888_1X24 320x240; it had RGB888_1X24 640x480",
                "set RGB/YUV Capture to RGB3 320x240; it had RGB3 640x480",
            ]
        );
        assert_eq!(device.calls.len(), changes.len());
    }

    #[test]
    fn pipeline_that_is_whole_is_left_as_it_is() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let mut topology = graph.topology();
        let node = graph.id("RGB/YUV Capture");
        let request = wanted(&[Fourcc::BGR888]);
        set_up(&mut topology, node, &request, &mut device).unwrap();
        device.calls.clear();
        // Nothing is set, so that another program may stream meanwhile.
        device.busy = vec![node];
        let changes = set_up(&mut topology, node, &request, &mut device).unwrap();
        assert_eq!((changes, device.calls), (Vec::new(), Vec::new()));
    }

    #[test]
    fn pipeline_that_streams_for_another_process_is_not_touched() {
        let graph = vimc();
        for busy in ["RGB/YUV Capture", "Raw Capture 0"] {
            let mut device = Simulated::vimc(&graph);
            device.busy = vec![graph.id(busy)];
            let request = wanted(&[Fourcc::BGR888]);
            let error = run(&graph, &mut device, "RGB/YUV Capture", &request).unwrap_err();
            assert!(matches!(error, MediaError::Busy { .. }), "{busy}: {error}");
            assert_eq!(device.calls, Vec::<String>::new());
        }
        // No link connects this node.
        let mut device = Simulated::vimc(&graph);
        device.busy = vec![graph.id("Raw Capture 1")];
        let request = wanted(&[Fourcc::BGR888]);
        assert!(run(&graph, &mut device, "RGB/YUV Capture", &request).is_ok());
    }

    #[test]
    fn format_that_nothing_delivers_is_an_error_and_changes_nothing() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let request = wanted(&[Fourcc::NV12]);
        let error = run(&graph, &mut device, "RGB/YUV Capture", &request).unwrap_err();
        assert!(error.to_string().contains("RGB/YUV Input"), "{error}");
        assert!(error.to_string().contains("NV12"), "{error}");
        assert_eq!(device.calls, Vec::<String>::new());
    }

    #[test]
    fn converter_on_the_path_gets_what_it_takes_and_its_branch_too() {
        let mut graph = vimc();
        let input = graph.pad_id(("RGB/YUV Input", 0));
        graph.arrays.links.retain(|link| link.source != input);
        let mut device = Simulated::vimc(&graph);
        let request = wanted(&[Fourcc::BGR888]);
        run(&graph, &mut device, "RGB/YUV Capture", &request).unwrap();
        let format = |name: &str, pad| device.formats[&(graph.id(name), pad)].code;
        assert_eq!(
            (format("Sensor A", 0), format("Debayer A", 0)),
            (BAYER, BAYER)
        );
        let node = |name: &str| device.nodes[&graph.id(name)].pixel_format;
        assert_eq!(
            (node("Raw Capture 0"), node("RGB/YUV Capture")),
            (RAW, RGB3)
        );
    }

    #[test]
    fn node_that_no_sensor_reaches_is_an_error() {
        let mut graph = Graph::default();
        graph.node("capture", (81, 0));
        let mut device = Simulated::vimc(&vimc());
        let error = run(&graph, &mut device, "capture", &wanted(&[])).unwrap_err();
        assert!(matches!(error, MediaError::NoPath { .. }), "{error}");
    }
}
