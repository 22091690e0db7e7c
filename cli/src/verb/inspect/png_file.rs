//! Writes the pixels of a dma-buf as a PNG file. The pixels are read through a map guard, which issues DMA_BUF_IOCTL_SYNC.

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

use super::fd_resolver::FdResolver;
use super::fences::wait_until_signalled;
use super::report::{BufferReport, PixelLayout};
use crate::pixels::{Colours, Decoder, Range, Standard};

/// The options of the conversion from the dma-buf to the PNG file.
#[derive(Clone, Copy, Debug)]
pub(super) struct PngOptions {
    /// The YUV matrix; `None` selects it by the height of the picture.
    pub(super) standard: Option<Standard>,
    pub(super) range: Range,
    pub(super) has_alpha: bool,
    /// The longest wait for the fences of writers.
    pub(super) timeout: Duration,
}

/// The properties of a PNG file that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PngResult {
    /// The time that was spent waiting for the fences of writers.
    pub(super) waited: Duration,
    /// The YUV matrix and range; `None` for formats that are not YUV.
    pub(super) colours: Option<Colours>,
}

/// Writes the pixels of a dma-buf to a file.
///
/// # Errors
/// The layout is unknown or not linear, a fence is still pending, the memory cannot be read, or the file cannot be written.
pub(super) fn write(
    path: &Path,
    report: &BufferReport,
    fd: &OwnedFd,
    resolver: &FdResolver<'_>,
    options: PngOptions,
) -> Result<PngResult> {
    let pixel_layout = report.pixel_layout.as_ref().with_context(|| {
        format!(
            "the pixel layout of inode {} is not known: give --layout SIZE:FORMAT:STRIDE",
            report.inode
        )
    })?;
    check(pixel_layout)?;
    // The file is created before the wait for fences, so that a path that cannot be written is reported at once.
    let file = NewFile::create(path)?;
    let colours = Colours {
        standard: options
            .standard
            .unwrap_or_else(|| Standard::default_for_height(pixel_layout.size.height())),
        range: options.range,
    };
    let fourcc = pixel_layout.format.fourcc;
    let decoder = Decoder::new(fourcc, colours)
        .with_context(|| format!("pixels in {fourcc} cannot be converted to RGB by this tool"))?;
    let buffer = Buffer::import(descriptor(pixel_layout, report, fd, resolver)?)
        .with_context(|| format!("inode {} does not match its pixel layout", report.inode))?;
    let mapping = buffer.map()?;
    let start = Instant::now();
    let guard = loop {
        match mapping.try_access(CpuAccess::Read, &[])? {
            CpuAccessDecision::Granted(guard) => break guard,
            CpuAccessDecision::Wait(waits) => {
                let left = options.timeout.saturating_sub(start.elapsed());
                if !wait_until_signalled(&waits.iter().collect::<Vec<_>>(), left)? {
                    bail!(
                        "a fence of a writer of inode {} is still pending after {} s, so the picture is not complete; --wait SECONDS waits longer",
                        report.inode,
                        options.timeout.as_secs_f64()
                    );
                }
            }
        }
    };
    let waited = start.elapsed();
    let bytes = pixels(&guard, buffer.layout(), &decoder, options.has_alpha)?;
    drop(guard);
    let write_failed = || format!("cannot write {}", printable_path(path));
    let mut file = BufWriter::new(file);
    let mut encoder = Encoder::new(
        &mut file,
        pixel_layout.size.width(),
        pixel_layout.size.height(),
    );
    encoder.set_color(if options.has_alpha {
        ColorType::Rgba
    } else {
        ColorType::Rgb
    });
    encoder.set_depth(if decoder.is_deep() {
        BitDepth::Sixteen
    } else {
        BitDepth::Eight
    });
    let mut picture = encoder.write_header().with_context(write_failed)?;
    picture
        .write_image_data(&bytes)
        .with_context(write_failed)?;
    // Dropping the encoder and the writer would ignore their errors, so both are finished here.
    picture.finish().with_context(write_failed)?;
    let whole = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    whole.with_context(write_failed)?.commit()?;
    let is_yuv = fourcc.info().is_some_and(|info| info.is_yuv);
    Ok(PngResult {
        waited,
        colours: is_yuv.then_some(colours),
    })
}

/// Returns an error for a layout without strides, and for a layout that is not linear.
fn check(layout: &PixelLayout) -> Result<()> {
    let modifier = layout.format.modifier;
    if layout.planes.is_empty() {
        bail!(
            "size and format of the pixels are known ({} {}), but not the stride: give --layout {}:{}:STRIDE",
            layout.size,
            layout.format.fourcc,
            layout.size,
            layout.format.fourcc
        );
    }
    if modifier.is_implicit() {
        bail!(
            "the modifier of the pixels is implicit (INVALID), so only the driver that allocated them knows their tiling; if you know that they are linear, give --layout"
        );
    }
    if modifier != Modifier::LINEAR {
        bail!("the modifier of the pixels is {modifier:#}, and this tool reads only LINEAR pixels");
    }
    Ok(())
}

