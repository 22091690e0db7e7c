//! One suite for every source: heaps, udmabuf of every page size, every card's dumb buffers, every queue's own memory.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Queue, Stream};
use covalent_alloc::buffer::{Buffer, CpuAccess};
use covalent_alloc::constraint::{Guarantees, Source};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{processor, vga};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{CheckOutcome, CheckRunner};

/// Where memory comes from, whichever backend it is.
pub(crate) enum Backend<'a> {
    Neutral(&'a Sources),
    Queue(Queue),
}

/// Buffers, with what has to live as long as they do.
pub(crate) struct Allocation {
    pub(crate) buffers: Vec<Buffer>,
    _stream: Option<Stream>,
}

impl Backend<'_> {
    pub(crate) fn allocate(&self, plan: &Plan) -> Result<Allocation> {
        Ok(match self {
            Self::Neutral(sources) => Allocation {
                buffers: sources.allocate(plan)?,
                _stream: None,
            },
            Self::Queue(queue) => {
                let stream = queue.allocate(plan)?;
                Allocation {
                    buffers: stream.buffers().to_vec(),
                    _stream: Some(stream),
                }
            }
        })
    }

    /// A plan from `source` alone, for the processor and, where it is a queue's memory, for that queue.
    fn plan(
        &self,
        source: &Source,
        fourcc: Fourcc,
        extent: Extent,
        count: u32,
    ) -> Result<Option<Plan>> {
        let mut participants = vec![processor(fourcc)];
        let mut source = source.clone();
        if let Self::Queue(queue) = self {
            let participant = queue.participant(extent, Some(fourcc))?;
            let Some(own) = queue.source(&participant)? else {
                bail!("the queue exports nothing any more");
            };
            source = own;
            participants.push(participant);
        }
        let request = Request {
            count,
            participants,
            sources: vec![source],
            ..Request::new(extent)
        };
        Ok(match solve(&request) {
            Solution::Share(plan) => Some(plan),
            _ => None,
        })
    }
}

type Property = fn(&Backend<'_>, &Source) -> Result<CheckOutcome>;

macro_rules! suite {
    ($($property:ident),* $(,)?) => {
        const SUITE: &[(&str, Property)] = &[$((stringify!($property), $property)),*];
    };
}

suite![
    plan_is_kept,
    memory_is_zeroed_also_when_it_comes_back,
    bytes_are_read_as_written,
    fds_that_run_out_are_an_error_and_later_none,
    more_than_there_is_is_refused_before_the_kernel_is_asked,
    plan_of_another_source_is_refused,
];

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover_with_drivers();
    runner.watch(&sources);
    runner.check("sources::all_that_are_there_open", || {
        let closed: Vec<_> = sources
            .unavailable()
            .iter()
            .map(ToString::to_string)
            .collect();
        ensure!(closed.is_empty(), "{}", closed.join("; "));
        ensure!(!sources.declarations().is_empty(), "there is no source");
        Ok(CheckOutcome::Passed)
    });
    let cards = Card::list().len();
    runner.check("sources::every_card_gives_dumb_buffers", || {
        let declared = sources.declarations();
        let dumb = declared
            .iter()
            .filter(|source| source.id.as_str().starts_with("dumb:"))
            .count();
        ensure!(dumb == cards, "{dumb} of {cards} cards");
        Ok(CheckOutcome::Passed)
    });
    for source in sources.declarations() {
        let backend = Backend::Neutral(&sources);
        hold(runner, &backend, &source);
    }
    for node in ["/dev/video0", "/dev/video1", "/dev/video2", "/dev/video3"] {
        let direction = if node.ends_with(['0', '2']) {
            Direction::Capture
        } else {
            Direction::Output
        };
        let queue = Device::open(node.as_ref()).and_then(|device| device.queue(direction));
        let declared = queue.map_err(anyhow::Error::from).and_then(|queue| {
            let participant = queue.participant(vga()?, Some(Fourcc::XRGB8888))?;
            let source = queue.source(&participant)?.context("it exports nothing")?;
            Ok((Backend::Queue(queue), source))
        });
        match declared {
            Ok((backend, source)) => hold(runner, &backend, &source),
            Err(error) => runner.check(node, || Err(error)),
        }
    }
}

