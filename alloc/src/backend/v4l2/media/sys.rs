//! The ioctls of the media controller and of V4L2 sub-devices, and their structures.
//!
//! Every member is an integer of a fixed size, and pointers are 64-bit integers, so a structure has one layout for all targets.
#![allow(
    unsafe_code,
    reason = "ioctls; every structure is laid out as in linux/media.h and linux/v4l2-subdev.h, which the tests check"
)]

use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::ioctl::{self, Opcode, Updater, opcode};

/// `MEDIA_ENT_F_CAM_SENSOR`.
pub(super) const FUNCTION_CAMERA_SENSOR: u32 = 0x0002_0001;
/// `MEDIA_ENT_F_IO_V4L`, the function of a V4L2 video node.
pub(super) const FUNCTION_VIDEO_NODE: u32 = 0x0001_0001;

pub(super) const PAD_SINK: u32 = 1;
pub(super) const PAD_MUST_CONNECT: u32 = 4;

pub(super) const LINK_ENABLED: u32 = 1;
pub(super) const LINK_IMMUTABLE: u32 = 2;
pub(super) const LINK_TYPE: u32 = 0xf000_0000;
pub(super) const LINK_DATA: u32 = 0;
pub(super) const LINK_INTERFACE: u32 = 0x1000_0000;

/// `V4L2_SUBDEV_FORMAT_TRY`: a format that only the open file sees.
pub(super) const FORMAT_TRY: u32 = 0;
/// `V4L2_SUBDEV_FORMAT_ACTIVE`: the format that the hardware uses.
pub(super) const FORMAT_ACTIVE: u32 = 1;

/// `struct media_device_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DeviceInfo {
    pub(super) driver: [u8; 16],
    pub(super) model: [u8; 32],
    pub(super) serial: [u8; 40],
    pub(super) bus_info: [u8; 32],
    pub(super) media_version: u32,
    pub(super) hardware_revision: u32,
    pub(super) driver_version: u32,
    pub(super) reserved: [u32; 31],
}

/// `struct media_v2_entity`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Entity {
    pub(super) id: u32,
    pub(super) name: [u8; 64],
    pub(super) function: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 5],
}

/// `struct media_v2_interface`. Of the union only the device number is used.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Interface {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 9],
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) rest: [u32; 14],
}

/// `struct media_v2_pad`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Pad {
    pub(super) id: u32,
    pub(super) entity: u32,
    pub(super) flags: u32,
    pub(super) index: u32,
    pub(super) reserved: [u32; 4],
}

/// `struct media_v2_link`. A data link connects pads, and an interface link an interface with an entity.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) id: u32,
    pub(super) source: u32,
    pub(super) sink: u32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 6],
}

/// `struct media_v2_topology`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct TopologyRequest {
    pub(super) version: u64,
    pub(super) entities: Array,
    pub(super) interfaces: Array,
    pub(super) pads: Array,
    pub(super) links: Array,
}

/// The number of elements and the address of one array of `struct media_v2_topology`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Array {
    pub(super) count: u32,
    pub(super) reserved: u32,
    pub(super) address: u64,
}

/// `struct media_pad_desc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PadDescription {
    pub(super) entity: u32,
    pub(super) index: u16,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 2],
}

/// `struct media_link_desc`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct LinkDescription {
    pub(super) source: PadDescription,
    pub(super) sink: PadDescription,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_mbus_framefmt`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FrameFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) code: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) encoding: u16,
    pub(super) quantization: u16,
    pub(super) transfer: u16,
    pub(super) flags: u16,
    pub(super) reserved: [u16; 10],
}

/// `struct v4l2_subdev_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PadFormat {
    pub(super) which: u32,
    pub(super) pad: u32,
    pub(super) format: FrameFormat,
    pub(super) stream: u32,
    pub(super) reserved: [u32; 7],
}

/// `struct v4l2_subdev_mbus_code_enum`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct CodeEntry {
    pub(super) pad: u32,
    pub(super) index: u32,
    pub(super) code: u32,
    pub(super) which: u32,
    pub(super) flags: u32,
    pub(super) stream: u32,
    pub(super) reserved: [u32; 6],
}

/// The arrays that MEDIA_IOC_G_TOPOLOGY fills.
#[derive(Default)]
pub(super) struct Arrays {
    pub(super) entities: Vec<Entity>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) pads: Vec<Pad>,
    pub(super) links: Vec<Link>,
}

impl Entity {
    pub(super) const EMPTY: Self = Self {
        id: 0,
        name: [0; 64],
        function: 0,
        flags: 0,
        reserved: [0; 5],
    };
}

/// A structure that the kernel reads and writes, without an address in it.
trait Request: Copy {}
impl Request for DeviceInfo {}
impl Request for LinkDescription {}
impl Request for PadFormat {}
impl Request for CodeEntry {}

/// Calls an ioctl whose structure the kernel reads and writes. Restarts it on EINTR.
fn update<const OPCODE: Opcode, T: Request>(fd: BorrowedFd<'_>, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: `T` is the structure of this opcode, consists of integers only, has no addresses, and lives through the call.
        match unsafe { ioctl::ioctl(fd, Updater::<OPCODE, T>::new(value)) } {
            Err(io::Errno::INTR) => {}
            done => return done,
        }
    }
}

