//! Lists the structures of `sys`, for the comparison with the kernel's headers in `v4l2/layout.rs`.

use super::sys::*;
use crate::abi::{Entry, layouts};

/// Returns the sizes, offsets and ioctl numbers, with their names in the headers.
pub(in crate::backend::v4l2) fn entries() -> Vec<Entry> {
    let mut ours: Vec<Entry> = layouts! {
        DeviceInfo => "media_device_info" {
            model => "model", serial => "serial", bus_info => "bus_info", media_version => "media_version",
            hardware_revision => "hw_revision", driver_version => "driver_version", reserved => "reserved",
        }
        Entity => "media_v2_entity" {
            name => "name", function => "function", flags => "flags", reserved => "reserved",
        }
        Interface => "media_v2_interface" {
            kind => "intf_type", flags => "flags", reserved => "reserved", major => "devnode.major",
            minor => "devnode.minor",
        }
        Pad => "media_v2_pad" {
            entity => "entity_id", flags => "flags", index => "index", reserved => "reserved",
        }
        Link => "media_v2_link" {
            source => "source_id", sink => "sink_id", flags => "flags", reserved => "reserved",
        }
        PadDescription => "media_pad_desc" {
            index => "index", flags => "flags", reserved => "reserved",
        }
        LinkDescription => "media_link_desc" {
            sink => "sink", flags => "flags", reserved => "reserved",
        }
        FrameFormat => "v4l2_mbus_framefmt" {
            height => "height", code => "code", field => "field", colorspace => "colorspace", encoding => "ycbcr_enc",
            quantization => "quantization", transfer => "xfer_func",
        }
        PadFormat => "v4l2_subdev_format" { pad => "pad", format => "format" }
        CodeEntry => "v4l2_subdev_mbus_code_enum" {
            index => "index", code => "code", which => "which",
        }
    };
    ours.push((
        "size media_v2_topology",
        size_of::<TopologyRequest>() as u64,
    ));
    let members = [
        (
            "offset media_v2_topology.num_entities",
            std::mem::offset_of!(TopologyRequest, entities.count),
        ),
        (
            "offset media_v2_topology.ptr_entities",
            std::mem::offset_of!(TopologyRequest, entities.address),
        ),
        (
            "offset media_v2_topology.ptr_interfaces",
            std::mem::offset_of!(TopologyRequest, interfaces.address),
        ),
        (
            "offset media_v2_topology.ptr_pads",
            std::mem::offset_of!(TopologyRequest, pads.address),
        ),
        (
            "offset media_v2_topology.ptr_links",
            std::mem::offset_of!(TopologyRequest, links.address),
        ),
    ];
    ours.extend(members.map(|(name, offset)| (name, offset as u64)));
    ours.extend(
        REQUESTS
            .iter()
            .map(|(name, request)| (*name, u64::from(*request))),
    );
    ours
}
