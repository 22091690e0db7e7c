//! Mem-to-mem devices: vim2m copies pictures, vicodec encodes and decodes them. The output queue and the capture queue belong to
//! the same open file.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Error, Queue};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::codec::{
    FWHT, MIN_PSNR_DB, decoder, encoder, node, peak_signal_to_noise, queues, smooth, wait,
};
use covalent_tests::check_support::pixels;
use covalent_tests::check_support::{processor, vga};

use super::{CheckOutcome, CheckRunner};

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.check("codecs::vim2m_has_both_queues_on_one_file", || {
        let device = Device::open(&node("vim2m", |_| true)?)?;
        let (output, capture) = queues(&device)?;
        for queue in [&output, &capture] {
            let participant = queue.participant(vga()?, None)?;
            let formats = participant
                .constraints()
                .formats
                .as_ref()
                .context("the participant does not list its formats")?;
            ensure!(
                !formats.is_empty(),
                "the {} queue has no formats",
                queue.direction()
            );
        }
        // Each open file of a mem-to-mem device has its own pair of queues.
        let second = Device::open(device.path())?;
        let (second_output, _) = queues(&second)?;
        let buffers = allocate(&sources.declarations(), &sources, &output, Fourcc::RGB565)?.0;
        let _one = output.import(&buffers)?;
        second_output
            .import(&buffers)
            .context("import the buffers into the second open file")?;
        Ok(CheckOutcome::Passed)
    });
    runner.check("codecs::each_converter_is_a_source_of_its_own", || {
        let mut ids = Vec::new();
        for path in [encoder()?, decoder()?, node("vim2m", |_| true)?] {
            let (output, capture) = queues(&Device::open(&path)?)?;
            for queue in [output, capture] {
                let participant = queue.participant(vga()?, None)?;
                ids.extend(queue.source(&participant)?.map(|source| source.id));
            }
        }
        // One queue of the encoder and one queue of the decoder carry coded data, so these two queues are no sources of pictures.
        ensure!(
            ids.len() == 4,
            "four queues should be sources, and these are: {ids:?}"
        );
        ids.sort();
        ids.dedup();
        ensure!(
            ids.len() == 4,
            "two sources have the same identifier: {ids:?}"
        );
        Ok(CheckOutcome::Passed)
    });
    for source in sources.declarations() {
        for fourcc in [Fourcc::RGB565, Fourcc::RGB888, Fourcc::BGR888] {
            runner.check(
                &format!("codecs::vim2m_copies_{fourcc}_in_{}", source.id),
                || vim2m_copies_between_buffers(&sources, &source, fourcc),
            );
        }
        for fourcc in [Fourcc::YUV420, Fourcc::NV12, Fourcc::XRGB8888] {
            runner.check(
                &format!("codecs::vicodec_round_trips_{fourcc}_in_{}", source.id),
                || vicodec_round_trips_a_picture(&sources, &source, fourcc),
            );
        }
    }
    runner.check(
        "codecs::coded_buffer_that_is_too_small_is_refused_by_the_crate",
        || {
            let device = Device::open(&encoder()?)?;
            let (_, capture) = queues(&device)?;
            let small = allocate_coded_buffer(&sources, Extent::new(4096, 1)?)?;
            match capture.import_coded(FWHT, vga()?, &[small]) {
                Err(Error::TooSmall { .. }) => Ok(CheckOutcome::Passed),
                answer => bail!("importing a buffer that is too small returned {answer:?}"),
            }
        },
    );
    runner.check(
        "codecs::more_bytes_than_the_buffer_has_are_refused_by_the_crate",
        || {
            let device = Device::open(&decoder()?)?;
            let (output, _) = queues(&device)?;
            let coded = allocate_coded_buffer(&sources, Extent::new(4096, 1024)?)?;
            let mut stream = output.import_coded(FWHT, vga()?, &[coded])?;
            match stream.queue_bytes(0, (4 << 20) + 1) {
                Err(Error::TooSmall { .. }) => {}
                answer => bail!("queueing more bytes than the buffer has returned {answer:?}"),
            }
            ensure!(stream.queued_count() == 0, "a refused buffer is queued");
            Ok(CheckOutcome::Passed)
        },
    );
}

/// Allocates a buffer that a queue and the CPU share. The source is the first that both support.
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

/// Allocates a buffer for coded data.
fn allocate_coded_buffer(sources: &Sources, extent: Extent) -> Result<Buffer> {
    let request = Request {
        participants: vec![processor(Fourcc::R8)],
        sources: sources.declarations(),
        ..Request::new(extent)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for a buffer of bytes")
    };
    sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")
}

fn vim2m_copies_between_buffers(
    sources: &Sources,
    source: &Source,
    fourcc: Fourcc,
) -> Result<CheckOutcome> {
    let device = Device::open(&node("vim2m", |_| true)?)?;
    let (output, capture) = queues(&device)?;
    let from = std::slice::from_ref(source);
    let (read, verdict) = allocate(from, sources, &output, fourcc)?;
    let (written, _) = allocate(from, sources, &capture, fourcc)?;
    ensure!(
        verdict == Verdict::Guaranteed,
        "vim2m supports any memory, but its plan is not guaranteed"
    );
    let (into, out) = (first_buffer(&read)?, first_buffer(&written)?);
    let pattern = pixels::pattern(into, 1)?;
    pixels::write(into, &pattern)?;
    let mut reader = output.import(&read)?;
    let mut writer = capture.import(&written)?;
    writer.queue(0)?;
    reader.queue(0)?;
    writer.start()?;
    reader.start()?;
    wait(&mut writer)?;
    pixels::same(&pixels::read(out)?, &pattern)?;
    Ok(CheckOutcome::Passed)
}

fn vicodec_round_trips_a_picture(
    sources: &Sources,
    source: &Source,
    fourcc: Fourcc,
) -> Result<CheckOutcome> {
    let from = std::slice::from_ref(source);
    let coded = allocate_coded_buffer(sources, Extent::new(4096, 1024)?)?;
    let device = Device::open(&encoder()?)?;
    let (output, capture) = queues(&device)?;
    let (pictures, _) = allocate(from, sources, &output, fourcc)?;
    let picture = first_buffer(&pictures)?;
    let original = smooth(picture)?;
    pixels::write(picture, &original)?;
    let mut reader = output.import(&pictures)?;
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
        "the encoder wrote {used} bytes for {whole} bytes of pixels"
    );
    let device = Device::open(&decoder()?)?;
    let (output, capture) = queues(&device)?;
    let mut reader = output.import_coded(FWHT, vga()?, std::slice::from_ref(&coded))?;
    reader.queue_bytes(0, used)?;
    // The decoder reads the format and the size from the header of the coded data.
    reader.start()?;
    let (decoded, _) = allocate(from, sources, &capture, fourcc)?;
    let out = first_buffer(&decoded)?;
    let mut writer = capture.import(&decoded)?;
    writer.queue(0)?;
    writer.start()?;
    wait(&mut writer)?;
    let psnr = peak_signal_to_noise(&original, &pixels::read(out)?, fourcc)?;
    ensure!(
        psnr >= MIN_PSNR_DB,
        "the decoded picture has a PSNR of {psnr:.1} dB, and has to have {MIN_PSNR_DB} dB"
    );
    Ok(CheckOutcome::Passed)
}

fn first_buffer(buffers: &[Buffer]) -> Result<&Buffer> {
    buffers.first().context("the source allocated no buffer")
}
