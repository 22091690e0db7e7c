//! Devices that convert: vim2m copies pictures, vicodec codes and decodes them. Both have their two queues on one file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, PixelFormat, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_alloc::sources::Sources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::sources::{processor, vga};
use super::{Seen, Tally, pixels};

/// How long one picture may take: device and processor are emulated.
const PATIENCE: Duration = Duration::from_secs(30);

/// vicodec's own code.
const FWHT: PixelFormat = PixelFormat(u32::from_le_bytes(*b"FWHT"));

/// The least that a picture that was coded and decoded resembles itself, in decibels.
const RESEMBLANCE: f64 = 30.0;

pub(crate) fn run(tally: &mut Tally) {
    let sources = Sources::discover();
    tally.check("codecs::vim2m_has_both_queues_on_one_file", || {
        let device = Device::open(&node("vim2m", |_| true)?)?;
        let (output, capture) = queues(&device)?;
        for queue in [&output, &capture] {
            let participant = queue.participant(vga()?, None)?;
            let formats = participant.constraints.formats.context("any format")?;
            ensure!(
                !formats.is_empty(),
                "its {} takes nothing",
                queue.direction()
            );
        }
        // Every file is a job of its own.
        let second = Device::open(device.path())?;
        let (other, _) = queues(&second)?;
        let buffers = allocate(&sources.declarations(), &sources, &output, Fourcc::RGB565)?.0;
        let layout = buffers.first().context("no buffer")?.layout().clone();
        let _one = output.import(&layout, &buffers)?;
        other.import(&layout, &buffers).context("the second file")?;
        Ok(Seen::Passed)
    });
    tally.check("codecs::each_converter_is_a_source_of_its_own", || {
        let mut ids = Vec::new();
        for path in [encoder()?, decoder()?, node("vim2m", |_| true)?] {
            let (output, capture) = queues(&Device::open(&path)?)?;
            for queue in [output, capture] {
                let participant = queue.participant(vga()?, None)?;
                ids.extend(queue.source(&participant)?.map(|source| source.id));
            }
        }
        // Of the codecs one queue each is of bytes.
        ensure!(ids.len() == 4, "{ids:?}");
        ids.sort();
        ids.dedup();
        ensure!(ids.len() == 4, "two have one name: {ids:?}");
        Ok(Seen::Passed)
    });
    for source in sources.declarations() {
        for fourcc in [Fourcc::RGB565, Fourcc::RGB888, Fourcc::BGR888] {
            tally.check(
                &format!("codecs::vim2m_copies_{fourcc}_in_{}", source.id),
                || copies(&sources, &source, fourcc),
            );
        }
        for fourcc in [Fourcc::YUV420, Fourcc::NV12, Fourcc::XRGB8888] {
            tally.check(
                &format!("codecs::vicodec_gives_{fourcc}_back_in_{}", source.id),
                || codes(&sources, &source, fourcc),
            );
        }
    }
    tally.check(
        "codecs::coded_buffer_that_is_too_small_is_refused_before",
        || {
            let device = Device::open(&encoder()?)?;
            let (_, capture) = queues(&device)?;
            let small = bytes(&sources, Extent::new(4096, 1)?)?;
            match capture.import_coded(FWHT, vga()?, &[small]) {
                Err(Error::TooSmall { .. }) => Ok(Seen::Passed),
                answer => bail!("{answer:?}"),
            }
        },
    );
    tally.check(
        "codecs::more_bytes_than_the_buffer_has_are_refused_before",
        || {
            let device = Device::open(&decoder()?)?;
            let (output, _) = queues(&device)?;
            let coded = bytes(&sources, Extent::new(4096, 1024)?)?;
            let mut stream = output.import_coded(FWHT, vga()?, &[coded])?;
            match stream.queue_bytes(0, (4 << 20) + 1) {
                Err(Error::TooSmall { .. }) => {}
                answer => bail!("{answer:?}"),
            }
            ensure!(stream.queued_count() == 0, "the device has it");
            Ok(Seen::Passed)
        },
    );
}

/// The first node of a driver that is as wanted.
fn node(driver: &str, wanted: impl Fn(&Device) -> bool) -> Result<PathBuf> {
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

fn encoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Capture, FWHT))
}

fn decoder() -> Result<PathBuf> {
    node("vicodec", |device| has(device, Direction::Output, FWHT))
}

fn queues(device: &Device) -> Result<(Queue, Queue)> {
    Ok((
        device.queue(Direction::Output)?,
        device.queue(Direction::Capture)?,
    ))
}

