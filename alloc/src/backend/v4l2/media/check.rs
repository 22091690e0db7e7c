//! Checks a pipeline as the kernel does when a stream starts, and finds the pad that fails.
//!
//! # References
//! Linux, `drivers/media/mc/mc-entity.c`, `__media_pipeline_start`.

use std::collections::{BTreeSet, VecDeque};

use super::access::Access;
use super::error::MediaError;
use super::fault::{PadName, PipelineFault};
use super::graph::{connected, enabled_into, shortest_path, upstream};
use super::node_format::NodeFormat;
use super::topology::{Id, Link, Pad, Topology, TopologyError};

/// Returns the first fault of the pipeline that ends at a video node. A pad that lacks an enabled link is reported first.
/// Otherwise it is the first enabled link, from the sensor to the node, whose pads have different formats, and then such a link
/// on a branch of the pipeline, because the kernel checks branches too.
pub(super) fn check(
    topology: &Topology,
    node: Id,
    access: &mut impl Access,
) -> Result<Option<PipelineFault>, MediaError> {
    if let Some(fault) = unlinked(topology, node).map_err(MediaError::topology)? {
        return Ok(Some(fault));
    }
    let path = upstream(topology, node);
    let branches = connected(topology, node)
        .into_iter()
        .flat_map(|entity| enabled_into(topology, entity));
    let branches: Vec<Link> = branches.filter(|link| !path.contains(link)).collect();
    for link in path.into_iter().chain(branches) {
        if let Some(fault) = mismatch(topology, link, access)? {
            return Ok(Some(fault));
        }
    }
    Ok(None)
}

/// Returns the fault of the pad that needs an enabled link and has none; of several such pads, the one nearest to the node.
fn unlinked(topology: &Topology, node: Id) -> Result<Option<PipelineFault>, TopologyError> {
    let mut seen = BTreeSet::from([node]);
    let mut entities = VecDeque::from([node]);
    while let Some(entity) = entities.pop_front() {
        let links = |pad: Pad| match pad.is_sink {
            true => topology.links_to(pad),
            false => topology.links_from(pad),
        };
        let is_connected = |pad: &Pad| links(*pad).iter().any(|link| link.is_enabled);
        let is_open = |pad: &Pad| !links(*pad).is_empty() && !is_connected(pad);
        let sinks = || topology.pads_of(entity).filter(|pad| pad.is_sink);
        let has_input = !enabled_into(topology, entity).is_empty();
        // The kernel refuses a stream also if such a pad has no links at all.
        let needed = topology
            .pads_of(entity)
            .find(|pad| pad.must_connect && !is_connected(pad));
        // An entity with several sink pads, such as a multiplexer, needs an enabled link at one of them.
        let unconnected = sinks().find(is_open).filter(|_| !has_input);
        // A video node without links at all has no pipeline.
        let alone = sinks().find(|_| entity == node && !has_input);
        if let Some(pad) = needed.or(unconnected).or(alone) {
            let others = || links(pad).into_iter().filter(|link| !link.is_immutable);
            let wanted = shortest_path(topology, node).unwrap_or_default();
            let other = others()
                .find(|link| wanted.contains(link))
                .or_else(|| others().next());
            let other = other.map(|link| match pad.is_sink {
                true => link.source,
                false => link.sink,
            });
            return Ok(Some(PipelineFault::Unlinked {
                pad: PadName::of(topology, pad)?,
                is_source: !pad.is_sink,
                other: other
                    .map(|other| PadName::of(topology, other))
                    .transpose()?,
            }));
        }
        for link in enabled_into(topology, entity) {
            if seen.insert(link.source.entity) {
                entities.push_back(link.source.entity);
            }
        }
    }
    Ok(None)
}