/// Makes the buffer description of the dma-bufs that contain the planes of a layout.
fn descriptor(
    layout: &PixelLayout,
    report: &BufferReport,
    fd: &OwnedFd,
    resolver: &FdResolver<'_>,
) -> Result<Descriptor> {
    let mut planes = Vec::with_capacity(layout.planes.len());
    for plane in &layout.planes {
        let fd = match plane.fd {
            None => fd
                .try_clone()
                .context("cannot duplicate the fd of the dma-buf")?,
            Some(other) => resolver.duplicate(report, other)?,
        };
        planes.push(PlaneDescriptor {
            fd,
            offset_bytes: plane.offset_bytes.into(),
            stride_bytes: plane.stride_bytes,
        });
    }
    Ok(Descriptor {
        extent: layout.size,
        format: layout.format,
        planes,
    })
}

/// Reads all pixels as red, green, blue and, with `has_alpha`, alpha: a byte for each channel, or 16 bits in big-endian order
/// for formats with more than 8 bits.
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
    let total_bytes = u64::from(width)
        .checked_mul(height.into())
        .and_then(|count| usize::try_from(count.checked_mul(pixel_bytes)?).ok())
        .context("the picture is larger than memory")?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(total_bytes)
        .with_context(|| format!("cannot allocate {total_bytes} bytes for the picture"))?;
    let mut rows = Vec::with_capacity(info.planes.len());
    for plane in 0..info.planes.len() {
        let length = layout.row_bytes(plane).context("a row of a known format")?;
        rows.push(vec![0; usize::try_from(length)?]);
    }
    let mut colours = vec![[0; 4]; usize::try_from(width)?];
    for y in 0..height {
        for (plane, (shape, row)) in info.planes.iter().zip(&mut rows).enumerate() {
            // In a vertically subsampled plane, one row of chroma samples covers several rows of pixels.
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
                    bytes.push(to_eight_bits(*channel));
                }
            }
        }
    }
    Ok(bytes)
}

/// Returns the 8-bit value that is nearest to a 16-bit channel.
fn to_eight_bits(channel: u16) -> u8 {
    let rounded = (u32::from(channel) + 128) / 257;
    u8::try_from(rounded).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

    use super::super::process_scan::ProcessScan;
    use super::super::report::{LayoutOrigin, PixelPlane};
    use super::*;

    fn layout(modifier: Modifier, planes: usize) -> PixelLayout {
        let plane = PixelPlane {
            offset_bytes: 0,
            stride_bytes: 32,
            fd: None,
        };
        PixelLayout {
            origin: LayoutOrigin::Options,
            size: Extent::new(8, 8).unwrap(),
            format: FormatModifier::new(Fourcc::XRGB8888, modifier),
            planes: vec![plane; planes],
        }
    }

    #[test]
    fn layout_that_is_not_linear_is_refused_with_the_reason() {
        for (layout, words) in [
            (layout(Modifier::INVALID, 1), "implicit"),
            (layout(Modifier(0x0100_0000_0000_0002), 1), "only LINEAR"),
            (layout(Modifier::LINEAR, 0), "--layout 8x8:XR24:STRIDE"),
        ] {
            let error = check(&layout).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        check(&layout(Modifier::LINEAR, 1)).unwrap();
    }

    #[test]
    fn file_that_is_not_a_dma_buf_is_refused() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let report = BufferReport {
            pixel_layout: Some(layout(Modifier::LINEAR, 1)),
            ..BufferReport::default()
        };
        let options = PngOptions {
            standard: None,
            range: Range::Limited,
            has_alpha: false,
            timeout: Duration::ZERO,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("never-made.png");
        let scan = ProcessScan::default();
        let resolver = FdResolver::new(&scan, None, None);
        let error = write(&path, &report, &file, &resolver, options).unwrap_err();
        assert!(format!("{error:#}").contains("not a dma-buf"), "{error:#}");
        let without_layout = BufferReport::default();
        let error = write(&path, &without_layout, &file, &resolver, options).unwrap_err();
        assert!(error.to_string().contains("give --layout"), "{error:#}");
        assert!(!path.exists());
    }

    #[test]
    fn channel_of_eight_bits_keeps_its_value() {
        for value in 0..=u8::MAX {
            assert_eq!(to_eight_bits(u16::from(value) * 257), value);
        }
        assert_eq!(
            (to_eight_bits(128), to_eight_bits(129), to_eight_bits(65535)),
            (0, 1, 255)
        );
    }
}
