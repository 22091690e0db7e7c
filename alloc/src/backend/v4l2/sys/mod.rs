//! The V4L2 ioctls and their structures, for 64-bit and for 32-bit targets.
//!
//! An ioctl number contains the size of its structure. The sizes and alignments of pointers, `unsigned long` and 64-bit time
//! depend on the target: they are `usize` and `i64` here, and the compiler pads the structures as C does.
//!
//! On 32-bit targets C has two versions of `v4l2_buffer`: with 32-bit and with 64-bit time. This module uses 64-bit time, which
//! every kernel since Linux 5.6 supports. For a 32-bit kernel that is the native structure
//! (`drivers/media/v4l2-core/v4l2-ioctl.c`, `video_translate_cmd`), and a 64-bit kernel translates the structure of a 32-bit
//! program (`v4l2-compat-ioctl32.c`, `VIDIOC_QBUF32`). 32-bit time would need a kernel with CONFIG_COMPAT_32BIT_TIME.
#![allow(
    unsafe_code,
    reason = "ioctls; every structure is laid out as in linux/videodev2.h, which the tests check"
)]

use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

mod requests;

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
pub(super) use requests::REQUESTS;
pub(super) use requests::{
    create_buffers, dequeue_buffer, enumerate_format, enumerate_frame_interval,
    enumerate_frame_size, export_buffer, get_control, get_format, get_selection, query_capability,
    query_control, query_menu, queue_buffer, request_buffers, set_control, set_format,
    set_parameters, set_selection, stream_off, stream_on, take_fd, try_format,
};

pub(super) const CAPTURE: u32 = 1;
pub(super) const OUTPUT: u32 = 2;
pub(super) const CAPTURE_MPLANE: u32 = 9;
pub(super) const OUTPUT_MPLANE: u32 = 10;

pub(super) const CAP_CAPTURE: u32 = 0x0000_0001;
pub(super) const CAP_OUTPUT: u32 = 0x0000_0002;
pub(super) const CAP_CAPTURE_MPLANE: u32 = 0x0000_1000;
pub(super) const CAP_OUTPUT_MPLANE: u32 = 0x0000_2000;
pub(super) const CAP_M2M_MPLANE: u32 = 0x0000_4000;
pub(super) const CAP_M2M: u32 = 0x0000_8000;
/// The inputs and outputs of the node are set up through a media device.
pub(super) const CAP_IO_MC: u32 = 0x2000_0000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

pub(super) const MEMORY_MMAP: u32 = 1;
pub(super) const MEMORY_DMABUF: u32 = 4;

pub(super) const BUF_FLAG_ERROR: u32 = 0x0000_0040;
pub(super) const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
pub(super) const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;

pub(super) const FMT_FLAG_COMPRESSED: u32 = 1;
pub(super) const FMT_FLAG_EMULATED: u32 = 2;

/// The rectangle of a buffer that an output queue reads.
pub(super) const SELECTION_CROP: u32 = 0x0000;
/// The rectangle of a buffer that a capture queue writes.
pub(super) const SELECTION_COMPOSE: u32 = 0x0100;

pub(super) const FIELD_NONE: u32 = 1;
pub(super) const FRAME_TYPE_DISCRETE: u32 = 1;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixel_format: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Pix {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    pub(super) colorspace: u32,
    pub(super) private: u32,
    pub(super) flags: u32,
    pub(super) encoding: u32,
    pub(super) quantization: u32,
    pub(super) transfer: u32,
}

/// `struct v4l2_plane_pix_format`.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub(super) struct PlanePix {
    pub(super) size_image: u32,
    pub(super) bytes_per_line: u32,
    pub(super) reserved: [u16; 6],
}

/// `struct v4l2_pix_format_mplane`.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub(super) struct PixMultiplanar {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) planes: [PlanePix; 8],
    pub(super) plane_count: u8,
    pub(super) flags: u8,
    pub(super) encoding: u8,
    pub(super) quantization: u8,
    pub(super) transfer: u8,
    pub(super) reserved: [u8; 7],
}

