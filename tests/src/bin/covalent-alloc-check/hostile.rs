//! Descriptions that lie, about a real dma-buf and about what is none.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::heap::{Heap, HeapError};
use covalent_alloc::buffer::{Buffer, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, LayoutError};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_tests::witness::Sources;
use covalent_tests::witness::{processor, vga};
use rustix::io::Errno;

use super::{Seen, Tally};

/// Offset and stride of each plane.
type Planes = &'static [(u32, u32)];

/// A description of the buffer of 640x480 in XR24: 1228800 bytes, whole pages, and not one more.
struct Lie {
    name: &'static str,
    extent: (u32, u32),
    fourcc: Fourcc,
    planes: Planes,
    refused: fn(&DescriptorError) -> bool,
}

fn out_of_bounds(error: &DescriptorError) -> bool {
    matches!(
        error,
        DescriptorError::Layout(LayoutError::OutOfBounds { .. } | LayoutError::Overflow { .. })
    )
}

fn stride(error: &DescriptorError) -> bool {
    matches!(error, DescriptorError::Layout(LayoutError::Stride { .. }))
}

fn count(error: &DescriptorError) -> bool {
    matches!(
        error,
        DescriptorError::Layout(LayoutError::PlaneCount { .. })
    )
}

const fn lie(
    name: &'static str,
    extent: (u32, u32),
    fourcc: Fourcc,
    planes: Planes,
    refused: fn(&DescriptorError) -> bool,
) -> Lie {
    Lie {
        name,
        extent,
        fourcc,
        planes,
        refused,
    }
}

const VGA: (u32, u32) = (640, 480);
const LIES: &[Lie] = &[
    lie(
        "stride_below_a_row",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 2559)],
        stride,
    ),
    lie("stride_of_0", VGA, Fourcc::XRGB8888, &[(0, 0)], stride),
    lie(
        "one_row_too_many",
        (640, 481),
        Fourcc::XRGB8888,
        &[(0, 2560)],
        out_of_bounds,
    ),
    lie(
        "offset_of_one_byte",
        VGA,
        Fourcc::XRGB8888,
        &[(1, 2560)],
        out_of_bounds,
    ),
    lie(
        "offset_past_the_end",
        VGA,
        Fourcc::XRGB8888,
        &[(1_228_800, 2560)],
        out_of_bounds,
    ),
    lie(
        "offset_that_overflows",
        VGA,
        Fourcc::XRGB8888,
        &[(u32::MAX, 2560)],
        out_of_bounds,
    ),
    lie(
        "stride_that_overflows",
        VGA,
        Fourcc::XRGB8888,
        &[(0, u32::MAX)],
        out_of_bounds,
    ),
    lie(
        "offset_and_stride_that_overflow",
        (1, 1),
        Fourcc::XRGB8888,
        &[(1, u32::MAX)],
        out_of_bounds,
    ),
    lie(
        "pitch_65536",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 65_536)],
        out_of_bounds,
    ),
    lie(
        "negative_as_signed",
        VGA,
        Fourcc::XRGB8888,
        &[(0x8000_0000, 0x8000_0000)],
        out_of_bounds,
    ),
    lie(
        "largest_picture",
        (65_536, 65_536),
        Fourcc::XRGB8888,
        &[(0, 262_144)],
        out_of_bounds,
    ),
    lie("nv12_with_one_plane", VGA, Fourcc::NV12, &[(0, 640)], count),
    lie(
        "xr24_with_two_planes",
        VGA,
        Fourcc::XRGB8888,
        &[(0, 2560), (0, 2560)],
        count,
    ),
    lie(
        "second_plane_too_short",
        VGA,
        Fourcc::NV12,
        &[(0, 640), (1_228_800 - 640 * 240 + 1, 640)],
        out_of_bounds,
    ),
    lie(
        "second_plane_stride",
        VGA,
        Fourcc::NV12,
        &[(0, 640), (307_200, 639)],
        stride,
    ),
];

