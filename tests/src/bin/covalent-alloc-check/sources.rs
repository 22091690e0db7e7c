//! The conformance suite for sources: dma-heaps, udmabuf with every page size, the dumb buffers of every card, and the own memory
//! of every V4L2 queue.

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

/// A source under test.
pub(crate) enum Backend<'a> {
    /// A source that can be allocated without a participant.
    Neutral(&'a Sources),
    /// The own memory of a V4L2 queue, which only a stream of this queue can allocate.
    Queue(Queue),
}

/// The allocated buffers, and the stream that must live as long as they do.
pub(crate) struct Allocation {
    pub(crate) buffers: Vec<Buffer>,
    _stream: Option<Stream>,
}

impl Backend<'_> {
    /// Allocates the buffers of a plan.
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

    /// Plans buffers of `source` for the CPU. If the source is the memory of a queue, the plan is for the queue too.
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
                bail!("the queue no longer exports dma-bufs");
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

/// A check of one source.
type Property = fn(&Backend<'_>, &Source) -> Result<CheckOutcome>;

macro_rules! suite {
    ($($property:ident),* $(,)?) => {
        const SUITE: &[(&str, Property)] = &[$((stringify!($property), $property)),*];
    };
}

suite![
    buffers_match_their_plan,
    memory_is_zeroed_also_when_it_is_reused,
    bytes_are_read_as_written,
    allocation_without_fds_fails_and_succeeds_later,
    allocation_beyond_the_budget_is_refused_by_the_crate,
    plan_of_another_source_is_refused,
];

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover_with_drivers();
    runner.watch(&sources);
    runner.check("sources::every_source_can_be_opened", || {
        let closed: Vec<_> = sources
            .unavailable()
            .iter()
            .map(ToString::to_string)
            .collect();
        ensure!(closed.is_empty(), "{}", closed.join("; "));
        ensure!(
            !sources.declarations().is_empty(),
            "the machine has no source"
        );
        Ok(CheckOutcome::Passed)
    });
    let cards = Card::list().len();
    runner.check("sources::every_card_has_dumb_buffers", || {
        let declared = sources.declarations();
        let dumb = declared
            .iter()
            .filter(|source| source.id.as_str().starts_with("dumb:"))
            .count();
        ensure!(dumb == cards, "{dumb} of {cards} cards have dumb buffers");
        Ok(CheckOutcome::Passed)
    });
    for source in sources.declarations() {
        let backend = Backend::Neutral(&sources);
        check_source(runner, &backend, &source);
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
            let source = queue
                .source(&participant)?
                .context("the queue exports no dma-bufs")?;
            Ok((Backend::Queue(queue), source))
        });
        match declared {
            Ok((backend, source)) => check_source(runner, &backend, &source),
            Err(error) => runner.check(node, || Err(error)),
        }
    }
}

/// Runs all checks of the suite for one source.
fn check_source(runner: &mut CheckRunner, backend: &Backend<'_>, source: &Source) {
    for (name, property) in SUITE {
        runner.check(&format!("sources::{}::{name}", source.id), || {
            property(backend, source)
        });
    }
}

fn buffers_match_their_plan(backend: &Backend<'_>, source: &Source) -> Result<CheckOutcome> {
    let mut plans = 0;
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
                    "the solver has no plan for {extent} in {fourcc}"
                );
                continue;
            };
            let allocation = backend
                .allocate(&plan)
                .with_context(|| format!("{extent} in {fourcc}"))?;
            let buffers = &allocation.buffers;
            let count = u32::try_from(buffers.len())?;
            ensure!(
                count == plan.count(),
                "{count} buffers were allocated, and the plan has {}",
                plan.count()
            );
            let inodes: BTreeSet<u64> = buffers
                .iter()
                .flat_map(Buffer::identities)
                .map(|identity| identity.0)
                .collect();
            let dma_bufs = plan
                .layout()
                .memory_sizes()
                .len()
                .saturating_mul(buffers.len());
            ensure!(
                inodes.len() == dma_bufs,
                "{} dma-bufs were allocated, and the plan has {dma_bufs}",
                inodes.len()
            );
            for buffer in buffers {
                plan.accepts(buffer.layout())?;
                ensure!(
                    buffer.layout().format() == plan.layout().format(),
                    "a buffer has another format than the plan"
                );
                ensure!(buffer.exporter().is_some(), "fdinfo names no exporter");
            }
            plans += 1;
        }
    }
    ensure!(plans > 0, "the solver has no plan for any format and size");
    Ok(CheckOutcome::Passed)
}

