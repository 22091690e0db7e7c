//! `covalent plan`: finds a buffer that several devices can share, and explains the result.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Error};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, FormatSet, Participant, Role, Source};
use covalent_alloc::machine::{Job, Machine, UnverifiedValue, choose_planes};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, Verdict, solve, solve_shared};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{
    Helper, Interface, Limits, TrialEnd, TriedSolution, solve_with_trials,
};
use serde::Serialize;

use crate::args::{NO_PLAN, NOT_GUARANTEED};
use crate::out::{self, line};
use crate::{file, json, machine};

/// Find a buffer that several devices can share, and explain the result.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the plan (which source allocates, format, layout, which devices import) with its reasons.
If no buffer meets all constraints, it prints the constraints that conflict, which of them would
have to go, and the plan that copies the fewest bytes. Nothing is allocated. For a recorded
machine it also lists the values on which the plan depends and that are not known about that machine.

With --prove one buffer is allocated by the plan and tried on every participant, in a helper
process (covalent-prove, in the folder of this program or named by COVALENT_PROVE). If a driver
refuses it, the next plan is tried; a refusal that repeats is stored as a trial result. The helper
process also loads the drivers for --gbm and --vulkan, which are sources then.

Examples:
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480
  covalent plan --camera /dev/video0 --cpu often --size 1280x720 --json
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove
  covalent plan --camera /dev/video0 --vulkan --prove
  covalent plan --from recorded.json
      solves a request that --record wrote, without querying this machine
  covalent plan --machine tests/machines/raspberry-pi-4.json --decoder /dev/video19 \\
      --display vc4 --size 1920x1080
      solves for another machine, which `covalent probe --record` wrote

Exit codes: 0 all devices can share one buffer, 4 they cannot, or --prove found no plan within its
limits, 14 with --require guaranteed: they can, but it is not guaranteed.")]
pub(crate) struct Options {
    /// Add a camera or decoder that writes the pictures, such as /dev/video0; may be repeated.
    #[arg(long, value_name = "NODE", visible_alias = "decoder")]
    camera: Vec<PathBuf>,
    /// Add a V4L2 output or encoder that reads them; may be repeated.
    #[arg(long, value_name = "NODE", visible_alias = "encoder")]
    output: Vec<PathBuf>,
    /// Add a card that displays them, such as /dev/dri/card0; may be repeated.
    ///
    /// Any of its planes may do so: the primary plane where it can, else an overlay or the cursor plane.
    #[arg(long, value_name = "NODE")]
    display: Vec<PathBuf>,
    /// Add a renderer that imports them with GBM, by its card, such as /dev/dri/card0; may be repeated.
    #[arg(long, value_name = "NODE")]
    gbm: Vec<PathBuf>,
    /// Add every Vulkan device, which imports them as images.
    #[arg(long)]
    vulkan: bool,
    /// Add the CPU, which reads the pictures rarely or often.
    #[arg(long, value_enum)]
    cpu: Option<Cpu>,
    /// Set the size in pixels; the default is 640x480, or a size of the recorded machine.
    #[arg(long, value_name = "WxH")]
    size: Option<Extent>,
    /// Accept only this format, such as XR24 or NV12.
    #[arg(long, value_name = "FOURCC")]
    format: Option<Fourcc>,
    /// Set the smallest number of buffers.
    #[arg(long, default_value_t = 4)]
    count: u32,
    /// Solve this request, which --record wrote, instead of querying this machine.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["camera", "output", "display", "gbm", "vulkan", "cpu", "format", "size", "count"])]
    from: Option<PathBuf>,
    /// Use this machine, which `covalent probe --record` wrote, instead of querying this one.
    ///
    /// Its devices are named by their nodes, or by the names that `covalent probe` prints.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["from", "prove"])]
    machine: Option<PathBuf>,
    /// Read reserved memory from this devicetree (a .dtb file, or a copy of /proc/device-tree) instead of the machine's own.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    devicetree: Option<PathBuf>,
    /// Add another participant of the recorded machine by its name, such as an overlay plane; may be repeated.
    #[arg(long, value_name = "NAME", requires = "machine")]
    with: Vec<String>,
    /// Write the request to this file, for --from.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Allocate a buffer by the plan, try it on every participant, and store repeated refusals.
    #[arg(long)]
    prove: bool,
    /// End with 14 if the plan is only possible: it works under a condition that no device guarantees.
    #[arg(long, value_enum, value_name = "VERDICT", default_value = "possible")]
    require: Required,
    /// Print every rejected source, participant and constraint, however many there are.
    ///
    /// Without this at most 64 lines are printed, with the number of omitted entries of each list. --json always has all.
    #[arg(long)]
    all_reasons: bool,
    /// Print the solution as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn exit_code(&self, solution: &Solution) -> ExitCode {
        match solution {
            Solution::Share(plan)
                if self.require == Required::Guaranteed
                    && plan.verdict() != Verdict::Guaranteed =>
            {
                NOT_GUARANTEED.into()
            }
            Solution::Share(_) => ExitCode::SUCCESS,
            _ => NO_PLAN.into(),
        }
    }

    fn explain(&self, solution: &Solution) -> String {
        if self.all_reasons {
            solution.explain_all()
        } else {
            solution.explain()
        }
    }
}

