//! The V4L2 requests and their structures.
#![allow(
    unsafe_code,
    reason = "ioctls; every structure is laid out as in linux/videodev2.h, which the tests check"
)]

use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{self, Getter, Opcode, Setter, Updater, opcode};

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
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

pub(super) const MEMORY_MMAP: u32 = 1;
pub(super) const MEMORY_DMABUF: u32 = 4;

pub(super) const BUF_FLAG_ERROR: u32 = 0x0000_0040;
pub(super) const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
pub(super) const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;

pub(super) const FMT_FLAG_COMPRESSED: u32 = 1;
pub(super) const FMT_FLAG_EMULATED: u32 = 2;

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
    // v4l2_window holds pointers, which is what aligns the union to 8.
    align: [u64; 25],
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
        // SAFETY: as in `pix`.
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

/// `struct v4l2_plane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Plane {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// An fd in its low 32 bits for imports, an offset for MMAP.
    pub(super) memory: u64,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) padding: u32,
    pub(super) seconds: i64,
    pub(super) microseconds: i64,
    pub(super) timecode: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// An fd in its low 32 bits, an offset, or the address of the planes.
    pub(super) union: u64,
    pub(super) length: u32,
    pub(super) reserved: u32,
    pub(super) request: i32,
    pub(super) tail: u32,
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Control {
    pub(super) id: u32,
    pub(super) value: i32,
}

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
    /// Width and height, or minimum, maximum and step of width and then of height.
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
    /// The interval in seconds; or minimum, maximum and step.
    pub(super) intervals: [Fraction; 3],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_streamparm`, seen as the capture and output parameters, which agree in the fields used here.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) capability: u32,
    pub(super) mode: u32,
    /// Seconds a frame.
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

/// A request whose structure goes in and comes back.
pub(super) trait Request: Copy {}
impl Request for FormatDescription {}
impl Request for Format {}
impl Request for RequestBuffers {}
impl Request for CreateBuffers {}
impl Request for Control {}
impl Request for ExportBuffer {}
impl Request for FrameSize {}
impl Request for FrameInterval {}
impl Request for StreamParameters {}

/// Sends one request with its structure in and out.
fn update<const OPCODE: Opcode, T: Request>(fd: BorrowedFd<'_>, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: `T` is the structure of this opcode, made of integers alone, and lives through the call; no structure
        // sent here points to other memory.
        match unsafe { ioctl::ioctl(fd, Updater::<OPCODE, T>::new(value)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn query_capability(fd: BorrowedFd<'_>) -> io::Result<Capability> {
    // SAFETY: the kernel fills the whole structure, which is made of integers alone.
    unsafe {
        ioctl::ioctl(
            fd,
            Getter::<{ opcode::read::<Capability>(b'V', 0) }, Capability>::new(),
        )
    }
}

macro_rules! updates {
    ($($name:ident: $structure:ty = $number:literal, $what:literal;)*) => {$(
        #[doc = $what]
        pub(super) fn $name(fd: BorrowedFd<'_>, value: &mut $structure) -> io::Result<()> {
            update::<{ opcode::read_write::<$structure>(b'V', $number) }, $structure>(fd, value)
        }
    )*};
}

updates! {
    enumerate_format: FormatDescription = 2, "VIDIOC_ENUM_FMT";
    get_format: Format = 4, "VIDIOC_G_FMT";
    set_format: Format = 5, "VIDIOC_S_FMT";
    request_buffers: RequestBuffers = 8, "VIDIOC_REQBUFS";
    export_buffer: ExportBuffer = 16, "VIDIOC_EXPBUF";
    set_parameters: StreamParameters = 22, "VIDIOC_S_PARM";
    get_control: Control = 27, "VIDIOC_G_CTRL";
    try_format: Format = 64, "VIDIOC_TRY_FMT";
    enumerate_frame_size: FrameSize = 74, "VIDIOC_ENUM_FRAMESIZES";
    enumerate_frame_interval: FrameInterval = 75, "VIDIOC_ENUM_FRAMEINTERVALS";
    create_buffers: CreateBuffers = 92, "VIDIOC_CREATE_BUFS";
}

/// VIDIOC_QBUF and VIDIOC_DQBUF point to the planes of a multi-planar buffer, so they take them as well.
fn buffer<const OPCODE: Opcode>(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    if let Some(planes) = planes {
        value.union = planes.as_mut_ptr().expose_provenance() as u64;
        value.length = value.length.min(8);
    }
    loop {
        // SAFETY: the structure is that of the opcode. For a multi-planar queue `union` is the address of eight planes that
        // live through the call and `length` is at most eight; for a single-planar one it is an fd or unused.
        match unsafe { ioctl::ioctl(fd, Updater::<OPCODE, Buffer>::new(value)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn queue_buffer(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    buffer::<{ opcode::read_write::<Buffer>(b'V', 15) }>(fd, value, planes)
}

pub(super) fn dequeue_buffer(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    buffer::<{ opcode::read_write::<Buffer>(b'V', 17) }>(fd, value, planes)
}

pub(super) fn stream_on(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    // SAFETY: the request reads one int.
    unsafe {
        ioctl::ioctl(
            fd,
            Setter::<{ opcode::write::<u32>(b'V', 18) }, u32>::new(kind),
        )
    }
}

pub(super) fn stream_off(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    // SAFETY: the request reads one int.
    unsafe {
        ioctl::ioctl(
            fd,
            Setter::<{ opcode::write::<u32>(b'V', 19) }, u32>::new(kind),
        )
    }
}

/// Takes the fd that VIDIOC_EXPBUF has just made.
pub(super) fn take_fd(fd: i32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel installed this fd for the request that succeeded a moment ago; nobody else knows its number.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        // linux/videodev2.h on 64-bit machines; the size is part of each request's number.
        assert_eq!(size_of::<Capability>(), 104);
        assert_eq!(size_of::<FormatDescription>(), 64);
        assert_eq!(size_of::<Pix>(), 48);
        assert_eq!(size_of::<PlanePix>(), 20);
        assert_eq!(size_of::<PixMultiplanar>(), 192);
        assert_eq!(size_of::<Format>(), 208);
        assert_eq!(size_of::<RequestBuffers>(), 20);
        assert_eq!(size_of::<CreateBuffers>(), 256);
        assert_eq!(std::mem::offset_of!(CreateBuffers, format), 16);
        assert_eq!(size_of::<Plane>(), 64);
        assert_eq!(size_of::<Buffer>(), 88);
        assert_eq!(size_of::<ExportBuffer>(), 64);
        assert_eq!(size_of::<FrameSize>(), 44);
        assert_eq!(size_of::<FrameInterval>(), 52);
        assert_eq!(size_of::<StreamParameters>(), 204);
        assert_eq!(std::mem::offset_of!(Buffer, seconds), 24);
        assert_eq!(std::mem::offset_of!(Buffer, union), 64);
        assert_eq!(std::mem::offset_of!(Format, union), 8);
    }
}
