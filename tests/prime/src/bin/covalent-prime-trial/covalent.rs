//! The steps of an exchange in covalent-alloc, through the Vulkan driver.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::FormatFilter;
use covalent_alloc::backend::vulkan::{Gpu, Vulkan};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_alloc::solve::{Request, Solution, solve};

use super::message::{Failure, Kind, Plane, SIZE};

/// The formats about which no driver is queried here, because NVK ends its process when it is.
const LEFT_OUT: [Fourcc; 9] = [
    Fourcc::NV12,
    Fourcc::NV16,
    Fourcc::NV21,
    Fourcc::NV61,
    Fourcc::UYVY,
    Fourcc::YUV420,
    Fourcc::YUV422,
    Fourcc::YUYV,
    Fourcc::YVU420,
];

fn refusal(operation: &'static str, why: &impl ToString) -> Failure {
    Failure {
        operation,
        why: why.to_string(),
    }
}

/// Returns the GPU, which is opened once.
fn open(slot: &mut Option<Gpu>) -> Result<&Gpu> {
    let gpu = match slot.take() {
        Some(gpu) => gpu,
        None => {
            let first = Vulkan::load()?.gpus()?.0.into_iter().next();
            let gpu = first.context("covalent-alloc finds no GPU")?;
            gpu.with_format_filter(FormatFilter::without(BTreeSet::from(LEFT_OUT)))
        }
    };
    Ok(slot.insert(gpu))
}

fn format(kind: Kind) -> FormatModifier {
    FormatModifier {
        fourcc: Fourcc(kind.fourcc),
        modifier: Modifier(kind.modifier),
    }
}

/// Plans an image with exactly this modifier, allocates it and exports it. The outer error is one of the trial, and the inner one
/// the refusal.
pub(super) fn export(
    slot: &mut Option<Gpu>,
    kind: Kind,
) -> Result<Result<(Vec<Plane>, OwnedFd), Failure>> {
    let gpu = open(slot)?;
    let extent = Extent::new(SIZE.0, SIZE.1)?;
    let mut request = Request::new(extent);
    let mut participant = gpu.participant(extent, Some(Fourcc(kind.fourcc)))?;
    participant
        .for_each_choice(|choice| choice.formats = Some(FormatSet::from(vec![format(kind)])));
    request.participants.push(participant);
    request.sources.extend(gpu.source_of_size(extent)?);
    let plan = match solve(&request) {
        Solution::Share(plan) => plan,
        Solution::Split(split) => return Ok(Err(refusal("solve", &split.explain()))),
    };
    let buffers = match gpu.allocate(&plan) {
        Ok(buffers) => buffers,
        Err(error) => return Ok(Err(refusal("Gpu::allocate", &error))),
    };
    let buffer = buffers.first().context("nothing was allocated")?;
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let planes = buffer.layout().planes().iter().map(|plane| Plane {
        offset: plane.offset_bytes,
        pitch: plane.stride_bytes.into(),
    });
    Ok(Ok((planes.collect(), fd.try_clone_to_owned()?)))
}

/// Imports a buffer by covalent-alloc. The outer error is one of the trial, and the inner one the refusal.
pub(super) fn import(
    slot: &mut Option<Gpu>,
    kind: Kind,
    planes: &[Plane],
    fd: BorrowedFd<'_>,
) -> Result<Result<(), Failure>> {
    let gpu = open(slot)?;
    let mut described = Vec::new();
    for plane in planes {
        let Ok(stride_bytes) = u32::try_from(plane.pitch) else {
            return Ok(Err(refusal("a pitch", &"more than 32 bits")));
        };
        described.push(PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes: plane.offset,
            stride_bytes,
        });
    }
    let descriptor = Descriptor {
        extent: Extent::new(SIZE.0, SIZE.1)?,
        format: format(kind),
        planes: described,
    };
    let imported = match Buffer::import(descriptor) {
        Ok(buffer) => gpu
            .import(&buffer)
            .map(drop)
            .map_err(|error| refusal("Gpu::import", &error)),
        Err(error) => Err(refusal("Buffer::import", &error)),
    };
    Ok(imported)
}
