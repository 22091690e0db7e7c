//! Uses of shared images by an engine: it draws, copies, samples and synchronises, and the CPU checks the pixels.

use std::sync::Arc;
use std::time::Duration;

use covalent_alloc::backend::vulkan::ash::vk;
use covalent_alloc::backend::vulkan::{
    Contents, Gpu, ImageAccess, Purpose, VulkanError, YcbcrColours,
};
use covalent_alloc::buffer::{Buffer, CpuAccess};

use super::record::{Recording, sampled};
use super::{Engine, engine_error};

/// The timeout of work on the device. It is long, because the device may be emulated.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The width and height in pixels of the picture that is sampled.
pub(crate) const SAMPLED: (u32, u32) = (64, 8);

/// The outcome of a scene without an error.
#[derive(Debug)]
pub(crate) enum SceneOutcome {
    /// All checks passed. The text is a note: the parts of the scene that the device does not support, or the chroma locations
    /// that were tested. It is empty if there is nothing to note.
    Passed(String),
    /// The device does not support the scene. The text is the reason.
    Unsupported(String),
}

/// The engine draws to a buffer by a render pass and releases it. The CPU and the device then read the colour.
pub(crate) fn draws(
    engine: &Arc<Engine>,
    gpu: &Gpu,
    buffer: &Buffer,
) -> Result<SceneOutcome, VulkanError> {
    let image = match gpu.import_for(Purpose::Render, buffer) {
        Err(VulkanError::Unsuitable { why, .. }) => return Ok(SceneOutcome::Unsupported(why)),
        image => image?,
    };
    let mut recording = Recording::begin(engine)?;
    recording.transfer(gpu, &image.acquire(ImageAccess::RENDER, Contents::Discard)?);
    // In 8 bits, the components are exactly 51, 102 and 153.
    recording.fill(&image, [0.2, 0.4, 0.6, 1.0])?;
    recording.transfer(gpu, &image.release(ImageAccess::RENDER)?);
    recording.submit(&[], &[])?.wait()?;
    let found = rows(buffer)?;
    let pixels = found.first().map_or(&[][..], Vec::as_slice);
    let wrong_pixel = pixels
        .chunks_exact(4)
        .position(|pixel| pixel.get(..3) != Some(&[153, 102, 51]));
    if pixels.is_empty() || wrong_pixel.is_some() {
        return Err(engine_error(format!(
            "pixel {wrong_pixel:?} has another colour than the engine drew"
        )));
    }
    // A second import of the same buffer makes another image, which acquires the ownership again.
    assert_equal(&gpu.import(buffer)?.read()?, &found)?;
    Ok(SceneOutcome::Passed(String::new()))
}

/// The engine copies pixels that the CPU wrote from the first buffer to the second. After the fence of that copy, the CPU writes
/// other pixels to the second buffer, which the engine copies back. The engine acquires and releases both buffers with batched
/// barriers.
pub(crate) fn copies(
    engine: &Arc<Engine>,
    gpu: &Gpu,
    first: &Buffer,
    second: &Buffer,
) -> Result<SceneOutcome, VulkanError> {
    let (one, other) = (gpu.import(first)?, gpu.import(second)?);
    let (pattern, next) = (pattern(first, 1)?, pattern(first, 2)?);
    fill(first, &pattern)?;
    let support = gpu.device_sync();
    let timeline = support.timeline.then(|| gpu.timeline()).transpose()?;
    let has_sync_files = support.semaphore_to_sync_file && support.semaphore_from_sync_file;
    let mut done = has_sync_files.then(|| gpu.semaphore()).transpose()?;
    let copy = |from, to, waits: &[_], signals: &[_]| {
        let (from, to): (&_, &_) = (from, to);
        copied(engine, from, to, waits, signals)
    };
    let signals: Vec<(vk::Semaphore, u64)> = done
        .iter()
        .map(|done| (done.handle(), 0))
        .chain(timeline.iter().map(|timeline| (timeline.handle(), 7)))
        .collect();
    let running = copy(&one, &other, &[], &signals)?;
    // The fence of the copy is exported as a sync_file and imported again, as another process would do.
    let fence = done.as_mut().map(super::record::exported).transpose()?;
    if let Some(timeline) = &timeline {
        if !timeline.wait(7, TIMEOUT)? || timeline.value()? != 7 {
            return Err(engine_error(
                "the engine's work did not signal the timeline",
            ));
        }
    }
    running.wait()?;
    assert_equal(&rows(second)?, &pattern)?;
    // The CPU writes other pixels to the second buffer.
    fill(second, &next)?;
    let wait = fence
        .flatten()
        .map(|fence| gpu.semaphore_from_sync_file(fence))
        .transpose()?;
    let waits: Vec<(vk::Semaphore, u64)> = wait
        .iter()
        .map(|semaphore| (semaphore.handle(), 0))
        .chain(timeline.iter().map(|timeline| (timeline.handle(), 7)))
        .collect();
    copy(&other, &one, &waits, &[])?.wait()?;
    assert_equal(&rows(first)?, &next)?;
    // Covalent's own copies acquire the image after the engine's release.
    assert_equal(&one.read()?, &next)?;
    one.write(&pattern)?;
    assert_equal(&rows(first)?, &pattern)?;
    let mut missing = Vec::new();
    if !has_sync_files {
        missing.push("sync_files");
    }
    if timeline.is_none() {
        missing.push("timelines");
    }
    Ok(SceneOutcome::Passed(if missing.is_empty() {
        String::new()
    } else {
        format!("without {}", missing.join(" and "))
    }))
}