/// One buffer that a queue and the processor share, from the first source that serves.
fn allocate(
    from: &[Source],
    sources: &Sources,
    queue: &Queue,
    fourcc: Fourcc,
) -> Result<(Vec<Buffer>, Verdict)> {
    let participant: Participant = queue.participant(vga()?, Some(fourcc))?;
    let request = Request {
        participants: vec![processor(fourcc), participant],
        sources: from.to_vec(),
        ..Request::new(vga()?)
    };
    match solve(&request) {
        Solution::Share(plan) => Ok((sources.allocate(&plan)?, plan.verdict())),
        solution => bail!("{}", solution.explain()),
    }
}

/// A buffer for bytes.
fn bytes(sources: &Sources, extent: Extent) -> Result<Buffer> {
    let request = Request {
        participants: vec![processor(Fourcc::R8)],
        sources: sources.declarations(),
        ..Request::new(extent)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan for bytes")
    };
    sources.allocate(&plan)?.pop().context("no buffer")
}

fn copies(sources: &Sources, source: &Source, fourcc: Fourcc) -> Result<Seen> {
    let device = Device::open(&node("vim2m", |_| true)?)?;
    let (output, capture) = queues(&device)?;
    let from = std::slice::from_ref(source);
    let (read, verdict) = allocate(from, sources, &output, fourcc)?;
    let (written, _) = allocate(from, sources, &capture, fourcc)?;
    ensure!(verdict == Verdict::Guaranteed, "vim2m takes any pages");
    let (into, out) = (first(&read)?, first(&written)?);
    let pattern = pixels::pattern(into, 1)?;
    pixels::write(into, &pattern)?;
    let mut reader = output.import(into.layout(), &read)?;
    let mut writer = capture.import(out.layout(), &written)?;
    writer.queue(0)?;
    reader.queue(0)?;
    writer.start()?;
    reader.start()?;
    wait(&mut writer)?;
    pixels::same(&pixels::read(out)?, &pattern)?;
    Ok(Seen::Passed)
}

fn codes(sources: &Sources, source: &Source, fourcc: Fourcc) -> Result<Seen> {
    let from = std::slice::from_ref(source);
    let coded = bytes(sources, Extent::new(4096, 1024)?)?;
    let device = Device::open(&encoder()?)?;
    let (output, capture) = queues(&device)?;
    let (pictures, _) = allocate(from, sources, &output, fourcc)?;
    let picture = first(&pictures)?;
    let original = smooth(picture)?;
    pixels::write(picture, &original)?;
    let mut reader = output.import(picture.layout(), &pictures)?;
    let mut writer = capture.import_coded(FWHT, vga()?, std::slice::from_ref(&coded))?;
    writer.queue(0)?;
    reader.queue(0)?;
    writer.start()?;
    reader.start()?;
    let used = wait(&mut writer)?;
    drop((reader, writer, device));
    let whole = original.iter().map(Vec::len).sum::<usize>();
    ensure!(
        used > 0 && usize::try_from(used)? < whole,
        "{used} bytes code {whole}"
    );
    let device = Device::open(&decoder()?)?;
    let (output, capture) = queues(&device)?;
    let mut reader = output.import_coded(FWHT, vga()?, std::slice::from_ref(&coded))?;
    reader.queue_bytes(0, used)?;
    // The first bytes say what the pictures are.
    reader.start()?;
    let (decoded, _) = allocate(from, sources, &capture, fourcc)?;
    let out = first(&decoded)?;
    let mut writer = capture.import(out.layout(), &decoded)?;
    writer.queue(0)?;
    writer.start()?;
    wait(&mut writer)?;
    let resemblance = peak_signal_to_noise(&original, &pixels::read(out)?, fourcc)?;
    ensure!(
        resemblance >= RESEMBLANCE,
        "it resembles itself by {resemblance:.1} dB"
    );
    Ok(Seen::Passed)
}

fn first(buffers: &[Buffer]) -> Result<&Buffer> {
    buffers.first().context("no buffer")
}

/// Waits for one buffer; returns how many bytes are in it.
fn wait(stream: &mut Stream) -> Result<u32> {
    let until = Instant::now() + PATIENCE;
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
fn smooth(buffer: &Buffer) -> Result<Vec<Vec<u8>>> {
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

fn peak_signal_to_noise(one: &[Vec<u8>], two: &[Vec<u8>], fourcc: Fourcc) -> Result<f64> {
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
