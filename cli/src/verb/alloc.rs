//! `covalent alloc`: allocates buffers from one source, checks them by writing and reading, and frees them.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use covalent_alloc::backend;
use covalent_alloc::buffer::{Buffer, CpuAccess, cpu_traffic};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, FormatSet, Participant, Role, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use serde::Serialize;

use crate::args::{ALLOCATION_FAILED, NO_PLAN};
use crate::json;
use crate::out::{self, Lines, line};

/// Allocate buffers from one source, check them by writing and reading, and free them.
#[derive(Args, Debug)]
#[command(after_help = "\
SOURCE is an identifier that `covalent probe` prints, or a prefix that only one of them has. Every
byte of the planes is written and read back through a mapping with DMA_BUF_IOCTL_SYNC; a byte that
differs is an error.

Examples:
  covalent alloc heap:system --size 640x480 --format XR24
  covalent alloc dumb:virtio_gpu --size 1920x1080 --format NV12 --count 3 --json
  covalent alloc udmabuf --size 641x481 --format YU12

Exit codes: 0 done, 4 the source cannot allocate such a buffer, 7 the allocation failed or a byte
differs.")]
pub(crate) struct Options {
    /// Allocate from this source, such as heap:system.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Set the size in pixels.
    #[arg(long, value_name = "WxH")]
    size: Extent,
    /// Set the format, such as XR24 or NV12.
    #[arg(long, value_name = "FOURCC")]
    format: Fourcc,
    /// Allocate this many buffers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Plan,
    buffers: Vec<Allocated>,
    read_bytes: u64,
    written_bytes: u64,
}

/// One allocated buffer in the report.
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
        if let Err(error) = write_and_read_back(buffer) {
            line!(
                out::stderr(),
                "covalent: cannot check buffer {number} of {}: {}",
                plan.source_name(),
                out::error_text(&error)
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

/// Returns the source whose identifier is `name`, or the only source whose identifier begins with it.
fn find(collection: &mut BufferCollection, name: &str) -> Result<Source> {
    let declared = collection.sources();
    if let Some(exact) = declared.iter().find(|source| source.id.as_str() == name) {
        return Ok(exact.clone());
    }
    let mut matching = declared
        .iter()
        .filter(|source| source.id.as_str().starts_with(name));
    match (matching.next(), matching.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(one), Some(two)) => bail!(
            "`{name}` is a prefix of {} and of {}: write a longer one",
            one.id,
            two.id
        ),
        (None, _) => {
            let known: Vec<_> = declared
                .iter()
                .map(|source| source.id.to_string())
                .collect();
            let mut lines = vec![format!(
                "there is no source `{name}`; this machine has {}",
                known.join(", ")
            )];
            for unavailable in collection.unavailable() {
                lines.push(format!("not usable: {unavailable}"));
            }
            bail!(Lines(lines))
        }
    }
}

/// Makes a request for buffers of one source that the CPU writes.
fn request(options: &Options, source: Source) -> Request {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|choice| {
        choice.formats = Some(FormatSet::from([FormatModifier::linear(options.format)]));
        choice.memory.cpu = CpuUse::Often;
    });
    Request {
        count: options.count,
        participants: vec![processor],
        pools: backend::pools(std::slice::from_ref(&source)),
        sources: vec![source],
        ..Request::new(options.size)
    }
}

/// Writes every byte of every plane and reads it back.
///
/// # Errors
/// The buffer cannot be mapped, or a byte differs.
fn write_and_read_back(buffer: &Buffer) -> Result<()> {
    const CHUNK: u64 = 1 << 16;
    let mapping = buffer.map()?;
    let byte_at = |plane: usize, offset: u64| -> u8 {
        // The period of the pattern is not a power of two, so a test of the bytes detects exchanged rows or planes.
        let plane = u64::try_from(plane).unwrap_or_default();
        u8::try_from(offset.wrapping_add(plane.wrapping_mul(83)) % 251).unwrap_or_default()
    };
    let chunks = |size: u64| {
        (0..size.div_ceil(CHUNK)).map(move |index| {
            let start = index.saturating_mul(CHUNK);
            (start, size.saturating_sub(start).min(CHUNK))
        })
    };
    {
        let guard = mapping.access(CpuAccess::Write)?;
        for (number, plane) in buffer.layout().planes().iter().enumerate() {
            for (start, length) in chunks(plane.size_bytes) {
                let bytes: Vec<u8> = (0..length)
                    .map(|offset| byte_at(number, start.saturating_add(offset)))
                    .collect();
                guard.write(number, start, &bytes)?;
            }
        }
    }
    let guard = mapping.access(CpuAccess::Read)?;
    for (number, plane) in buffer.layout().planes().iter().enumerate() {
        for (start, length) in chunks(plane.size_bytes) {
            let mut bytes =
                vec![0; usize::try_from(length).context("the chunk is larger than memory")?];
            guard.read(number, start, &mut bytes)?;
            for (byte, offset) in bytes.iter().zip(start..) {
                let expected = byte_at(number, offset);
                if *byte != expected {
                    bail!(
                        "byte {offset} of plane {number} was written as {expected} and read as {byte}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Returns the entry of a buffer in the report.
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

/// Prints the plan and the buffers.
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
