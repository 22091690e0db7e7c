//! A picture of a dma-buf's pixels as PNG, read through the guard for the processor.

use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, MapGuard, PlaneDescriptor};
use covalent_alloc::files::NewFile;
use covalent_alloc::model::{Layout, Modifier};
use covalent_alloc::sync::CpuAccessDecision;
use covalent_alloc::text::printable_path;
use png::{BitDepth, ColorType, Encoder};

use super::fences::wait;
use super::report::{BufferReport, Picture};
use super::whose::Whose;
use crate::pixels::{Colours, Decoder, Range, Standard};

/// How a picture is to be read and written.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// By rows where nothing is said.
    pub(super) standard: Option<Standard>,
    pub(super) range: Range,
    pub(super) has_alpha: bool,
    /// How long fences are waited for.
    pub(super) deadline: Duration,
}

/// What was done for a picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How long fences were waited for.
    pub(super) waited: Duration,
    /// As what luma and chroma were read.
    pub(super) colours: Option<Colours>,
}

/// Writes the pixels of a dma-buf to a file.
///
/// # Errors
/// Why there is no picture, and what to do.
pub(super) fn write(
    path: &Path,
    report: &BufferReport,
    fd: &OwnedFd,
    whose: &Whose<'_>,
    how: How,
) -> Result<Taken> {
    let told = report.picture.as_ref().with_context(|| {
        format!(
            "nobody tells how the pixels of inode {} lie: give --layout SIZE:FORMAT:STRIDE",
            report.inode
        )
    })?;
    check(told)?;
    // Before anything is waited for: where it cannot be written there is nothing to wait for.
    let file = NewFile::create(path)?;
    let colours = Colours {
        standard: how
            .standard
            .unwrap_or_else(|| Standard::usual(told.size.height())),
        range: how.range,
    };
    let fourcc = told.format.fourcc;
    let decoder = Decoder::new(fourcc, colours)
        .with_context(|| format!("how {fourcc} stands for colours is not known here"))?;
    let buffer = Buffer::import(describe(told, report, fd, whose)?)
        .with_context(|| format!("inode {} is not as described", report.inode))?;
    let mapping = buffer.map()?;
    let begun = Instant::now();
    let guard = loop {
        match mapping.try_access(CpuAccess::Read, &[])? {
            CpuAccessDecision::Granted(guard) => break guard,
            CpuAccessDecision::Wait(waits) => {
                let left = how.deadline.saturating_sub(begun.elapsed());
                if !wait(&waits.iter().collect::<Vec<_>>(), left)? {
                    bail!(
                        "a fence of a writer is still pending after {} s: what would be seen is half a picture; --wait SECONDS waits longer",
                        how.deadline.as_secs_f64()
                    );
                }
            }
        }
    };
    let waited = begun.elapsed();
    let bytes = pixels(&guard, buffer.layout(), &decoder, how.has_alpha)?;
    drop(guard);
    let unwritten = || format!("cannot write {}", printable_path(path));
    let mut file = BufWriter::new(file);
    let mut encoder = Encoder::new(&mut file, told.size.width(), told.size.height());
    encoder.set_color(if how.has_alpha {
        ColorType::Rgba
    } else {
        ColorType::Rgb
    });
    encoder.set_depth(if decoder.is_deep() {
        BitDepth::Sixteen
    } else {
        BitDepth::Eight
    });
    let mut picture = encoder.write_header().with_context(unwritten)?;
    picture.write_image_data(&bytes).with_context(unwritten)?;
    // Dropped, these would keep their errors to themselves.
    picture.finish().with_context(unwritten)?;
    let whole = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    whole.with_context(unwritten)?.commit()?;
    let is_yuv = fourcc.info().is_some_and(|info| info.is_yuv);
    Ok(Taken {
        waited,
        colours: is_yuv.then_some(colours),
    })
}

/// Refuses what is not rows.
fn check(told: &Picture) -> Result<()> {
    let modifier = told.format.modifier;
    if told.planes.is_empty() {
        bail!(
            "size and format are known ({} {}), and not how rows lie: give --layout {}:{}:STRIDE",
            told.size,
            told.format.fourcc,
            told.size,
            told.format.fourcc
        );
    }
    if modifier.is_implicit() {
        bail!(
            "its arrangement is implicit (INVALID): only the driver that made it knows it, and rows are a guess; where you know that it is linear, say so with --layout"
        );
    }
    if modifier != Modifier::LINEAR {
        bail!(
            "its pixels are arranged as {modifier:#}: only its driver reads that right, and only LINEAR is read here"
        );
    }
    Ok(())
}

