//! Compares the structures of `sys` with the kernel's headers.

use super::sys::*;
use crate::abi::{self, Entry, layouts};

#[test]
fn structures_and_requests_equal_those_of_this_targets_headers() {
    let mut ours: Vec<Entry> = layouts! {
        Capability => "v4l2_capability" {
            card => "card", bus_info => "bus_info", version => "version", capabilities => "capabilities",
            device_caps => "device_caps", reserved => "reserved",
        }
        FormatDescription => "v4l2_fmtdesc" {
            kind => "type", flags => "flags", description => "description", pixel_format => "pixelformat",
            mbus_code => "mbus_code", reserved => "reserved",
        }
        Pix => "v4l2_pix_format" {
            height => "height", pixel_format => "pixelformat", field => "field", bytes_per_line => "bytesperline",
            size_image => "sizeimage", colorspace => "colorspace", private => "priv", flags => "flags",
            encoding => "ycbcr_enc", quantization => "quantization", transfer => "xfer_func",
        }
        PlanePix => "v4l2_plane_pix_format" { bytes_per_line => "bytesperline", reserved => "reserved" }
        PixMultiplanar => "v4l2_pix_format_mplane" {
            height => "height", pixel_format => "pixelformat", field => "field", colorspace => "colorspace",
            planes => "plane_fmt", plane_count => "num_planes", flags => "flags", encoding => "ycbcr_enc",
            quantization => "quantization", transfer => "xfer_func", reserved => "reserved",
        }
        Format => "v4l2_format" { union => "fmt" }
        RequestBuffers => "v4l2_requestbuffers" {
            kind => "type", memory => "memory", capabilities => "capabilities", flags => "flags", reserved => "reserved",
        }
        CreateBuffers => "v4l2_create_buffers" {
            count => "count", memory => "memory", format => "format", capabilities => "capabilities", flags => "flags",
        }
        Plane => "v4l2_plane" {
            length => "length", memory => "m", data_offset => "data_offset", reserved => "reserved",
        }
        Buffer => "v4l2_buffer" {
            kind => "type", bytes_used => "bytesused", flags => "flags", field => "field",
            seconds => "timestamp.tv_sec", microseconds => "timestamp.tv_usec", timecode => "timecode",
            sequence => "sequence", memory => "memory", union => "m", length => "length", reserved => "reserved2",
            request => "request_fd",
        }
        ControlValue => "v4l2_control" { value => "value" }
        ControlDescription => "v4l2_queryctrl" {
            kind => "type", name => "name", minimum => "minimum", maximum => "maximum", step => "step",
            default => "default_value", flags => "flags", reserved => "reserved",
        }
        MenuEntry => "v4l2_querymenu" { index => "index", name => "name", reserved => "reserved" }
        ExportBuffer => "v4l2_exportbuffer" {
            index => "index", plane => "plane", flags => "flags", fd => "fd", reserved => "reserved",
        }
        Rect => "v4l2_rect" { top => "top", width => "width", height => "height" }
        Selection => "v4l2_selection" {
            target => "target", flags => "flags", rectangle => "r", reserved => "reserved",
        }
        Fraction => "v4l2_fract" { denominator => "denominator" }
        FrameSize => "v4l2_frmsizeenum" {
            pixel_format => "pixel_format", kind => "type", numbers => "stepwise", reserved => "reserved",
        }
        FrameInterval => "v4l2_frmivalenum" {
            pixel_format => "pixel_format", width => "width", height => "height", kind => "type",
            intervals => "stepwise", reserved => "reserved",
        }
        StreamParameters => "v4l2_streamparm" {
            capability => "parm.capture.capability", mode => "parm.capture.capturemode",
            interval => "parm.capture.timeperframe",
        }
    };
    // `parm.capture` and `parm.output` have this field at the same offset, so one structure is used for both.
    ours.push((
        "offset v4l2_streamparm.parm.output.timeperframe",
        std::mem::offset_of!(StreamParameters, interval) as u64,
    ));
    ours.extend(
        REQUESTS
            .iter()
            .map(|(name, request)| (*name, u64::from(*request))),
    );
    ours.extend(super::media::entries());
    abi::assert_equals_headers(&["v4l2_", "VIDIOC_", "media_", "MEDIA_"], &ours);
}