fn copied(
    engine: &Arc<Engine>,
    from: &covalent_alloc::backend::vulkan::Image,
    to: &covalent_alloc::backend::vulkan::Image,
    waits: &[(vk::Semaphore, u64)],
    signals: &[(vk::Semaphore, u64)],
) -> Result<super::record::SubmittedWork, VulkanError> {
    let recording = Recording::begin(engine)?;
    recording.transfers(&[
        &from.acquire(ImageAccess::COPY_OUT, Contents::Keep)?,
        &to.acquire(ImageAccess::COPY_IN, Contents::Discard)?,
    ]);
    recording.copy(from, to);
    recording.transfers(&[
        &from.release(ImageAccess::COPY_OUT)?,
        &to.release(ImageAccess::COPY_IN)?,
    ]);
    recording.submit(waits, signals)
}

/// The Cb values left and right of the edge in the sampled picture. Luma and Cr are the same in the whole picture.
const EDGE: (u8, u8) = (80, 176);
const LUMA: u8 = 126;

/// The engine samples an NV12 picture whose chroma has a vertical edge in the middle, once for each horizontal chroma location:
/// on the first of two columns (COSITED_EVEN), and midway between them (MIDPOINT). The two locations give different colours next
/// to the edge, which must equal the computed values.
pub(crate) fn samples(
    engine: &Arc<Engine>,
    gpu: &Gpu,
    buffer: &Buffer,
) -> Result<SceneOutcome, VulkanError> {
    let image = match gpu.import_for(Purpose::Sample, buffer) {
        Err(VulkanError::Unsuitable { why, .. }) => return Ok(SceneOutcome::Unsupported(why)),
        image => image?,
    };
    let (columns, height) = SAMPLED;
    let mut planes = pattern(buffer, 0)?;
    for (plane, pixels) in planes.iter_mut().enumerate() {
        for (position, byte) in pixels.iter_mut().enumerate() {
            let is_left = position % 64 < 32;
            *byte = match (plane, position % 2) {
                (0, _) => LUMA,
                (_, 0) if is_left => EDGE.0,
                (_, 0) => EDGE.1,
                _ => 128,
            };
        }
    }
    fill(buffer, &planes)?;
    let format = buffer.layout().format();
    let (cosited, midpoint) = (
        vk::ChromaLocation::COSITED_EVEN,
        vk::ChromaLocation::MIDPOINT,
    );
    let support = gpu.chroma_support(format);
    let (mut supported, mut refused) = (Vec::new(), Vec::new());
    for (location, x_chroma, cb, is_supported) in [
        // The centre of column 31 is half-way between the chroma of columns 30 and 32.
        ("COSITED_EVEN", cosited, 128.0, support.cosited),
        // The centre of column 31 is a quarter of the distance from the chroma of columns 30 and 31 to that of columns 32 and 33.
        ("MIDPOINT", midpoint, 104.0, support.midpoint),
    ] {
        for (model, blue) in [
            (vk::SamplerYcbcrModelConversion::YCBCR_601, 1.772),
            (vk::SamplerYcbcrModelConversion::YCBCR_709, 1.8556),
        ] {
            let colours = YcbcrColours {
                model,
                x_chroma,
                y_chroma: x_chroma,
                ..YcbcrColours::default()
            };
            let conversion = match gpu.ycbcr_conversion(format, colours, vk::Filter::LINEAR) {
                Err(VulkanError::Sampling { why, .. }) if !is_supported => {
                    refused.push(why);
                    continue;
                }
                Err(VulkanError::Sampling { why, .. }) if !support.linear_chroma => {
                    return Ok(SceneOutcome::Unsupported(why));
                }
                conversion => conversion?,
            };
            let found = sampled(engine, gpu, &image, &conversion, (columns, height))?;
            let luma = (f32::from(LUMA) - 16.0) / 219.0;
            for (column, cb) in [(31, cb), (4, f32::from(EDGE.0)), (60, f32::from(EDGE.1))] {
                let expected = luma + blue * (cb - 128.0) / 224.0;
                let row = usize::try_from(columns).unwrap_or(0) * 4;
                let colour = found.get(row + column).copied().unwrap_or_default();
                let is_near = |one: f32, two: f32| (one - two).abs() < 0.02;
                if !is_near(colour[2], expected) || !is_near(colour[0], luma) {
                    return Err(engine_error(format!(
                        "chroma at {location}: column {column} has {colour:?} instead of red {luma} and blue {expected}"
                    )));
                }
            }
        }
        if is_supported {
            supported.push(location);
        }
    }
    if supported.is_empty() {
        return Ok(SceneOutcome::Unsupported(refused.join("; ")));
    }
    Ok(SceneOutcome::Passed(format!(
        "chroma at {}",
        supported.join(" and ")
    )))
}