fn describe(
    told: &Picture,
    report: &BufferReport,
    fd: &OwnedFd,
    whose: &Whose<'_>,
) -> Result<Descriptor> {
    let mut planes = Vec::with_capacity(told.planes.len());
    for plane in &told.planes {
        let fd = match plane.fd {
            None => fd.try_clone().context("no fd is left")?,
            Some(other) => whose.take(report, other)?,
        };
        planes.push(PlaneDescriptor {
            fd,
            offset_bytes: plane.offset_bytes.into(),
            stride_bytes: plane.stride_bytes,
        });
    }
    Ok(Descriptor {
        extent: told.size,
        format: told.format,
        planes,
    })
}

/// Reads all pixels: red, green, blue and perhaps alpha, in bytes or in words of this machine.
fn pixels(
    guard: &MapGuard<'_>,
    layout: &Layout,
    decoder: &Decoder,
    has_alpha: bool,
) -> Result<Vec<u8>> {
    let info = layout.format().fourcc.info().context("a known format")?;
    let (width, height) = (layout.extent().width(), layout.extent().height());
    let channels = if has_alpha { 4 } else { 3 };
    let pixel_bytes: u64 = if decoder.is_deep() {
        2 * channels
    } else {
        channels
    };
    let all = u64::from(width)
        .checked_mul(height.into())
        .and_then(|count| usize::try_from(count.checked_mul(pixel_bytes)?).ok())
        .context("a picture larger than memory")?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(all)
        .with_context(|| format!("a picture of {all} bytes"))?;
    let mut rows = Vec::with_capacity(info.planes.len());
    for plane in 0..info.planes.len() {
        let length = layout.row_bytes(plane).context("a row of a known format")?;
        rows.push(vec![0; usize::try_from(length)?]);
    }
    let mut colours = vec![[0; 4]; usize::try_from(width)?];
    for y in 0..height {
        for (plane, (shape, row)) in info.planes.iter().zip(&mut rows).enumerate() {
            // A row of chroma serves several of luma.
            if y % shape.vsub == 0 {
                guard.read_row(plane, y / shape.vsub, 0, row)?;
            }
        }
        let slices: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        decoder.row(&slices, &mut colours);
        for colour in &colours {
            for channel in colour.iter().take(usize::try_from(channels)?) {
                if decoder.is_deep() {
                    bytes.extend(channel.to_be_bytes());
                } else {
                    bytes.push(narrow(*channel));
                }
            }
        }
    }
    Ok(bytes)
}

/// The nearest of 256 values.
fn narrow(channel: u16) -> u8 {
    let rounded = (u32::from(channel) + 128) / 257;
    u8::try_from(rounded).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

    use super::super::census::Census;
    use super::super::report::{PicturePlane, ToldBy};
    use super::*;

    fn told(modifier: Modifier, planes: usize) -> Picture {
        let plane = PicturePlane {
            offset_bytes: 0,
            stride_bytes: 32,
            fd: None,
        };
        Picture {
            told_by: ToldBy::Options,
            size: Extent::new(8, 8).unwrap(),
            format: FormatModifier::new(Fourcc::XRGB8888, modifier),
            planes: vec![plane; planes],
        }
    }

    #[test]
    fn picture_of_what_is_not_rows_is_refused_with_the_reason() {
        for (told, words) in [
            (told(Modifier::INVALID, 1), "implicit"),
            (told(Modifier(0x0100_0000_0000_0002), 1), "only LINEAR"),
            (told(Modifier::LINEAR, 0), "--layout 8x8:XR24:STRIDE"),
        ] {
            let error = check(&told).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        check(&told(Modifier::LINEAR, 1)).unwrap();
    }

    #[test]
    fn picture_of_what_is_no_dma_buf_is_refused() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let report = BufferReport {
            picture: Some(told(Modifier::LINEAR, 1)),
            ..BufferReport::default()
        };
        let how = How {
            standard: None,
            range: Range::Limited,
            has_alpha: false,
            deadline: Duration::ZERO,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("never-made.png");
        let census = Census::default();
        let whose = Whose::of(&census, None, None);
        let error = write(&path, &report, &file, &whose, how).unwrap_err();
        assert!(format!("{error:#}").contains("no dma-buf"), "{error:#}");
        let nobody = BufferReport::default();
        let error = write(&path, &nobody, &file, &whose, how).unwrap_err();
        assert!(error.to_string().contains("give --layout"), "{error:#}");
        assert!(!path.exists());
    }

    #[test]
    fn channel_of_eight_bits_is_narrowed_to_itself() {
        for value in 0..=u8::MAX {
            assert_eq!(narrow(u16::from(value) * 257), value);
        }
        assert_eq!((narrow(128), narrow(129), narrow(65535)), (0, 1, 255));
    }
}