/// The weakest verdict with which the command succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Required {
    /// Every plan is accepted.
    Possible,
    /// Only a plan is accepted that devices and source guarantee.
    Guaranteed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Cpu {
    Rarely,
    Often,
}

impl Cpu {
    fn to_use(self) -> CpuUse {
        match self {
            Self::Rarely => CpuUse::Rarely,
            Self::Often => CpuUse::Often,
        }
    }
}

/// The default size.
const DEFAULT_SIZE: (u32, u32) = (640, 480);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.machine {
        return plan_for_recorded_machine(options, path);
    }
    let mut request: Request = match &options.from {
        Some(path) => {
            let bytes = file::read(path, Machine::MAXIMUM_BYTES)?;
            Request::from_json(&bytes)
                .with_context(|| format!("{} is not a recorded request", printable_path(path)))?
        }
        None => request_for_this_machine(options)?,
    };
    write_request(options, &request)?;
    if !options.json {
        request = out::printable_names(&request);
    }
    let mut results = machine::trial_results();
    if options.prove {
        let mut helper = started_helper()?;
        let limits = Limits::default();
        let tried = solve_with_trials(&request, &mut [&mut helper], &mut results, limits);
        machine::store_trial_results(&tried.learnt_results);
        return write_tried_solution(options, &tried);
    }
    let solution = solve(&results.apply(&request).request);
    write_solution(options, &solution, None)
}

/// Solves for a recorded machine, with the trial results in its file.
fn plan_for_recorded_machine(options: &Options, path: &Path) -> Result<ExitCode> {
    let mut recorded = machine::recorded(path)?;
    if options.devicetree.is_some() {
        recorded.devicetree = machine::reserved_memory(options.devicetree.as_deref())?;
    }
    let mut resolved = recorded.request(&job(options, &recorded)?)?;
    write_request(options, &resolved.request)?;
    if !options.json {
        resolved.request = out::printable_names(&resolved.request);
    }
    let solution = solve(&resolved.request);
    write_solution(options, &solution, Some(&resolved.unverified(&solution)))
}

/// Returns the job that the options describe. Without `--size` it has the default size, or the first size of the recording if the
/// machine was not recorded at the default size.
fn job(options: &Options, recorded: &Machine) -> Result<Job> {
    let default_size = Extent::new(DEFAULT_SIZE.0, DEFAULT_SIZE.1)?;
    let size = options.size.unwrap_or_else(|| {
        let mut sizes = recorded.sizes();
        match sizes.next() {
            Some(first) if first != default_size && sizes.all(|size| size != default_size) => first,
            _ => default_size,
        }
    });
    let names = |paths: &[PathBuf]| -> Vec<String> {
        paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    };
    Ok(Job {
        cameras: names(&options.camera),
        outputs: names(&options.output),
        displays: names(&options.display),
        gbm: names(&options.gbm),
        vulkan: options.vulkan,
        others: options.with.clone(),
        cpu: options.cpu.map(Cpu::to_use),
        format: options.format,
        ..Job::new(size, options.count)
    })
}

fn write_request(options: &Options, request: &Request) -> Result<()> {
    if let Some(path) = &options.record {
        let text = serde_json::to_string_pretty(request)?;
        file::write(path, text.as_bytes())?;
    }
    Ok(())
}

/// A solution, and for a recorded machine the values on which it depends and that are not known.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    solution: &'a Solution,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'a [UnverifiedValue]>,
}

fn write_solution(
    options: &Options,
    solution: &Solution,
    unknown: Option<&[UnverifiedValue]>,
) -> Result<ExitCode> {
    if options.json {
        json::print(&Report { solution, unknown })?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", options.explain(solution))?;
        for value in unknown.unwrap_or_default() {
            line!(out, "not known about this machine: {value}")?;
        }
        out.flush()?;
    }
    Ok(options.exit_code(solution))
}

fn write_tried_solution(options: &Options, tried: &TriedSolution) -> Result<ExitCode> {
    if options.json {
        json::print(tried)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", options.explain(&tried.solution))?;
        for trial in &tried.participant_trials {
            line!(out, "tried on {}: {}", trial.participant, trial.outcome)?;
        }
        for given_up in &tried.refused_plans {
            line!(
                out,
                "refused plan: {} in {}, by {} ({}): {}",
                given_up.source_name,
                given_up.format,
                given_up.refused_by,
                given_up.refusal.kind,
                given_up.refusal
            )?;
        }
        for result in &tried.learnt_results {
            line!(out, "stored trial result: {result}")?;
        }
        for result in &tried.applied_results {
            line!(out, "known from an earlier trial: {result}")?;
        }
        let ending = match tried.end {
            TrialEnd::Accepted => "every participant accepted the buffer",
            TrialEnd::Untested => {
                "no participant refused the buffer, but not every participant could try it"
            }
            TrialEnd::NoPlan => "no further plan is left to try",
            _ => "the limit of trials was reached before every participant accepted a buffer",
        };
        line!(out, "{ending} ({} trials)", tried.trial_count)?;
        out.flush()?;
    }
    Ok(match tried.end {
        TrialEnd::Accepted | TrialEnd::Untested => options.exit_code(&tried.solution),
        _ => NO_PLAN.into(),
    })
}

