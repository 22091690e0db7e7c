//! Follows links: finds the entities from which a video node gets its pictures, and the entities that the kernel checks when the
//! node starts to stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::topology::{Id, Link, Pad, Topology};

/// Returns the enabled links from which a video node gets its pictures, directly or through other entities. The links nearest to
/// the sensor are first.
///
/// Each entity is visited once, so a cycle of links ends the search.
pub(super) fn upstream(topology: &Topology, node: Id) -> Vec<Link> {
    let mut links = Vec::new();
    let mut seen = BTreeSet::from([node]);
    let mut queue = VecDeque::from([node]);
    while let Some(entity) = queue.pop_front() {
        for link in enabled_into(topology, entity) {
            links.push(link);
            if seen.insert(link.source.entity) {
                queue.push_back(link.source.entity);
            }
        }
    }
    links.reverse();
    links
}

/// Returns the enabled links that end at an entity.
pub(super) fn enabled_into(topology: &Topology, entity: Id) -> Vec<Link> {
    let sinks = topology.pads_of(entity).filter(|pad| pad.is_sink);
    sinks
        .flat_map(|pad| topology.links_to(pad))
        .filter(|link| link.is_enabled)
        .collect()
}

/// Returns the entities that enabled links connect with this entity, in either direction and also through others. The kernel
/// checks all of their links when the stream starts.
///
/// # References
/// Linux, `drivers/media/mc/mc-entity.c`, `media_pipeline_populate`.
pub(super) fn connected(topology: &Topology, entity: Id) -> BTreeSet<Id> {
    let mut seen = BTreeSet::from([entity]);
    let mut queue = VecDeque::from([entity]);
    while let Some(entity) = queue.pop_front() {
        for pad in topology.pads_of(entity) {
            for link in links_of(topology, pad) {
                let other = match pad.is_sink {
                    true => link.source.entity,
                    false => link.sink.entity,
                };
                if link.is_enabled && seen.insert(other) {
                    queue.push_back(other);
                }
            }
        }
    }
    seen
}

fn links_of(topology: &Topology, pad: Pad) -> Vec<Link> {
    match pad.is_sink {
        true => topology.links_to(pad),
        false => topology.links_from(pad),
    }
}

/// Returns the shortest path from a sensor to a video node, the link of the sensor first. It consists of links that are enabled
/// or can be enabled. If no path begins at a sensor, the path begins at another entity that only has source pads, such as a
/// pattern generator. The result is `None` if there is no such path either.
pub(super) fn shortest_path(topology: &Topology, node: Id) -> Option<Vec<Link>> {
    // The link from each visited entity towards the node.
    let mut below: BTreeMap<Id, Link> = BTreeMap::new();
    let mut seen = BTreeSet::from([node]);
    let mut queue = VecDeque::from([node]);
    let mut generator = None;
    while let Some(entity) = queue.pop_front() {
        let sinks: Vec<Pad> = topology.pads_of(entity).filter(|pad| pad.is_sink).collect();
        let found = topology.entity(entity).ok()?;
        let is_start = sinks.iter().all(|pad| topology.links_to(*pad).is_empty());
        if is_start && found.is_sensor() {
            return path_from(&below, entity, node);
        }
        if is_start && !found.is_video_node() {
            generator = generator.or(Some(entity));
        }
        let links = sinks.iter().flat_map(|pad| topology.links_to(*pad));
        for link in links.filter(|link| link.is_enabled || !link.is_immutable) {
            if seen.insert(link.source.entity) {
                below.insert(link.source.entity, link);
                queue.push_back(link.source.entity);
            }
        }
    }
    path_from(&below, generator?, node)
}

fn path_from(below: &BTreeMap<Id, Link>, start: Id, node: Id) -> Option<Vec<Link>> {
    let mut path = Vec::new();
    let mut entity = start;
    while entity != node {
        let link = *below.get(&entity)?;
        path.push(link);
        entity = link.sink.entity;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Graph, names, vimc};
    use super::*;

    #[test]
    fn upstream_of_a_capture_node_begins_at_the_sensor() {
        let graph = vimc();
        let topology = graph.topology();
        let links = upstream(&topology, graph.id("RGB/YUV Capture"));
        assert_eq!(
            names(&topology, &links),
            ["Sensor A", "Debayer A", "Scaler", "RGB/YUV Capture"]
        );
    }

    #[test]
    fn stream_concerns_the_branches_of_its_pipeline() {
        let graph = vimc();
        let topology = graph.topology();
        let all = connected(&topology, graph.id("RGB/YUV Capture"));
        assert!(all.contains(&graph.id("Raw Capture 0")));
        assert!(!all.contains(&graph.id("Raw Capture 1")));
        assert!(!all.contains(&graph.id("RGB/YUV Input")));
    }

    #[test]
    fn shortest_path_to_a_sensor_is_found_through_disabled_links() {
        let graph = vimc();
        let topology = graph.topology();
        let path = shortest_path(&topology, graph.id("RGB/YUV Capture")).unwrap();
        assert_eq!(
            names(&topology, &path),
            ["RGB/YUV Input", "Scaler", "RGB/YUV Capture"]
        );
    }

    #[test]
    fn cycle_of_links_is_followed_once() {
        let mut graph = Graph::default();
        for name in ["one", "two"] {
            graph.subdevice(name, &[true, false]);
        }
        graph.node("capture", (81, 0));
        graph.link(("one", 1), ("two", 0), true);
        graph.link(("two", 1), ("one", 0), true);
        graph.link(("two", 1), ("capture", 0), true);
        let topology = graph.topology();
        let capture = graph.id("capture");
        assert_eq!(upstream(&topology, capture).len(), 3);
        assert_eq!(connected(&topology, capture).len(), 3);
        assert_eq!(shortest_path(&topology, capture), None);
    }

    #[test]
    fn link_that_is_immutable_and_disabled_is_no_path() {
        let mut graph = Graph::default();
        graph.sensor("sensor");
        graph.node("capture", (81, 0));
        graph.immutable_link(("sensor", 0), ("capture", 0), false);
        assert_eq!(shortest_path(&graph.topology(), graph.id("capture")), None);
    }
}