/// Compares the formats of the two pads of a link. A pad whose format cannot be read is not compared; its driver checks it.
fn mismatch(
    topology: &Topology,
    link: Link,
    access: &mut impl Access,
) -> Result<Option<PipelineFault>, MediaError> {
    let entity = |pad: Pad| topology.entity(pad.entity).map_err(MediaError::topology);
    let name = |pad: Pad| PadName::of(topology, pad).map_err(MediaError::topology);
    let (source, sink) = (entity(link.source)?, entity(link.sink)?);
    if source.is_video_node() {
        return Ok(None);
    }
    let Some(source_format) = access.pad_format(source, link.source)? else {
        return Ok(None);
    };
    if !sink.is_video_node() {
        let sink_format = access.pad_format(sink, link.sink)?;
        let wrong = sink_format.filter(|sink| !source_format.is_valid_for(*sink));
        return wrong
            .map(|sink_format| {
                Ok(PipelineFault::Mismatch {
                    source: name(link.source)?,
                    source_format,
                    sink: name(link.sink)?,
                    sink_format,
                })
            })
            .transpose();
    }
    let Some(node_format) = access.node_format(sink)? else {
        return Ok(None);
    };
    let possible = access.pixel_formats(sink, source_format.code)?;
    let extent = source_format.extent();
    if extent.as_ref() == Ok(&node_format.extent) && possible.contains(&node_format.pixel_format) {
        return Ok(None);
    }
    let present = Some(node_format.pixel_format).filter(|format| possible.contains(format));
    let pixel_format = present.or(possible.first().copied());
    Ok(Some(PipelineFault::Node {
        source: name(link.source)?,
        source_format,
        sink: name(link.sink)?,
        node: access.node_path(sink)?,
        node_format,
        possible: pixel_format
            .zip(extent.ok())
            .map(|(pixel_format, extent)| NodeFormat {
                extent,
                pixel_format,
            }),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::bus_format::BusFormat;
    use super::super::fixture::{BAYER, BGR, Graph, RAW, RGB, Simulated, vimc};
    use super::*;
    use crate::model::Extent;

    fn fault(graph: &Graph, device: &mut Simulated, node: &str) -> Option<String> {
        let fault = check(&graph.topology(), graph.id(node), device).unwrap();
        fault.map(|fault| fault.to_string())
    }

    fn size() -> Extent {
        Extent::new(640, 480).unwrap()
    }

    #[test]
    fn vimc_as_it_is_loaded_fails_between_its_sensor_and_its_debayer() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let found = fault(&graph, &mut device, "RGB/YUV Capture").unwrap();
        assert!(
            found.contains("pad 0 of Sensor A has RGB888_1X24"),
            "{found}"
        );
        assert!(
            found.contains("pad 0 of Debayer A, to which it is linked, has SRGGB8_1X8"),
            "{found}"
        );
        // The kernel checks branches of the pipeline too.
        let branch = fault(&graph, &mut device, "Raw Capture 0").unwrap();
        assert!(branch.contains("pad 0 of Debayer A"), "{branch}");
    }

    #[test]
    fn whole_pipeline_with_its_branches_has_no_fault() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let sensor = (graph.id("Sensor A"), 0);
        device.formats.insert(sensor, BusFormat::new(size(), BAYER));
        let found = fault(&graph, &mut device, "RGB/YUV Capture").unwrap();
        assert!(
            found.contains("Raw Capture 0") && found.ends_with("set to RGB3 640x480"),
            "{found}"
        );
        let raw = device.nodes.get_mut(&graph.id("Raw Capture 0")).unwrap();
        raw.pixel_format = RAW;
        assert_eq!(fault(&graph, &mut device, "RGB/YUV Capture"), None);
    }

    #[test]
    fn pad_without_an_enabled_link_is_named_with_the_link_to_enable() {
        let mut graph = vimc();
        let (scaler, debayer) = (graph.pad_id(("Scaler", 0)), graph.pad_id(("Debayer A", 1)));
        for link in &mut graph.arrays.links {
            if (link.source, link.sink) == (debayer, scaler) {
                link.flags = 0;
            }
        }
        let mut device = Simulated::vimc(&graph);
        assert_eq!(
            fault(&graph, &mut device, "RGB/YUV Capture").as_deref(),
            Some(
                "pad 0 of Scaler has no enabled link; the link from pad 0 of RGB/YUV Input is disabled"
            )
        );
    }

    #[test]
    fn video_node_without_links_has_no_enabled_link() {
        let mut graph = Graph::default();
        graph.node("capture", (81, 0));
        let mut device = Simulated::vimc(&vimc());
        let found = fault(&graph, &mut device, "capture");
        assert_eq!(
            found.as_deref(),
            Some("pad 0 of capture has no enabled link")
        );
    }

    #[test]
    fn pad_that_must_be_connected_is_named_even_if_another_sink_pad_is_connected() {
        let mut graph = Graph::default();
        graph.sensor("sensor");
        graph.sensor("other");
        graph.subdevice("mixer", &[true, true, false]);
        graph.node("capture", (81, 0));
        graph.link(("sensor", 0), ("mixer", 0), true);
        graph.link(("other", 0), ("mixer", 1), false);
        graph.link(("mixer", 2), ("capture", 0), true);
        assert_eq!(unlinked(&graph.topology(), graph.id("capture")), Ok(None));
        let pad = graph.pad_id(("mixer", 1));
        let pad = graph.arrays.pads.iter_mut().find(|found| found.id == pad);
        pad.unwrap().flags |= 4;
        let found = unlinked(&graph.topology(), graph.id("capture"))
            .unwrap()
            .unwrap();
        assert_eq!(
            found.to_string(),
            "pad 1 of mixer has no enabled link; the link from pad 0 of other is disabled"
        );
        let other = graph.pad_id(("other", 0));
        graph.arrays.links.retain(|link| link.source != other);
        let found = unlinked(&graph.topology(), graph.id("capture"))
            .unwrap()
            .unwrap();
        assert_eq!(found.to_string(), "pad 1 of mixer has no enabled link");
    }

    #[test]
    fn node_is_compared_by_size_and_by_what_the_code_can_become() {
        let graph = vimc();
        let mut device = Simulated::vimc(&graph);
        let sensor = (graph.id("Sensor A"), 0);
        device.formats.insert(sensor, BusFormat::new(size(), BAYER));
        let scaler = (graph.id("Scaler"), 1);
        device.formats.insert(scaler, BusFormat::new(size(), BGR));
        let found = fault(&graph, &mut device, "RGB/YUV Capture").unwrap();
        assert!(found.contains("pad 1 of Scaler has BGR888_1X24"), "{found}");
        let small = Extent::new(320, 240).unwrap();
        device.formats.insert(scaler, BusFormat::new(small, RGB));
        let found = fault(&graph, &mut device, "RGB/YUV Capture").unwrap();
        assert!(
            found.contains("320x240") && found.contains("640x480"),
            "{found}"
        );
    }
}