fn started_helper() -> Result<Helper> {
    let mut helper = Helper::find()?;
    helper.start()?;
    Ok(helper)
}

/// Adds the participants of `--gbm` and `--vulkan`, and returns the sources of all GBM and Vulkan drivers.
fn add_drivers(
    options: &Options,
    size: Extent,
    participants: &mut Vec<Participant>,
) -> Result<Vec<Source>> {
    let mut declared = started_helper()?.declare_drivers(size);
    if let Some(fourcc) = options.format {
        for participant in &mut declared.participants {
            participant.for_each_choice(|choice| {
                let formats = choice.formats.iter().flat_map(FormatSet::iter);
                choice.formats = Some(formats.filter(|format| format.fourcc == fourcc).collect());
            });
        }
    }
    let unavailable = || {
        let words: Vec<_> = declared
            .unavailable
            .iter()
            .map(ToString::to_string)
            .collect();
        words.join("; ")
    };
    for path in &options.gbm {
        let card = Card::open(path)?;
        let found = declared.participants.iter().find(|participant| {
            Interface::of(participant) == Interface::Gbm
                && participant.device.same_device(card.identity())
        });
        let Some(found) = found else {
            bail!(
                "cannot use GBM on {}: {}",
                printable_path(path),
                unavailable()
            );
        };
        participants.push(found.clone());
    }
    if options.vulkan {
        let before = participants.len();
        let images = declared
            .participants
            .iter()
            .filter(|participant| Interface::of(participant) == Interface::Vulkan);
        participants.extend(images.cloned());
        if participants.len() == before {
            bail!("no Vulkan device can share images: {}", unavailable());
        }
    }
    Ok(declared.sources)
}

/// Returns the request for the devices of this machine that the options name.
fn request_for_this_machine(options: &Options) -> Result<Request> {
    let size = match options.size {
        Some(size) => size,
        None => Extent::new(DEFAULT_SIZE.0, DEFAULT_SIZE.1)?,
    };
    let mut request = Request::new(size);
    request.count = options.count;
    let mut queue_sources = Vec::new();
    let cameras = options.camera.iter().map(|path| (path, Direction::Capture));
    let outputs = options.output.iter().map(|path| (path, Direction::Output));
    for (path, direction) in cameras.chain(outputs) {
        let queue = Device::open(path)?.queue(direction)?;
        let participant = queue.participant(size, options.format)?;
        match queue.source(&participant) {
            Ok(source) => queue_sources.extend(source),
            Err(Error::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        request.participants.push(participant);
    }
    let mut displays = Vec::new();
    for path in &options.display {
        let planes = machine::planes(&Card::open(path)?)?;
        let place = request.participants.len();
        request.participants.extend(planes.first().cloned());
        displays.push((place, planes));
    }
    if options.vulkan || !options.gbm.is_empty() {
        queue_sources.extend(add_drivers(options, size, &mut request.participants)?);
    }
    if let Some(cpu) = options.cpu {
        let mut participant = Participant::processor(Role::CpuRead);
        participant.for_each_choice(|choice| choice.memory.cpu = cpu.to_use());
        request.participants.push(participant);
    }
    if request.participants.is_empty() {
        bail!(
            "there is no participant to plan for: give --camera, --output, --display, --gbm, --vulkan or --cpu"
        );
    }
    request.sources = BufferCollection::new(size).sources();
    // A queue that is named twice is one source.
    for source in queue_sources {
        if request.sources.iter().all(|other| other.id != source.id) {
            request.sources.push(source);
        }
    }
    if let Some(reserved) = machine::reserved_memory(options.devicetree.as_deref())? {
        devicetree::refine(&reserved, &mut request.participants, &mut request.sources);
        for (_, planes) in &mut displays {
            devicetree::refine(&reserved, planes, &mut request.sources);
        }
    }
    let with = |chosen: &[usize]| {
        let mut request = request.clone();
        for ((place, planes), plane) in displays.iter().zip(chosen) {
            if let Some(plane) = planes.get(*plane) {
                request.participants[*place] = plane.clone();
            }
        }
        machine::unique_names(&mut request.participants);
        request
    };
    let counts: Vec<usize> = displays.iter().map(|(_, planes)| planes.len()).collect();
    let shares = |chosen: &[usize]| solve_shared(&with(chosen)).is_ok();
    Ok(with(&choose_planes(&counts, shares)))
}
