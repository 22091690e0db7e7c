//! The V4L2 ioctls.

use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{self, Getter, Opcode, Setter, Updater, opcode};

use super::{
    Buffer, Capability, ControlDescription, ControlValue, CreateBuffers, ExportBuffer, Format,
    FormatDescription, FrameInterval, FrameSize, Memory, MenuEntry, Plane, RequestBuffers,
    Selection, StreamParameters,
};

/// A structure that the kernel reads and writes.
trait Request: Copy {}
impl Request for FormatDescription {}
impl Request for Format {}
impl Request for RequestBuffers {}
impl Request for CreateBuffers {}
impl Request for ControlValue {}
impl Request for ControlDescription {}
impl Request for MenuEntry {}
impl Request for ExportBuffer {}
impl Request for FrameSize {}
impl Request for FrameInterval {}
impl Request for StreamParameters {}
impl Request for Selection {}

/// Calls an ioctl whose structure the kernel reads and writes. Restarts it on EINTR.
fn update<const OPCODE: Opcode, T: Request>(fd: BorrowedFd<'_>, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: `T` is the structure of this opcode, consists of integers only, and lives through the call; no structure
        // that is passed here has pointers.
        match unsafe { ioctl::ioctl(fd, Updater::<OPCODE, T>::new(value)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

const QUERY_CAPABILITY: Opcode = opcode::read::<Capability>(b'V', 0);
const QUEUE_BUFFER: Opcode = opcode::read_write::<Buffer>(b'V', 15);
const DEQUEUE_BUFFER: Opcode = opcode::read_write::<Buffer>(b'V', 17);
const STREAM_ON: Opcode = opcode::write::<u32>(b'V', 18);
const STREAM_OFF: Opcode = opcode::write::<u32>(b'V', 19);

/// The ioctl numbers of this module, with their names in `tests/abi`.
#[cfg(test)]
pub(in crate::backend::v4l2) const REQUESTS: [(&str, Opcode); 21] = [
    ("request VIDIOC_QUERYCAP", QUERY_CAPABILITY),
    ("request VIDIOC_ENUM_FMT", enumerate_format::OPCODE),
    ("request VIDIOC_G_FMT", get_format::OPCODE),
    ("request VIDIOC_S_FMT", set_format::OPCODE),
    ("request VIDIOC_REQBUFS", request_buffers::OPCODE),
    ("request VIDIOC_QBUF", QUEUE_BUFFER),
    ("request VIDIOC_EXPBUF", export_buffer::OPCODE),
    ("request VIDIOC_DQBUF", DEQUEUE_BUFFER),
    ("request VIDIOC_STREAMON", STREAM_ON),
    ("request VIDIOC_STREAMOFF", STREAM_OFF),
    ("request VIDIOC_S_PARM", set_parameters::OPCODE),
    ("request VIDIOC_G_CTRL", get_control::OPCODE),
    ("request VIDIOC_S_CTRL", set_control::OPCODE),
    ("request VIDIOC_QUERYCTRL", query_control::OPCODE),
    ("request VIDIOC_QUERYMENU", query_menu::OPCODE),
    ("request VIDIOC_TRY_FMT", try_format::OPCODE),
    (
        "request VIDIOC_ENUM_FRAMESIZES",
        enumerate_frame_size::OPCODE,
    ),
    (
        "request VIDIOC_ENUM_FRAMEINTERVALS",
        enumerate_frame_interval::OPCODE,
    ),
    ("request VIDIOC_CREATE_BUFS", create_buffers::OPCODE),
    ("request VIDIOC_G_SELECTION", get_selection::OPCODE),
    ("request VIDIOC_S_SELECTION", set_selection::OPCODE),
];

pub(in crate::backend::v4l2) fn query_capability(fd: BorrowedFd<'_>) -> io::Result<Capability> {
    loop {
        // SAFETY: the kernel writes the whole structure, which consists of integers only.
        match unsafe { ioctl::ioctl(fd, Getter::<QUERY_CAPABILITY, Capability>::new()) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

macro_rules! updates {
    ($($name:ident: $structure:ident = $number:literal, $what:literal;)*) => {$(
        mod $name {
            pub(super) const OPCODE: super::Opcode =
                super::opcode::read_write::<super::$structure>(b'V', $number);
        }

        #[doc = $what]
        pub(in crate::backend::v4l2) fn $name(fd: BorrowedFd<'_>, value: &mut $structure) -> io::Result<()> {
            update::<{ $name::OPCODE }, $structure>(fd, value)
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
    get_control: ControlValue = 27, "VIDIOC_G_CTRL";
    set_control: ControlValue = 28, "VIDIOC_S_CTRL";
    query_control: ControlDescription = 36, "VIDIOC_QUERYCTRL";
    query_menu: MenuEntry = 37, "VIDIOC_QUERYMENU";
    try_format: Format = 64, "VIDIOC_TRY_FMT";
    enumerate_frame_size: FrameSize = 74, "VIDIOC_ENUM_FRAMESIZES";
    enumerate_frame_interval: FrameInterval = 75, "VIDIOC_ENUM_FRAMEINTERVALS";
    create_buffers: CreateBuffers = 92, "VIDIOC_CREATE_BUFS";
    get_selection: Selection = 94, "VIDIOC_G_SELECTION";
    set_selection: Selection = 95, "VIDIOC_S_SELECTION";
}

/// Calls VIDIOC_QBUF or VIDIOC_DQBUF. For a multi-planar buffer the structure points to `planes`.
fn buffer<const OPCODE: Opcode>(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    if let Some(planes) = planes {
        value.union = Memory {
            address: planes.as_mut_ptr().expose_provenance(),
        };
        value.length = value.length.min(8);
    }
    loop {
        // SAFETY: the structure is the one that the opcode takes. For a multi-planar queue `union` is the address of eight planes
        // that live through the call, and `length` is at most eight; for a single-planar queue `union` is an fd or unused.
        match unsafe { ioctl::ioctl(fd, Updater::<OPCODE, Buffer>::new(value)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(in crate::backend::v4l2) fn queue_buffer(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    buffer::<QUEUE_BUFFER>(fd, value, planes)
}

pub(in crate::backend::v4l2) fn dequeue_buffer(
    fd: BorrowedFd<'_>,
    value: &mut Buffer,
    planes: Option<&mut [Plane; 8]>,
) -> io::Result<()> {
    buffer::<DEQUEUE_BUFFER>(fd, value, planes)
}

/// Calls VIDIOC_STREAMON or VIDIOC_STREAMOFF. Restarts it on EINTR, which a signal causes while the call waits for the driver's
/// lock.
fn switch<const OPCODE: Opcode>(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    loop {
        // SAFETY: the ioctl reads one int.
        match unsafe { ioctl::ioctl(fd, Setter::<OPCODE, u32>::new(kind)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(in crate::backend::v4l2) fn stream_on(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    switch::<STREAM_ON>(fd, kind)
}

pub(in crate::backend::v4l2) fn stream_off(fd: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
    switch::<STREAM_OFF>(fd, kind)
}

/// Takes ownership of the fd that VIDIOC_EXPBUF returned. The caller has set the field to -1 before the ioctl, so a driver that
/// returns no fd gives an error.
pub(in crate::backend::v4l2) fn take_fd(fd: i32) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    if fd < 0 {
        return Err(io::Errno::BADF);
    }
    // SAFETY: the kernel created this fd for the ioctl that just succeeded, and no other value owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}
