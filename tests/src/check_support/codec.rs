//! Devices that convert: where they are, waiting for them, and how a picture that was coded resembles itself.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, PixelFormat, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long one picture may take: device and processor are emulated.
const TIMEOUT: Duration = Duration::from_secs(30);

/// vicodec's own code.
pub const FWHT: PixelFormat = PixelFormat::FWHT;

/// The least that a picture that was coded and decoded resembles itself, in decibels.
pub const MIN_PSNR_DB: f64 = 30.0;

/// The first node of a driver that is as wanted.
///
/// # Errors
/// Where there is none.
pub fn node(driver: &str, wanted: impl Fn(&Device) -> bool) -> Result<PathBuf> {
    (0..64)
        .map(|number| PathBuf::from(format!("/dev/video{number}")))
        .find(|path| {
            Device::open(path).is_ok_and(|device| device.driver() == driver && wanted(&device))
        })
        .with_context(|| format!("no such node of {driver}"))
}

fn has(device: &Device, direction: Direction, wanted: PixelFormat) -> bool {
    let formats = device.queue(direction).and_then(|queue| queue.formats());
    formats.is_ok_and(|formats| formats.iter().any(|format| format.pixel_format == wanted))
}

/// The first encoder of vicodec.
///
/// # Errors
/// Where there is none.
pub fn encoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Capture, FWHT))
}

/// The first decoder of vicodec.
///
/// # Errors
/// Where there is none.
pub fn decoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Output, FWHT))
}

/// Both queues of a device that converts: into it, and out of it.
///
/// # Errors
/// Where it has not both.
pub fn queues(device: &Device) -> Result<(Queue, Queue)> {
    Ok((
        device.queue(Direction::Output)?,
        device.queue(Direction::Capture)?,
    ))
}

/// Waits for one buffer; returns how many bytes are in it.
///
/// # Errors
/// Where nothing comes, or a picture that is damaged.
pub fn wait(stream: &mut Stream) -> Result<u32> {
    let until = Instant::now() + TIMEOUT;
    loop {
        ensure!(Instant::now() < until, "nothing came");
        let mut fds = [PollFd::new(&*stream, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&wait))?;
        if let Some(frame) = stream.dequeue()? {
            ensure!(!frame.is_damaged, "a damaged picture");
            return Ok(frame.bytes_used);
        }
    }
}

/// Planes that change little from sample to sample, which a codec keeps well.
///
/// # Errors
/// Where the format's rows are not known.
pub fn smooth(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
    let layout = buffer.layout();
    (0..layout.planes().len())
        .map(|plane| {
            let row = usize::try_from(layout.row_bytes(plane).context("no rows")?)?;
            let rows = usize::try_from(layout.rows(plane).context("no rows")?)?;
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

/// How much two pictures resemble each other, in decibels.
///
/// # Errors
/// Where they are not of one size.
pub fn peak_signal_to_noise(one: &[Vec<u8>], two: &[Vec<u8>], fourcc: Fourcc) -> Result<f64> {
    ensure!(one.len() == two.len(), "{} planes", two.len());
    // The byte that is no colour is not coded.
    let counts = |place: usize| fourcc != Fourcc::XRGB8888 || place % 4 != 3;
    let (mut sum, mut samples) = (0_f64, 0_f64);
    for (one, two) in one.iter().zip(two) {
        ensure!(one.len() == two.len(), "{} bytes", two.len());
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
