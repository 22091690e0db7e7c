//! Checks buffer descriptors that do not match their dma-buf, and descriptors with fds that are not dma-bufs.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::heap::{Heap, HeapError};
use covalent_alloc::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, LayoutError};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{processor, vga};
use rustix::io::Errno;

use super::{CheckOutcome, CheckRunner};

/// The offset and stride of each plane, in bytes.
type Planes = &'static [(u32, u32)];

/// A descriptor that does not match a dma-buf of 640x480 pixels in XR24. The dma-buf has exactly 1228800 bytes, a multiple of the
/// page size.
struct BadDescriptor {
    name: &'static str,
    extent: (u32, u32),
    fourcc: Fourcc,
    planes: Planes,
    refused: fn(&DescriptorError) -> bool,
}

/// Returns whether the error says that a plane is not inside the buffer.
fn out_of_bounds(error: &DescriptorError) -> bool {
    matches!(
        error,
        DescriptorError::Layout(LayoutError::OutOfBounds { .. } | LayoutError::Overflow { .. })
    )
}

/// Returns whether the error is about a stride.
fn stride(error: &DescriptorError) -> bool {
    matches!(error, DescriptorError::Layout(LayoutError::Stride { .. }))
}

/// Returns whether the error is about the number of planes.
fn count(error: &DescriptorError) -> bool {
    matches!(
        error,
        DescriptorError::Layout(LayoutError::PlaneCount { .. })
    )
}

/// Returns a row of the table.
const fn bad(
    name: &'static str,
    extent: (u32, u32),
    fourcc: Fourcc,
    planes: Planes,
    refused: fn(&DescriptorError) -> bool,
) -> BadDescriptor {
    BadDescriptor {
        name,
        extent,
        fourcc,
        planes,
        refused,
    }
}

const VGA: (u32, u32) = (640, 480);
/// Descriptors of buffers that must be refused.
const BAD_DESCRIPTORS: &[BadDescriptor] = &[
    bad(
        "stride_below_a_row",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 2559)],
        stride,
    ),
    bad("stride_of_0", VGA, Fourcc::XRGB8888, &[(0, 0)], stride),
    bad(
        "one_row_too_many",
        (640, 481),
        Fourcc::XRGB8888,
        &[(0, 2560)],
        out_of_bounds,
    ),
    bad(
        "offset_of_one_byte",
        VGA,
        Fourcc::XRGB8888,
        &[(1, 2560)],
        out_of_bounds,
    ),
    bad(
        "offset_past_the_end",
        VGA,
        Fourcc::XRGB8888,
        &[(1_228_800, 2560)],
        out_of_bounds,
    ),
    bad(
        "offset_that_overflows",
        VGA,
        Fourcc::XRGB8888,
        &[(u32::MAX, 2560)],
        out_of_bounds,
    ),
    bad(
        "stride_that_overflows",
        VGA,
        Fourcc::XRGB8888,
        &[(0, u32::MAX)],
        out_of_bounds,
    ),
    bad(
        "offset_and_stride_that_overflow",
        (1, 1),
        Fourcc::XRGB8888,
        &[(1, u32::MAX)],
        out_of_bounds,
    ),
    bad(
        "pitch_65536",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 65_536)],
        out_of_bounds,
    ),
    bad(
        "negative_as_signed",
        VGA,
        Fourcc::XRGB8888,
        &[(0x8000_0000, 0x8000_0000)],
        out_of_bounds,
    ),
    bad(
        "largest_picture",
        (65_536, 65_536),
        Fourcc::XRGB8888,
        &[(0, 262_144)],
        out_of_bounds,
    ),
    bad("nv12_with_one_plane", VGA, Fourcc::NV12, &[(0, 640)], count),
    bad(
        "xr24_with_two_planes",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 2560), (0, 2560)],
        count,
    ),
    bad(
        "second_plane_too_short",
        VGA,
        Fourcc::NV12,
        &[(0, 640), (1_228_800 - 640 * 240 + 1, 640)],
        out_of_bounds,
    ),
    bad(
        "second_plane_stride",
        VGA,
        Fourcc::NV12,
        &[(0, 640), (307_200, 639)],
        stride,
    ),
];

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.watch(&sources);
    for bad in BAD_DESCRIPTORS {
        runner.check(&format!("hostile::{}", bad.name), || {
            let buffer = system_heap_buffer(&sources)?;
            match describe(&buffer, bad.extent, bad.fourcc, bad.planes)? {
                Err(error) if (bad.refused)(&error) => Ok(CheckOutcome::Passed),
                Err(error) => {
                    bail!("importing the descriptor failed with an unexpected error: {error}")
                }
                Ok(_) => bail!("a descriptor that does not match its dma-buf was imported"),
            }
        });
    }
    runner.check("hostile::unknown_fourcc_is_refused", || {
        let buffer = system_heap_buffer(&sources)?;
        let answer = describe(&buffer, VGA, Fourcc(0xdead_beef), &[(0, 2560)])?;
        ensure!(
            matches!(
                answer,
                Err(DescriptorError::Layout(LayoutError::UnknownFormat(_)))
            ),
            "{answer:?}"
        );
        Ok(CheckOutcome::Passed)
    });
    runner.check("hostile::memfd_and_null_and_socket_are_refused", || {
        let memfd = rustix::fs::memfd_create("frame", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&memfd, 1 << 22)?;
        let (socket, _other) = std::os::unix::net::UnixStream::pair()?;
        let null = File::open("/dev/null")?;
        for fd in [memfd, socket.into(), null.into()] {
            let answer = Buffer::import(Descriptor {
                extent: vga()?,
                format: FormatModifier::linear(Fourcc::XRGB8888),
                planes: vec![plane(fd, 0, 2560)],
            });
            ensure!(
                matches!(answer, Err(DescriptorError::Dmabuf { plane: 0, .. })),
                "{answer:?}"
            );
        }
        Ok(CheckOutcome::Passed)
    });
    runner.check("hostile::heap_is_never_asked_for_0_bytes", || {
        empty_allocations(&sources)
    });
    runner.check("hostile::node_that_is_no_heap_is_reported", no_heap);
    runner.check("hostile::correct_description_is_accepted", || {
        let buffer = system_heap_buffer(&sources)?;
        let whole = describe(&buffer, VGA, Fourcc::XRGB8888, &[(0, 2560)])??;
        ensure!(
            whole.identity() == buffer.identity(),
            "the imported buffer has another identity than its dma-buf"
        );
        let planes = describe(&buffer, VGA, Fourcc::NV12, &[(0, 640), (307_200, 640)])??;
        ensure!(
            planes.dmabuf_count() == 1,
            "two fds of one dma-buf count as two dma-bufs"
        );
        whole.map()?;
        Ok(CheckOutcome::Passed)
    });
    runner.check("hostile::dma_buf_cannot_be_truncated", || {
        let buffer = system_heap_buffer(&sources)?;
        let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
        ensure!(
            rustix::fs::ftruncate(fd, 4096).is_err(),
            "the dma-buf was truncated"
        );
        Ok(CheckOutcome::Passed)
    });
}

