//! Screenshots as PNG files.
//!
//! Reading a screenshot with the CPU belongs to no frame, so the report does not count the bytes.

use std::io::{self, BufWriter};
use std::path::Path;

use covalent_alloc::files::NewFile;
use png::{BitDepth, ColorType, Encoder, EncodingError};

use crate::render::{ColorRepresentation, Encoding, Pixels, RowDecoder};

/// Reads all pixels of a client's buffer as `0xAARRGGBB`. `colour` is the conversion of its sample values to colours.
///
/// # Errors
///
/// When the buffer cannot be read.
pub fn decode(pixels: &dyn Pixels, colour: ColorRepresentation) -> io::Result<Vec<u32>> {
    let (width, height) = pixels.size();
    let count = width
        .checked_mul(height)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut colours = vec![0; count];
    let mut decoder = RowDecoder::default();
    let encoding = Encoding {
        format: pixels.format(),
        size: (width, height),
        colour,
    };
    let mut planes = pixels.open()?;
    for (y, row) in colours.chunks_exact_mut(width).enumerate() {
        decoder.read(&mut *planes, &encoding, (0, y), row)?;
    }
    Ok(colours)
}

/// Writes pixels (`0xAARRGGBB`) as an opaque PNG file, which replaces an existing one. Only the user of the compositor can read
/// it.
///
/// # Errors
///
/// When the file cannot be created or written.
pub fn save(
    path: &Path,
    (width, height): (u32, u32),
    colours: &[u32],
) -> Result<(), EncodingError> {
    let bytes: Vec<u8> = colours
        .iter()
        .flat_map(|colour| {
            let [blue, green, red, _] = colour.to_le_bytes();
            [red, green, blue]
        })
        .collect();
    let failed = |error: io::Error| EncodingError::IoError(error);
    let mut file = BufWriter::new(NewFile::create(path).map_err(|error| failed(error.into()))?);
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut image = encoder.write_header()?;
    image.write_image_data(&bytes)?;
    // The writers are finished explicitly, because dropping them would discard their errors.
    image.finish()?;
    let whole = file.into_inner();
    let whole = whole.map_err(|error| failed(error.into_error()))?;
    whole.commit().map_err(|error| failed(error.into()))
}
