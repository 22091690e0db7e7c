//! `covalent alloc`: a buffer from one source, proved by writing and reading, and freed.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use covalent_alloc::buffer::{Buffer, CpuAccess, cpu_traffic};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, FormatSet, Participant, Role, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use serde::Serialize;

use crate::args::{ALLOCATION_FAILED, NO_PLAN};
use crate::json;
use crate::out::{self, Lines, line};

/// Allocate a buffer from one source, prove it by writing and reading, and free it.
#[derive(Args, Debug)]
#[command(after_help = "\
SOURCE is an identifier from `covalent probe`, or the beginning of one that begins no other. Every byte of the planes is
written through the guard for the processor and read back; what differs is an error.

Examples:
  covalent alloc heap:system --size 640x480 --format XR24
  covalent alloc dumb:virtio_gpu --size 1920x1080 --format NV12 --count 3 --json
  covalent alloc udmabuf --size 641x481 --format YU12

Exit codes: 0 done, 4 the source cannot give such a buffer, 7 it did not give it or the bytes differ.")]
pub(crate) struct Options {
    /// Where the memory comes from, like heap:system.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The size in pixels.
    #[arg(long, value_name = "WxH")]
    size: Extent,
    /// The format, like XR24 or NV12.
    #[arg(long, value_name = "FOURCC")]
    format: Fourcc,
    /// How many buffers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Plan,
    buffers: Vec<Allocated>,
    read_bytes: u64,
    written_bytes: u64,
}

#[derive(Serialize)]
struct Allocated {
    source: String,
    exporter: Option<String>,
    inodes: Vec<u64>,
    memory_bytes: Vec<u64>,
    strides_bytes: Vec<u32>,
    offsets_bytes: Vec<u64>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut collection = BufferCollection::new(options.size).with_in_process_drivers();
    let source = find(&mut collection, &options.source)?;
    let plan = match solve(&request(options, source)) {
        Solution::Share(plan) => plan,
        solution => {
            write!(out::stderr(), "{}", solution.explain())?;
            return Ok(NO_PLAN.into());
        }
    };
    let buffers = match collection.allocate(&plan) {
        Ok(buffers) => buffers,
        Err(error) => {
            line!(out::stderr(), "covalent: {error}")?;
            return Ok(ALLOCATION_FAILED.into());
        }
    };
    for (number, buffer) in buffers.iter().enumerate() {
        if let Err(error) = prove(buffer) {
            line!(
                out::stderr(),
                "covalent: buffer {number} of {}: {error:#}",
                plan.source_name()
            )?;
            return Ok(ALLOCATION_FAILED.into());
        }
    }
    let traffic = cpu_traffic();
    let report = Report {
        plan: &plan,
        buffers: buffers.iter().map(describe).collect(),
        read_bytes: traffic.read_bytes,
        written_bytes: traffic.written_bytes,
    };
    drop(buffers);
    write_report(options, &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the one source that a name means.
fn find(collection: &mut BufferCollection, name: &str) -> Result<Source> {
    let declared = collection.sources();
    if let Some(exact) = declared.iter().find(|source| source.id.as_str() == name) {
        return Ok(exact.clone());
    }
    let mut meant = declared
        .iter()
        .filter(|source| source.id.as_str().starts_with(name));
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(one), Some(two)) => bail!(
            "`{name}` begins {} and {} alike; write more of it",
            one.id,
            two.id
        ),
        (None, _) => {
            let known: Vec<_> = declared
                .iter()
                .map(|source| source.id.to_string())
                .collect();
            let mut lines = vec![format!(
                "no source is called `{name}`; there are {}",
                known.join(", ")
            )];
            for unavailable in collection.unavailable() {
                lines.push(format!("not usable: {unavailable}"));
            }
            bail!(Lines(lines))
        }
    }
}

fn request(options: &Options, source: Source) -> Request {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(options.format)]));
        own.memory.cpu = CpuUse::Often;
    });
    Request {
        count: options.count,
        participants: vec![processor],
        sources: vec![source],
        ..Request::new(options.size)
    }
}

/// Writes every byte of every plane and reads it back.
fn prove(buffer: &Buffer) -> Result<()> {
    const CHUNK: u64 = 1 << 16;
    let mapping = buffer.map()?;
    let byte_at = |plane: usize, offset: u64| -> u8 {
        // A pattern without a power of two as its period, so that rows and planes that are mixed up differ.
        let plane = u64::try_from(plane).unwrap_or_default();
        u8::try_from(offset.wrapping_add(plane.wrapping_mul(83)) % 251).unwrap_or_default()
    };
    let chunks = |size: u64| {
        (0..size.div_ceil(CHUNK)).map(move |place| {
            let begin = place.saturating_mul(CHUNK);
            (begin, size.saturating_sub(begin).min(CHUNK))
        })
    };
    {
        let guard = mapping.access(CpuAccess::Write)?;
        for (number, plane) in buffer.layout().planes().iter().enumerate() {
            for (begin, length) in chunks(plane.size_bytes) {
                let bytes: Vec<u8> = (0..length)
                    .map(|place| byte_at(number, begin.saturating_add(place)))
                    .collect();
                guard.write(number, begin, &bytes)?;
            }
        }
    }
    let guard = mapping.access(CpuAccess::Read)?;
    for (number, plane) in buffer.layout().planes().iter().enumerate() {
        for (begin, length) in chunks(plane.size_bytes) {
            let mut bytes = vec![0; usize::try_from(length).context("a chunk larger than memory")?];
            guard.read(number, begin, &mut bytes)?;
            for (byte, place) in bytes.iter().zip(begin..) {
                let expected = byte_at(number, place);
                if *byte != expected {
                    bail!(
                        "byte {place} of plane {number} was written as {expected} and read as {byte}"
                    );
                }
            }
        }
    }
    Ok(())
}

fn describe(buffer: &Buffer) -> Allocated {
    let layout = buffer.layout();
    Allocated {
        source: buffer.source_name().to_owned(),
        exporter: buffer.exporter(),
        inodes: buffer.identities().map(|identity| identity.0).collect(),
        memory_bytes: layout.memory_sizes().to_vec(),
        strides_bytes: layout
            .planes()
            .iter()
            .map(|plane| plane.stride_bytes)
            .collect(),
        offsets_bytes: layout
            .planes()
            .iter()
            .map(|plane| plane.offset_bytes)
            .collect(),
    }
}

fn write_report(options: &Options, report: &Report<'_>) -> io::Result<()> {
    if options.json {
        return json::print(report);
    }
    let mut out = out::stdout();
    write!(out, "{}", report.plan.explain())?;
    for buffer in &report.buffers {
        line!(
            out,
            "dma-buf inode {:?}, exporter {}, {:?} bytes, strides {:?} bytes, offsets {:?} bytes",
            buffer.inodes,
            buffer.exporter.as_deref().unwrap_or("unknown"),
            buffer.memory_bytes,
            buffer.strides_bytes,
            buffer.offsets_bytes
        )?;
    }
    line!(
        out,
        "every byte read back as written ({} bytes written, {} read); freed",
        report.written_bytes,
        report.read_bytes
    )?;
    out.flush()
}