const DEVICE_INFO: Opcode = opcode::read_write::<DeviceInfo>(b'|', 0);
const SETUP_LINK: Opcode = opcode::read_write::<LinkDescription>(b'|', 3);
const GET_TOPOLOGY: Opcode = opcode::read_write::<TopologyRequest>(b'|', 4);
const ENUMERATE_CODE: Opcode = opcode::read_write::<CodeEntry>(b'V', 2);
const GET_FORMAT: Opcode = opcode::read_write::<PadFormat>(b'V', 4);
const SET_FORMAT: Opcode = opcode::read_write::<PadFormat>(b'V', 5);

/// The ioctl numbers, with their names in the headers.
#[cfg(test)]
pub(super) const REQUESTS: [(&str, Opcode); 6] = [
    ("request MEDIA_IOC_DEVICE_INFO", DEVICE_INFO),
    ("request MEDIA_IOC_SETUP_LINK", SETUP_LINK),
    ("request MEDIA_IOC_G_TOPOLOGY", GET_TOPOLOGY),
    ("request VIDIOC_SUBDEV_ENUM_MBUS_CODE", ENUMERATE_CODE),
    ("request VIDIOC_SUBDEV_G_FMT", GET_FORMAT),
    ("request VIDIOC_SUBDEV_S_FMT", SET_FORMAT),
];

/// MEDIA_IOC_DEVICE_INFO.
pub(super) fn device_info(fd: BorrowedFd<'_>) -> io::Result<DeviceInfo> {
    let mut info = DeviceInfo {
        driver: [0; 16],
        model: [0; 32],
        serial: [0; 40],
        bus_info: [0; 32],
        media_version: 0,
        hardware_revision: 0,
        driver_version: 0,
        reserved: [0; 31],
    };
    update::<DEVICE_INFO, DeviceInfo>(fd, &mut info).map(|()| info)
}

/// MEDIA_IOC_SETUP_LINK.
pub(super) fn setup_link(fd: BorrowedFd<'_>, link: &mut LinkDescription) -> io::Result<()> {
    update::<SETUP_LINK, LinkDescription>(fd, link)
}

/// MEDIA_IOC_G_TOPOLOGY. Fills the arrays up to their lengths, and returns the numbers of elements that the device has; an array
/// of length 0 is left out. ENOSPC means that an array is too short.
pub(super) fn topology(fd: BorrowedFd<'_>, arrays: &mut Arrays) -> io::Result<TopologyRequest> {
    fn array<T>(elements: &mut [T]) -> Array {
        // If the address is 0, the kernel returns only the number of elements.
        if elements.is_empty() {
            return Array::default();
        }
        Array {
            count: u32::try_from(elements.len()).unwrap_or(0),
            reserved: 0,
            address: elements.as_mut_ptr().expose_provenance() as u64,
        }
    }
    let mut request = TopologyRequest {
        version: 0,
        entities: array(&mut arrays.entities),
        interfaces: array(&mut arrays.interfaces),
        pads: array(&mut arrays.pads),
        links: array(&mut arrays.links),
    };
    loop {
        // SAFETY: the structure is that of the opcode. Each address is 0 or that of an array of `count` elements of the kernel's
        // structure, for which any bytes are valid, and the arrays are borrowed mutably through the call.
        match unsafe {
            ioctl::ioctl(
                fd,
                Updater::<GET_TOPOLOGY, TopologyRequest>::new(&mut request),
            )
        } {
            Err(io::Errno::INTR) => {}
            done => return done.map(|()| request),
        }
    }
}

/// VIDIOC_SUBDEV_ENUM_MBUS_CODE.
pub(super) fn enumerate_code(fd: BorrowedFd<'_>, entry: &mut CodeEntry) -> io::Result<()> {
    update::<ENUMERATE_CODE, CodeEntry>(fd, entry)
}

/// VIDIOC_SUBDEV_G_FMT.
pub(super) fn get_format(fd: BorrowedFd<'_>, format: &mut PadFormat) -> io::Result<()> {
    update::<GET_FORMAT, PadFormat>(fd, format)
}

/// VIDIOC_SUBDEV_S_FMT.
pub(super) fn set_format(fd: BorrowedFd<'_>, format: &mut PadFormat) -> io::Result<()> {
    update::<SET_FORMAT, PadFormat>(fd, format)
}

/// Fails the compilation if a structure differs from the headers. The values are those of tests/abi, which are the same for
/// 64-bit and 32-bit targets.
const _: () = {
    assert!(size_of::<DeviceInfo>() == 256);
    assert!(size_of::<Entity>() == 96);
    assert!(size_of::<Interface>() == 112);
    assert!(offset_of!(Interface, major) == 48);
    assert!(size_of::<Pad>() == 32);
    assert!(size_of::<Link>() == 40);
    assert!(size_of::<TopologyRequest>() == 72);
    assert!(offset_of!(TopologyRequest, links) == 56);
    assert!(size_of::<PadDescription>() == 20);
    assert!(size_of::<LinkDescription>() == 52);
    assert!(size_of::<FrameFormat>() == 48);
    assert!(size_of::<PadFormat>() == 88);
    assert!(size_of::<CodeEntry>() == 48);
};