/// Returns a test pattern for each plane, without padding. No period of the pattern is a power of two, so that a wrong stride
/// changes the pixels.
fn pattern(buffer: &Buffer, seed: usize) -> Result<Vec<Vec<u8>>, VulkanError> {
    let (extent, fourcc) = (buffer.layout().extent(), buffer.layout().format().fourcc);
    let info = fourcc
        .info()
        .ok_or_else(|| engine_error("the format has no known planes"))?;
    let planes = info.planes.iter().enumerate().map(|(plane, shape)| {
        let row = usize::try_from(shape.row_bytes(extent.width()).unwrap_or(0)).unwrap_or(0);
        let rows = usize::try_from(shape.rows(extent.height())).unwrap_or(0);
        (0..row * rows)
            .map(|position| {
                u8::try_from((position * 7 + position / row + plane * 83 + seed * 101) % 251)
                    .unwrap_or(0)
            })
            .collect()
    });
    Ok(planes.collect())
}

fn fill(buffer: &Buffer, planes: &[Vec<u8>]) -> Result<(), VulkanError> {
    let mapping = buffer
        .map()
        .map_err(|error| engine_error(error.to_string()))?;
    let guard = mapping
        .access(CpuAccess::Write)
        .map_err(|error| engine_error(error.to_string()))?;
    for (plane, pixels) in planes.iter().enumerate() {
        let row = buffer.layout().row_bytes(plane).unwrap_or(1);
        let row = usize::try_from(row).unwrap_or(1);
        for (number, bytes) in (0_u32..).zip(pixels.chunks(row)) {
            guard
                .write_row(plane, number, 0, bytes)
                .map_err(|error| engine_error(error.to_string()))?;
        }
    }
    Ok(())
}

fn rows(buffer: &Buffer) -> Result<Vec<Vec<u8>>, VulkanError> {
    let mapping = buffer
        .map()
        .map_err(|error| engine_error(error.to_string()))?;
    let guard = mapping
        .access(CpuAccess::Read)
        .map_err(|error| engine_error(error.to_string()))?;
    let mut planes = pattern(buffer, 0)?;
    for (plane, pixels) in planes.iter_mut().enumerate() {
        let row = buffer.layout().row_bytes(plane).unwrap_or(1);
        let row = usize::try_from(row).unwrap_or(1);
        for (number, bytes) in (0_u32..).zip(pixels.chunks_mut(row)) {
            guard
                .read_row(plane, number, 0, bytes)
                .map_err(|error| engine_error(error.to_string()))?;
        }
    }
    Ok(planes)
}

fn assert_equal(found: &[Vec<u8>], expected: &[Vec<u8>]) -> Result<(), VulkanError> {
    if found.len() != expected.len() {
        return Err(engine_error(format!("{} planes", found.len())));
    }
    for (plane, (found, expected)) in found.iter().zip(expected).enumerate() {
        let first = found.iter().zip(expected).position(|(one, two)| one != two);
        if first.is_some() || found.len() != expected.len() {
            return Err(engine_error(format!(
                "the pixels of plane {plane} differ from the expected ones from byte {first:?} on"
            )));
        }
    }
    Ok(())
}
