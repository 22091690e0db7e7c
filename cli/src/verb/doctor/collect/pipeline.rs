//! Reads the pipelines of media-controller cameras.

use std::path::Path;

use covalent_alloc::backend::v4l2::{Device, MediaDevice};

use super::super::snapshot::{Node, NodeKind, PipelineInfo};

/// The maximum number of entities of a pipeline that are kept, so that a recording stays small.
const MAXIMUM_ENTITIES: usize = 64;

/// Returns the pipelines of the media-controller cameras whose nodes can be opened.
pub(super) fn pipelines(nodes: &[Node]) -> Vec<PipelineInfo> {
    let usable = nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Video && node.is_usable());
    usable.filter_map(|node| pipeline(&node.path)).collect()
}

/// Returns the pipeline of a video node; `None` if its driver sets it up.
fn pipeline(node: &str) -> Option<PipelineInfo> {
    let device = Device::open(Path::new(node)).ok()?;
    let mut info = PipelineInfo {
        node: node.to_owned(),
        media: String::new(),
        driver: device.driver().to_owned(),
        entities: Vec::new(),
        fault: None,
        error: None,
    };
    let media = match MediaDevice::of(&device) {
        Ok(media) => media?,
        Err(error) => {
            info.error = Some(error.to_string());
            return Some(info);
        }
    };
    info.media = media.path().display().to_string();
    match media.report() {
        Ok(mut report) => {
            report.entities.truncate(MAXIMUM_ENTITIES);
            info.entities = report.entities;
            info.fault = report.fault.map(|fault| fault.to_string());
        }
        Err(error) => info.error = Some(error.to_string()),
    }
    Some(info)
}