fn hold(runner: &mut CheckRunner, backend: &Backend<'_>, source: &Source) {
    for (name, property) in SUITE {
        runner.check(&format!("sources::{}::{name}", source.id), || {
            property(backend, source)
        });
    }
}

fn plan_is_kept(backend: &Backend<'_>, source: &Source) -> Result<CheckOutcome> {
    let mut kept = 0;
    for fourcc in [
        Fourcc::XRGB8888,
        Fourcc::RGB565,
        Fourcc::YUYV,
        Fourcc::NV12,
        Fourcc::YUV420,
    ] {
        for extent in [vga()?, Extent::new(641, 481)?, Extent::new(16, 1)?] {
            let Some(plan) = backend.plan(source, fourcc, extent, 3)? else {
                ensure!(
                    source.constraints.formats.is_some(),
                    "no plan for {extent} in {fourcc}"
                );
                continue;
            };
            let allocation = backend
                .allocate(&plan)
                .with_context(|| format!("{extent} in {fourcc}"))?;
            let buffers = &allocation.buffers;
            let count = u32::try_from(buffers.len())?;
            ensure!(count == plan.count(), "{count} buffers of {}", plan.count());
            let inodes: BTreeSet<u64> = buffers
                .iter()
                .flat_map(Buffer::identities)
                .map(|identity| identity.0)
                .collect();
            let memories = plan
                .layout()
                .memory_sizes()
                .len()
                .saturating_mul(buffers.len());
            ensure!(
                inodes.len() == memories,
                "{} dma-bufs for {memories} memories",
                inodes.len()
            );
            for buffer in buffers {
                plan.accepts(buffer.layout())?;
                ensure!(
                    buffer.layout().format() == plan.layout().format(),
                    "another format"
                );
                ensure!(buffer.exporter().is_some(), "fdinfo names no exporter");
            }
            kept += 1;
        }
    }
    ensure!(kept > 0, "no plan at all");
    Ok(CheckOutcome::Passed)
}

fn memory_is_zeroed_also_when_it_comes_back(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    let plan = backend
        .plan(source, Fourcc::XRGB8888, vga()?, 2)?
        .context("no plan")?;
    for round in 0..3 {
        let allocation = backend.allocate(&plan)?;
        for buffer in &allocation.buffers {
            let size = usize::try_from(
                buffer
                    .layout()
                    .planes()
                    .first()
                    .context("no plane")?
                    .size_bytes,
            )?;
            let mapping = buffer.map()?;
            let mut bytes = vec![0xff; size];
            mapping.access(CpuAccess::Read)?.read(0, 0, &mut bytes)?;
            let dirty = bytes.iter().filter(|byte| **byte != 0).count();
            ensure!(dirty == 0, "{dirty} bytes are not zero in round {round}");
            mapping
                .access(CpuAccess::Write)?
                .write(0, 0, &vec![0xaa; size])?;
        }
    }
    Ok(CheckOutcome::Passed)
}

