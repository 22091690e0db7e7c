//! Reads the frames of another process's video stream without a copy: `read-frames SOCKET [FRAMES] [DELAY_MS]`.
//!
//! `covalent-camera --share SOCKET` serves such a stream. This program prints eight colours of the middle row of each frame, as
//! red, green and blue in hexadecimal digits. With `DELAY_MS` it holds each frame for that time. It then misses frames; the
//! camera, the display and other readers do not.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use covalent_alloc::buffer::{Buffer, Mapping};
use covalent_client_demo::frame_sharing::{Frame, FrameReader};
use covalent_client_demo::xrgb::PIXEL_BYTES;
use covalent_client_demo::xrgb_reader::{ReadError, XrgbReader};
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: read-frames SOCKET [FRAMES] [DELAY_MS]")?,
    );
    let mut number = |default| arguments.next().map_or(Ok(default), |word| word.parse());
    let (frames, delay) = (number(10)?, Duration::from_millis(number(0)?));
    let mut reader = FrameReader::connect(&socket)?;
    let colours = reader.colours();
    // Every buffer stays mapped: mapping a buffer again for each frame takes longer than reading eight pixels.
    let mappings: Vec<Mapping> = reader
        .buffers()
        .iter()
        .map(Buffer::map)
        .collect::<Result<_, _>>()?;
    let layout = reader.buffers().first().map(Buffer::layout);
    let mut pixels = XrgbReader::new(layout.ok_or("there are no buffers")?, colours)?;
    let (mut read, mut lost) = (0, 0);
    let mut last_sequence: Option<u32> = None;
    while read < frames {
        let Some(frame) = reader.next_frame()? else {
            poll(&mut [PollFd::new(&reader, PollFlags::IN)], None)?;
            continue;
        };
        let gap = last_sequence.map_or(1, |last_sequence| {
            frame.sequence().wrapping_sub(last_sequence)
        });
        lost += u64::from(gap.saturating_sub(1));
        last_sequence = Some(frame.sequence());
        let colours = middle_colours(&frame, &mappings, &mut pixels)?;
        println!("frame {}: {}", frame.sequence(), colours.join(" "));
        std::thread::sleep(delay);
        read += 1;
        // Dropping `frame` tells the server that this process has read the buffer, so the server can queue the buffer in the
        // camera again.
    }
    println!("{read} frames were read, {lost} frames in between were missed");
    Ok(())
}

/// Reads eight colours of a frame's middle row, from the left to the right.
fn middle_colours(
    frame: &Frame<'_>,
    mappings: &[Mapping],
    pixels: &mut XrgbReader,
) -> Result<Vec<String>, ReadError> {
    let extent = frame.buffer().layout().visible().extent();
    let row_bytes = extent.width() as usize * PIXEL_BYTES;
    let middle = extent.height() as usize / 2;
    let (mut first, mut row) = (0, Vec::new());
    pixels.read::<ReadError>(&mappings[frame.index()], |rows| {
        let mut lines = rows.chunks_exact(row_bytes);
        let count = lines.len();
        if (first..first + count).contains(&middle) {
            row = lines.nth(middle - first).unwrap_or_default().to_vec();
        }
        first += count;
        Ok(())
    })?;
    let width = extent.width() as usize;
    let colour = |column: usize| match row.get(column * PIXEL_BYTES..) {
        Some([blue, green, red, ..]) => format!("{red:02x}{green:02x}{blue:02x}"),
        _ => "none".to_owned(),
    };
    Ok((0..8)
        .map(|bar| colour(width * (2 * bar + 1) / 16))
        .collect())
}