/// DMA_HEAP_IOCTL_ALLOC returns EINVAL for a size of 0, for a size that overflows to 0 when it is rounded up to pages, and for
/// unknown flags. covalent-alloc requests none of these: extents are at least one pixel, sizes are checked, and flags are
/// constants.
fn empty_allocations(sources: &Sources) -> Result<CheckOutcome> {
    for text in ["\"0x480\"", "\"640x0\"", "\"-1x480\"", "\"\"", "0"] {
        let extent = serde_json::from_str::<Extent>(text);
        ensure!(extent.is_err(), "{text} was parsed as {extent:?}");
    }
    let mut request = Request::new(vga()?);
    request.count = 0;
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for a count of 0")
    };
    let buffers = sources.allocate(&plan)?;
    ensure!(
        buffers.len() == 1,
        "a count of 0 allocated {} buffers",
        buffers.len()
    );
    for source in &mut request.sources {
        // A source that does not declare how much memory is available accepts any size.
        source.guarantees.available_bytes = None;
    }
    for size in [u64::MAX, u64::MAX - 1, u64::MAX - 4094, u64::MAX - 4095] {
        for participant in &mut request.participants {
            participant.for_each_choice(|own| own.image.minimum_size_bytes = size);
        }
        let Solution::Share(plan) = solve(&request) else {
            continue;
        };
        match sources.allocate(&plan) {
            Err(error) => match error.cause().downcast_ref() {
                Some(HeapError::Budget { needed_bytes, .. }) => {
                    ensure!(
                        *needed_bytes >= size,
                        "{size} bytes were rounded to {needed_bytes} bytes"
                    );
                }
                _ => bail!(
                    "the allocation of {size} bytes failed with an unexpected error: {error:?}"
                ),
            },
            Ok(buffers) => bail!("{size} bytes were allocated: {buffers:?}"),
        }
    }
    Ok(CheckOutcome::Passed)
}

/// /dev/null can be opened, but is no dma-heap: the caller gets the kernel's error of the ioctl.
fn no_heap() -> Result<CheckOutcome> {
    let heap = Heap::open("/dev/null".as_ref())?;
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources.push(heap.source());
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan from /dev/null")
    };
    match heap.allocate(&plan) {
        Err(HeapError::Allocate {
            bytes: 1_228_800,
            source,
            ..
        }) if source == Errno::NOTTY.into() => Ok(CheckOutcome::Passed),
        answer => bail!("allocating from /dev/null returned {answer:?}"),
    }
}

/// Allocates the dma-buf to which the descriptors are applied.
fn system_heap_buffer(sources: &Sources) -> Result<Buffer> {
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan from the system heap")
    };
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    ensure!(
        buffer.layout().total_bytes() == 1_228_800,
        "{:?}",
        buffer.layout()
    );
    Ok(buffer)
}

/// Returns the description of a plane in linear memory.
fn plane(fd: OwnedFd, offset_bytes: u64, stride_bytes: u32) -> PlaneDescriptor {
    PlaneDescriptor {
        fd,
        offset_bytes,
        stride_bytes,
    }
}

/// Imports the buffer's dma-buf again, with another description: each plane has an offset and a stride.
fn describe(
    buffer: &Buffer,
    (width, height): (u32, u32),
    fourcc: Fourcc,
    planes: &[(u32, u32)],
) -> Result<Result<Buffer, DescriptorError>> {
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let planes = planes
        .iter()
        .map(|(offset, stride)| Ok(plane(fd.try_clone_to_owned()?, u64::from(*offset), *stride)))
        .collect::<Result<_>>()?;
    Ok(Buffer::import(Descriptor {
        extent: Extent::new(width, height)?,
        format: FormatModifier::linear(fourcc),
        planes,
    }))
}
