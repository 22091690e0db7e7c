//! Functions to find mem-to-mem devices and codecs, to wait for their buffers, and to compare a decoded picture with the
//! original.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, PixelFormat, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest time for one picture. The device and the CPU are emulated.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The coded format of vicodec.
pub const FWHT: PixelFormat = PixelFormat::FWHT;

/// The lowest PSNR that a picture must have after it was encoded and decoded, in decibels.
pub const MIN_PSNR_DB: f64 = 30.0;

/// Returns the first node of a driver for which `wanted` returns true.
///
/// # Errors
/// There is no such node.
pub fn node(driver: &str, wanted: impl Fn(&Device) -> bool) -> Result<PathBuf> {
    (0..64)
        .map(|number| PathBuf::from(format!("/dev/video{number}")))
        .find(|path| {
            Device::open(path).is_ok_and(|device| device.driver() == driver && wanted(&device))
        })
        .with_context(|| format!("no /dev/video node of {driver} matches"))
}

/// Returns whether the queue of this direction supports the pixel format.
fn has(device: &Device, direction: Direction, wanted: PixelFormat) -> bool {
    let formats = device.queue(direction).and_then(|queue| queue.formats());
    formats.is_ok_and(|formats| formats.iter().any(|format| format.pixel_format == wanted))
}

/// Returns the first encoder of vicodec.
///
/// # Errors
/// The machine has no encoder of vicodec.
pub fn encoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Capture, FWHT))
}

/// Returns the first decoder of vicodec.
///
/// # Errors
/// The machine has no decoder of vicodec.
pub fn decoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Output, FWHT))
}

/// Returns the output queue and the capture queue of a mem-to-mem device.
///
/// # Errors
/// The device lacks one of the queues.
pub fn queues(device: &Device) -> Result<(Queue, Queue)> {
    Ok((
        device.queue(Direction::Output)?,
        device.queue(Direction::Capture)?,
    ))
}

/// Waits until the device returns one buffer. Returns the number of bytes that the device wrote.
///
/// # Errors
/// The device returns no buffer in time, or marks it as damaged.
pub fn wait(stream: &mut Stream) -> Result<u32> {
    let until = Instant::now() + TIMEOUT;
    loop {
        ensure!(
            Instant::now() < until,
            "the device returned no buffer within {} s",
            TIMEOUT.as_secs()
        );
        let mut fds = [PollFd::new(&*stream, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&wait))?;
        if let Some(frame) = stream.dequeue()? {
            ensure!(
                !frame.is_damaged,
                "the device marked the picture as damaged"
            );
            return Ok(frame.bytes_used);
        }
    }
}

/// Returns the planes of a picture for this buffer with smooth gradients, which a lossy codec preserves well.
///
/// # Errors
/// covalent-alloc does not know the rows of the buffer's format.
pub fn smooth(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    (0..layout.planes().len())
        .map(|plane| {
            let picture = layout
                .visible_bytes(plane)
                .context("the linear layout of the format is not known")?;
            let row = usize::try_from(picture.row_bytes)?;
            let rows = usize::try_from(picture.rows)?;
            (0..row * rows)
                .map(|place| {
                    Ok(u8::try_from(
                        40 + (place % row) * 80 / row + (place / row) * 80 / rows,
                    )?)
                })
                .collect()
        })
        .collect()
}

/// Returns the peak signal-to-noise ratio of two pictures, in decibels.
///
/// # Errors
/// The pictures have different sizes.
pub fn peak_signal_to_noise(one: &[Vec<u8>], two: &[Vec<u8>], fourcc: Fourcc) -> Result<f64> {
    ensure!(
        one.len() == two.len(),
        "the pictures have {} and {} planes",
        one.len(),
        two.len()
    );
    // The codec ignores the padding byte of XRGB8888, so this byte is not compared.
    let counts = |place: usize| fourcc != Fourcc::XRGB8888 || place % 4 != 3;
    let (mut sum, mut samples) = (0_f64, 0_f64);
    for (one, two) in one.iter().zip(two) {
        ensure!(
            one.len() == two.len(),
            "the planes differ in size: {} and {} bytes",
            one.len(),
            two.len()
        );
        for (place, (one, two)) in one.iter().zip(two).enumerate() {
            if counts(place) {
                sum += f64::from(one.abs_diff(*two)).powi(2);
                samples += 1.0;
            }
        }
    }
    let noise = sum / samples;
    Ok(if noise == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (255.0 * 255.0 / noise).log10()
    })
}