pub(crate) fn run(tally: &mut Tally) {
    let sources = Sources::discover();
    tally.watch(&sources);
    for lie in LIES {
        tally.check(&format!("hostile::{}", lie.name), || {
            let buffer = real(&sources)?;
            match describe(&buffer, lie.extent, lie.fourcc, lie.planes)? {
                Err(error) if (lie.refused)(&error) => Ok(Seen::Passed),
                Err(error) => bail!("another error: {error}"),
                Ok(_) => bail!("it was believed"),
            }
        });
    }
    tally.check("hostile::unknown_fourcc", || {
        let buffer = real(&sources)?;
        let answer = describe(&buffer, VGA, Fourcc(0xdead_beef), &[(0, 2560)])?;
        ensure!(
            matches!(
                answer,
                Err(DescriptorError::Layout(LayoutError::UnknownFormat(_)))
            ),
            "{answer:?}"
        );
        Ok(Seen::Passed)
    });
    tally.check("hostile::memfd_and_null_and_socket", || {
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
        Ok(Seen::Passed)
    });
    tally.check("hostile::heap_is_never_asked_for_nothing", || {
        nothing(&sources)
    });
    tally.check("hostile::heap_that_is_none_is_told_by_its_answer", no_heap);
    tally.check("hostile::truth_is_believed", || {
        let buffer = real(&sources)?;
        let whole = describe(&buffer, VGA, Fourcc::XRGB8888, &[(0, 2560)])??;
        ensure!(whole.identity() == buffer.identity(), "another buffer");
        let planes = describe(&buffer, VGA, Fourcc::NV12, &[(0, 640), (307_200, 640)])??;
        ensure!(
            planes.dmabuf_count() == 1,
            "two fds of one dma-buf are two memories"
        );
        whole.map()?;
        Ok(Seen::Passed)
    });
    tally.check("hostile::dma_buf_cannot_be_truncated", || {
        let buffer = real(&sources)?;
        let fd = buffer.dmabuf_fd(0).context("no memory")?;
        ensure!(rustix::fs::ftruncate(fd, 4096).is_err(), "it was truncated");
        Ok(Seen::Passed)
    });
}

/// A size of 0, one that whole pages round to 0, and flags that no heap has are all EINVAL: the first two are said by nobody
/// here, and the third cannot be.
fn nothing(sources: &Sources) -> Result<Seen> {
    for text in ["\"0x480\"", "\"640x0\"", "\"-1x480\"", "\"\"", "0"] {
        let extent = serde_json::from_str::<Extent>(text);
        ensure!(extent.is_err(), "{text} is {extent:?}");
    }
    let mut request = Request::new(vga()?);
    request.count = 0;
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan for a count of 0")
    };
    let buffers = sources.allocate(&plan)?;
    ensure!(buffers.len() == 1, "{} buffers", buffers.len());
    for source in &mut request.sources {
        // As if it was declared without a word about how much there is.
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
                        "{size} bytes became {needed_bytes} of them"
                    );
                }
                _ => bail!("{size} bytes: {error:?}"),
            },
            Ok(buffers) => bail!("{size} bytes: {buffers:?}"),
        }
    }
    Ok(Seen::Passed)
}

/// A node that opens and gives no memory: what the kernel answers to the ioctl reaches the caller.
fn no_heap() -> Result<Seen> {
    let heap = Heap::open("/dev/null".as_ref())?;
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources.push(heap.source());
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan from /dev/null")
    };
    match heap.allocate(&plan) {
        Err(HeapError::Allocate {
            bytes: 1_228_800,
            source: Errno::NOTTY,
            ..
        }) => Ok(Seen::Passed),
        answer => bail!("{answer:?}"),
    }
}

fn real(sources: &Sources) -> Result<Buffer> {
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan from the system heap")
    };
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    ensure!(
        buffer.layout().total_bytes() == 1_228_800,
        "{:?}",
        buffer.layout()
    );
    Ok(buffer)
}

fn plane(fd: OwnedFd, offset_bytes: u64, stride_bytes: u32) -> PlaneDescriptor {
    PlaneDescriptor {
        fd,
        offset_bytes,
        stride_bytes,
    }
}

fn describe(
    buffer: &Buffer,
    (width, height): (u32, u32),
    fourcc: Fourcc,
    planes: &[(u32, u32)],
) -> Result<Result<Buffer, DescriptorError>> {
    let fd = buffer.dmabuf_fd(0).context("no memory")?;
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