/// The union in `struct v4l2_format`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union FormatUnion {
    pub(super) pix: Pix,
    pub(super) multiplanar: PixMultiplanar,
    raw: [u8; 200],
    // v4l2_window holds pointers, which set the alignment of the union: 8 bytes on 64-bit targets, 4 on 32-bit ones.
    window_pointers: [usize; 2],
}

/// `struct v4l2_format`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) kind: u32,
    pub(super) union: FormatUnion,
}

impl Format {
    pub(super) fn empty(kind: u32) -> Self {
        Self {
            kind,
            union: FormatUnion { raw: [0; 200] },
        }
    }

    pub(super) fn of_pix(kind: u32, pix: Pix) -> Self {
        let mut format = Self::empty(kind);
        format.union.pix = pix;
        format
    }

    pub(super) fn of_multiplanar(kind: u32, multiplanar: PixMultiplanar) -> Self {
        let mut format = Self::empty(kind);
        format.union.multiplanar = multiplanar;
        format
    }

    pub(super) fn pix(&self) -> Pix {
        // SAFETY: every member is plain integers, for which any bytes are valid; all 200 bytes are initialised.
        unsafe { self.union.pix }
    }

    pub(super) fn multiplanar(&self) -> PixMultiplanar {
        // SAFETY: every member of the union is plain integers, for which any bytes are valid, and all its bytes are initialised.
        unsafe { self.union.multiplanar }
    }
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RequestBuffers {
    pub(super) count: u32,
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 3],
}

/// `struct v4l2_create_buffers`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CreateBuffers {
    pub(super) index: u32,
    pub(super) count: u32,
    pub(super) memory: u32,
    pub(super) format: Format,
    pub(super) capabilities: u32,
    pub(super) flags: u32,
    pub(super) max_num_buffers: u32,
    pub(super) reserved: [u32; 5],
}

impl CreateBuffers {
    pub(super) fn new(memory: u32, count: u32, format: Format) -> Self {
        Self {
            index: 0,
            count,
            memory,
            format,
            capabilities: 0,
            flags: 0,
            max_num_buffers: 0,
            reserved: [0; 5],
        }
    }
}

/// The union in `struct v4l2_plane` and `struct v4l2_buffer` that locates the memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Memory {
    fd: RawFd,
    // `unsigned long userptr`, or the address of the planes.
    address: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { address: 0 }
    }
}

impl Memory {
    /// A dma-buf, by its file descriptor.
    pub(super) fn of_fd(fd: BorrowedFd<'_>) -> Self {
        let mut memory = Self::default();
        memory.fd = fd.as_raw_fd();
        memory
    }
}

/// `struct v4l2_plane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Plane {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// The fd of a dma-buf. For MMAP buffers the kernel writes an mmap offset here, which is not used.
    pub(super) memory: Memory,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_buffer` with 64-bit time.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) seconds: i64,
    pub(super) microseconds: i64,
    pub(super) timecode: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// The fd of a dma-buf, or the address of the planes; not used for MMAP, where the index identifies the buffer.
    pub(super) union: Memory,
    pub(super) length: u32,
    pub(super) reserved: u32,
    pub(super) request: RawFd,
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ControlValue {
    pub(super) id: u32,
    pub(super) value: i32,
}

/// `struct v4l2_queryctrl`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ControlDescription {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) name: [u8; 32],
    pub(super) minimum: i32,
    pub(super) maximum: i32,
    pub(super) step: i32,
    pub(super) default: i32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_querymenu`. For an integer menu, the first eight bytes of the name are a 64-bit integer in native byte order.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub(super) struct MenuEntry {
    pub(super) id: u32,
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) reserved: u32,
}

pub(super) const CTRL_TYPE_INTEGER: u32 = 1;
pub(super) const CTRL_TYPE_BOOLEAN: u32 = 2;
pub(super) const CTRL_TYPE_MENU: u32 = 3;
pub(super) const CTRL_TYPE_BUTTON: u32 = 4;
pub(super) const CTRL_TYPE_BITMASK: u32 = 8;
pub(super) const CTRL_TYPE_INTEGER_MENU: u32 = 9;