fn bytes_are_read_as_written(backend: &Backend<'_>, source: &Source) -> Result<CheckOutcome> {
    let plan = match backend.plan(source, Fourcc::NV12, vga()?, 1)? {
        Some(plan) => plan,
        None => backend
            .plan(source, Fourcc::XRGB8888, vga()?, 1)?
            .context("no plan")?,
    };
    let allocation = backend.allocate(&plan)?;
    let buffer = allocation.buffers.first().context("no buffer")?;
    let mapping = buffer.map()?;
    for (plane, layout) in buffer.layout().planes().iter().enumerate() {
        let row = usize::try_from(buffer.layout().row_bytes(plane).context("no rows")?)?;
        let rows = buffer.layout().rows(plane).context("no rows")?;
        let pattern = |number: u32| -> Vec<u8> {
            let first = u64::from(number)
                .wrapping_mul(31)
                .wrapping_add(layout.offset_bytes);
            (first..)
                .take(row)
                .map(|value| u8::try_from(value % 251).unwrap_or(0))
                .collect()
        };
        let guard = mapping.access(CpuAccess::ReadWrite)?;
        for number in 0..rows {
            let offset = u64::from(number) * u64::from(layout.stride_bytes);
            guard.write(plane, offset, &pattern(number))?;
        }
        // Another mapping sees the memory, not what this one remembers.
        let other = buffer.map()?;
        let guard = other.access(CpuAccess::Read)?;
        for number in 0..rows {
            let mut bytes = vec![0; row];
            guard.read(
                plane,
                u64::from(number) * u64::from(layout.stride_bytes),
                &mut bytes,
            )?;
            ensure!(
                bytes == pattern(number),
                "row {number} of plane {plane} differs"
            );
        }
        let end = guard.read(plane, layout.size_bytes, &mut [0]);
        ensure!(end.is_err(), "a byte behind the plane was read");
        ensure!(
            guard.write(plane, 0, &[0]).is_err(),
            "a guard for reading let something be written"
        );
    }
    Ok(CheckOutcome::Passed)
}

fn fds_that_run_out_are_an_error_and_later_none(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    let plan = backend
        .plan(source, Fourcc::XRGB8888, vga()?, 8)?
        .context("no plan")?;
    let used = covalent_tests::judge::process::fd_count(std::process::id())?;
    let before = getrlimit(Resource::Nofile);
    // Room for a few buffers, and not for all.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(u64::try_from(used)? + 4),
            maximum: before.maximum,
        },
    )?;
    let short = backend.allocate(&plan).err();
    setrlimit(Resource::Nofile, before)?;
    let words = short.context("8 buffers were made of 4 fds")?.to_string();
    ensure!(
        words.contains("Too many open files") || words.contains("os error 24"),
        "{words}"
    );
    let allocation = backend.allocate(&plan).context("with fds again")?;
    ensure!(allocation.buffers.len() == 8, "not all buffers");
    Ok(CheckOutcome::Passed)
}

fn more_than_there_is_is_refused_before_the_kernel_is_asked(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    if matches!(backend, Backend::Queue(_)) {
        return Ok(CheckOutcome::Skipped(
            "a queue's sizes are its driver's".to_owned(),
        ));
    }
    let huge = Extent::new(Extent::LARGEST, Extent::LARGEST / 2)?;
    let refused = backend.plan(source, Fourcc::XRGB8888, huge, 2)?;
    ensure!(refused.is_none(), "the solver plans 16 GiB");
    // A source that was declared long ago, when there was more.
    let mut stale = source.clone();
    stale.guarantees = Guarantees {
        available_bytes: None,
        maximum_bytes: None,
        ..stale.guarantees
    };
    let Some(plan) = backend.plan(&stale, Fourcc::XRGB8888, huge, 2)? else {
        ensure!(
            source
                .constraints
                .per_fourcc
                .contains_key(&Fourcc::XRGB8888),
            "no plan"
        );
        return Ok(CheckOutcome::Skipped(
            "its largest picture is smaller".to_owned(),
        ));
    };
    match backend.allocate(&plan) {
        Ok(_) => bail!("16 GiB were allocated"),
        Err(error) => {
            let words = error.to_string();
            ensure!(
                words.contains("was not asked for"),
                "the kernel was asked: {words}"
            );
        }
    }
    Ok(CheckOutcome::Passed)
}

fn plan_of_another_source_is_refused(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    let mut other = source.clone();
    other.id = covalent_alloc::constraint::SourceId::new("nobody");
    other.name = "nobody".to_owned();
    let request = Request {
        participants: vec![processor(Fourcc::XRGB8888)],
        sources: vec![other],
        ..Request::new(vga()?)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan for nobody")
    };
    match backend.allocate(&plan) {
        Ok(_) => bail!("it was allocated"),
        Err(error) => ensure!(error.to_string().contains("nobody"), "{error}"),
    }
    Ok(CheckOutcome::Passed)
}