fn memory_is_zeroed_also_when_it_is_reused(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    let plan = backend
        .plan(source, Fourcc::XRGB8888, vga()?, 2)?
        .context("the solver has no plan for this source")?;
    for round in 0..3 {
        let allocation = backend.allocate(&plan)?;
        for buffer in &allocation.buffers {
            let size = usize::try_from(
                buffer
                    .layout()
                    .planes()
                    .first()
                    .context("the layout has no plane")?
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
            .context("the solver has no plan for this source")?,
    };
    let allocation = backend.allocate(&plan)?;
    let buffer = allocation
        .buffers
        .first()
        .context("the source allocated no buffer")?;
    let mapping = buffer.map()?;
    for (plane, layout) in buffer.layout().planes().iter().enumerate() {
        let row = usize::try_from(
            buffer
                .layout()
                .row_bytes(plane)
                .context("the linear layout of the format is not known")?,
        )?;
        let rows = buffer
            .layout()
            .rows(plane)
            .context("the linear layout of the format is not known")?;
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
        // The second mapping reads the dma-buf itself, and not data that a cache of the first mapping may contain.
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
        ensure!(end.is_err(), "a read beyond the end of the plane succeeded");
        ensure!(
            guard.write(plane, 0, &[0]).is_err(),
            "a guard for reading allowed a write"
        );
    }
    Ok(CheckOutcome::Passed)
}

fn allocation_without_fds_fails_and_succeeds_later(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    let plan = backend
        .plan(source, Fourcc::XRGB8888, vga()?, 8)?
        .context("the solver has no plan for this source")?;
    let used = covalent_tests::judge::process::fd_count(std::process::id())?;
    let before = getrlimit(Resource::Nofile);
    // The limit allows fds for only some of the buffers.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(u64::try_from(used)? + 4),
            maximum: before.maximum,
        },
    )?;
    let short = backend.allocate(&plan).err();
    setrlimit(Resource::Nofile, before)?;
    let error = short
        .context("8 buffers were allocated with 4 free fds")?
        .to_string();
    ensure!(
        error.contains("Too many open files") || error.contains("os error 24"),
        "the error does not name EMFILE: {error}"
    );
    let allocation = backend
        .allocate(&plan)
        .context("allocate after fds are free again")?;
    ensure!(
        allocation.buffers.len() == 8,
        "{} of 8 buffers were allocated",
        allocation.buffers.len()
    );
    Ok(CheckOutcome::Passed)
}

fn allocation_beyond_the_budget_is_refused_by_the_crate(
    backend: &Backend<'_>,
    source: &Source,
) -> Result<CheckOutcome> {
    if matches!(backend, Backend::Queue(_)) {
        return Ok(CheckOutcome::Skipped(
            "a queue allocates only the sizes of its driver".to_owned(),
        ));
    }
    let huge = Extent::new(Extent::LARGEST, Extent::LARGEST / 2)?;
    let refused = backend.plan(source, Fourcc::XRGB8888, huge, 2)?;
    ensure!(refused.is_none(), "the solver has a plan for 16 GiB");
    // A copy of the source's declaration that contains no limits. A declaration that is out of date may lack the current limits
    // too.
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
            "the solver has no plan although the source declares no limit"
        );
        return Ok(CheckOutcome::Skipped(
            "the largest picture of the source is smaller than 16 GiB".to_owned(),
        ));
    };
    match backend.allocate(&plan) {
        Ok(_) => bail!("16 GiB were allocated"),
        Err(error) => {
            let error = error.to_string();
            ensure!(
                error.contains("nothing was allocated"),
                "covalent-alloc requested 16 GiB from the kernel: {error}"
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
    other.id = covalent_alloc::constraint::SourceId::new("no-such-source");
    other.name = "no-such-source".to_owned();
    let request = Request {
        participants: vec![processor(Fourcc::XRGB8888)],
        sources: vec![other],
        ..Request::new(vga()?)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan from the unknown source")
    };
    match backend.allocate(&plan) {
        Ok(_) => bail!("the plan of an unknown source was allocated"),
        Err(error) => ensure!(
            error.to_string().contains("no-such-source"),
            "the error does not name the source: {error}"
        ),
    }
    Ok(CheckOutcome::Passed)
}