pub(super) const CTRL_FLAG_DISABLED: u32 = 0x0001;
pub(super) const CTRL_FLAG_GRABBED: u32 = 0x0002;
pub(super) const CTRL_FLAG_READ_ONLY: u32 = 0x0004;
pub(super) const CTRL_FLAG_INACTIVE: u32 = 0x0010;
pub(super) const CTRL_FLAG_WRITE_ONLY: u32 = 0x0040;
/// V4L2_CTRL_FLAG_NEXT_CTRL: VIDIOC_QUERYCTRL with this bit in the id returns the control with the next larger id.
pub(super) const CTRL_FLAG_NEXT: u32 = 0x8000_0000;

pub(super) const MIN_BUFFERS_FOR_CAPTURE: u32 = 0x0098_0927;
pub(super) const MIN_BUFFERS_FOR_OUTPUT: u32 = 0x0098_0928;

/// `struct v4l2_exportbuffer`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ExportBuffer {
    pub(super) kind: u32,
    pub(super) index: u32,
    pub(super) plane: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_rect`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// `struct v4l2_selection`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Selection {
    pub(super) kind: u32,
    pub(super) target: u32,
    pub(super) flags: u32,
    pub(super) rectangle: Rect,
    pub(super) reserved: [u32; 9],
}

/// `struct v4l2_fract`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Fraction {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

/// `struct v4l2_frmsizeenum`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FrameSize {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) kind: u32,
    /// Width and height of a discrete size; otherwise minimum, maximum and step of the width, and then those of the height.
    pub(super) numbers: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FrameInterval {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    /// A discrete interval in seconds; otherwise minimum, maximum and step.
    pub(super) intervals: [Fraction; 3],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_streamparm`, with the fields that the capture and output parameters have in common.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) capability: u32,
    pub(super) mode: u32,
    /// The frame interval in seconds.
    pub(super) interval: Fraction,
    pub(super) rest: [u32; 46],
}

impl StreamParameters {
    pub(super) fn empty(kind: u32) -> Self {
        Self {
            kind,
            capability: 0,
            mode: 0,
            interval: Fraction::default(),
            rest: [0; 46],
        }
    }
}

/// The compilation fails if the size of a structure differs from the kernel's headers. The values are those of tests/abi: the
/// first value for 64-bit targets, the second for armv7. Other 32-bit targets, where C can align 64-bit time differently, are not
/// checked.
#[cfg(any(target_pointer_width = "64", target_arch = "arm"))]
const _: () = {
    const fn either(wide: usize, narrow: usize) -> usize {
        if cfg!(target_pointer_width = "64") {
            wide
        } else {
            narrow
        }
    }
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FormatDescription>() == 64);
    assert!(size_of::<Pix>() == 48);
    assert!(size_of::<PlanePix>() == 20);
    assert!(size_of::<PixMultiplanar>() == 192);
    assert!(size_of::<Format>() == either(208, 204));
    assert!(offset_of!(Format, union) == either(8, 4));
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<CreateBuffers>() == either(256, 248));
    assert!(offset_of!(CreateBuffers, format) == either(16, 12));
    assert!(offset_of!(CreateBuffers, capabilities) == either(224, 216));
    assert!(size_of::<Plane>() == either(64, 60));
    assert!(offset_of!(Plane, memory) == 8);
    assert!(offset_of!(Plane, data_offset) == either(16, 12));
    assert!(size_of::<Buffer>() == either(88, 80));
    assert!(offset_of!(Buffer, seconds) == 24);
    assert!(offset_of!(Buffer, microseconds) == 32);
    assert!(offset_of!(Buffer, union) == 64);
    assert!(offset_of!(Buffer, length) == either(72, 68));
    assert!(offset_of!(Buffer, request) == either(80, 76));
    assert!(size_of::<ControlDescription>() == 68);
    assert!(size_of::<MenuEntry>() == 44);
    assert!(size_of::<ExportBuffer>() == 64);
    assert!(size_of::<Rect>() == 16);
    assert!(size_of::<Selection>() == 64);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<FrameInterval>() == 52);
    assert!(size_of::<StreamParameters>() == 204);
};
