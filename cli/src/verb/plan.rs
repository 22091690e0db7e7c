//! `covalent plan`: finds a buffer that several devices can share, and explains the result.

mod live;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use covalent_alloc::constraint::CpuUse;
use covalent_alloc::machine::{
    InterfacePurpose, Job, KernelVersion, Machine, PartialPlane, UnverifiedValue,
    missing_interfaces,
};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, Verdict, solve, solve_together};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{Limits, TrialEnd, TriedSolution, environment, solve_with_trials};
use serde::Serialize;

use crate::args::{NO_PLAN, NOT_GUARANTEED};
use crate::foreign::{self, CovalentFileKind};
use crate::out::{self, line};
use crate::{file, json, machine, vendor_gpus};

/// Find a buffer that several devices can share, and explain the result.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the plan (which source allocates, format, layout, which devices import, which of them copy
frames for themselves) with its reasons.
If no buffer meets all constraints, it prints the constraints that conflict, which of them would
have to go, the plan that copies the fewest bytes, and the other planes of the cards that would
take the frames in part. Each copy is made by the cheapest device of this machine that reads the one
format and writes the other (a GPU with Vulkan, whose drivers are loaded in the helper process, or a
V4L2 memory-to-memory device), else by the CPU. Nothing is allocated. For a recorded machine it also
lists the values on which the plan depends and that are not known about that machine.

With --prove one buffer is allocated by the plan and tried on every participant, in a helper
process (covalent-prove, in the folder of this program or named by COVALENT_PROVE). If a driver
refuses it, the next plan is tried; a refusal that repeats is stored as a trial result. The helper
process also loads the drivers for --gbm and --vulkan, which are sources then.

With --gpu a GPU takes part that this machine does not have. Its own driver lists and lays out the
images, on one of Mesa's drm-shims (see `covalent probe --help`). What it refuses is refused; what
it accepts is possible and not guaranteed.

Examples:
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480
  covalent plan --camera /dev/video0 --cpu often --size 1280x720 --json
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove
  covalent plan --camera /dev/video0 --vulkan --prove
  covalent plan --from recorded.json
      solves a request that --record wrote, without querying this machine
  covalent plan --from preview.json --from recording.json
      solves two jobs that run at the same time, and names the one for which memory is missing
  covalent plan --machine tests/machines/raspberry-pi-4.json --decoder /dev/video19 \\
      --display vc4 --size 1920x1080
      solves for another machine, which `covalent probe --record` wrote
  covalent plan --gpu navi31 --gpu m1 --size 1920x1080
      what AMD's and Apple's GPUs have in common, by their drivers

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
    /// Any plane of the card may display the pictures: the primary plane if it can, else an overlay or the cursor plane. The plan
    /// names the plane. If a card is given several times, each time adds another output (CRTC) of the card, with a plane of its
    /// own.
    #[arg(long, value_name = "NODE")]
    display: Vec<PathBuf>,
    /// Add a renderer that imports them with GBM, by its card, such as /dev/dri/card0; may be repeated.
    #[arg(long, value_name = "NODE")]
    gbm: Vec<PathBuf>,
    /// Add every Vulkan device, which imports them as images.
    #[arg(long)]
    vulkan: bool,
    /// Add a GPU that this machine does not have, such as navi31; may be repeated. `covalent probe --as list` lists them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "prove"])]
    gpu: Vec<String>,
    /// Add the CPU, which reads the pictures rarely or often.
    #[arg(long, value_enum)]
    cpu: Option<Cpu>,
    /// Set the size in pixels; the default is 640x480, or a size of the recorded machine.
    #[arg(long, value_name = "WxH")]
    size: Option<Extent>,
    /// Accept only this format of cameras, codecs and renderers, such as XR24 or NV12.
    #[arg(long, value_name = "FOURCC")]
    format: Option<Fourcc>,
    /// Set the smallest number of buffers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Solve this request, which --record wrote, instead of querying this machine; may be repeated.
    ///
    /// Several requests are jobs that run at the same time and share the machine's pools of memory.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["camera", "output", "display", "gbm", "vulkan", "cpu", "format", "size", "count"])]
    from: Vec<PathBuf>,
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

/// The weakest verdict with which the command exits with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Required {
    /// Every plan is accepted.
    Possible,
    /// The command succeeds only with a plan that the devices and the source guarantee.
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

/// The default size in pixels.
const DEFAULT_SIZE: (u32, u32) = (640, 480);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.machine {
        return plan_for_recorded_machine(options, path);
    }
    let (mut request, planes) = match options.from.as_slice() {
        [] => live::request(options)?,
        [path] => (recorded_request(path)?, Vec::new()),
        paths => return plan_jobs(options, paths),
    };
    write_request(options, &request)?;
    if !options.json {
        request = out::printable_names(&request);
    }
    let mut results = machine::trial_results();
    if options.prove {
        let mut helper = machine::started_helper()?;
        let limits = Limits::default();
        let tried = solve_with_trials(&request, &mut [&mut helper], &mut results, limits);
        machine::store_trial_results(&tried.learnt_results);
        return write_tried_solution(options, &tried, &planes);
    }
    let solution = solve(&results.apply(&request).request);
    // A request from a file does not contain the kernel version of its machine.
    let release = if options.from.is_empty() {
        environment().kernel
    } else {
        String::new()
    };
    write_solution(options, &solution, &release, &planes, None)
}

/// Reads a request that `--record` wrote.
fn recorded_request(path: &Path) -> Result<Request> {
    let bytes = file::read(path, Machine::MAXIMUM_BYTES)?;
    let read = Request::from_json(CovalentFileKind::Request.within(&bytes))
        .context("the file is not a recorded request");
    foreign::read_as(CovalentFileKind::Request, path, &bytes, read)
}

/// Solves several recorded requests together, as jobs that run at the same time.
fn plan_jobs(options: &Options, paths: &[PathBuf]) -> Result<ExitCode> {
    if options.prove || options.record.is_some() {
        bail!("--prove and --record take one request: give --from once");
    }
    let results = machine::trial_results();
    let mut jobs: Vec<(String, Request)> = Vec::new();
    for path in paths {
        let mut request = recorded_request(path)?;
        if !options.json {
            request = out::printable_names(&request);
        }
        jobs.push((printable_path(path), results.apply(&request).request));
    }
    let named: Vec<(&str, &Request)> = jobs
        .iter()
        .map(|(name, request)| (name.as_str(), request))
        .collect();
    let together = solve_together(&named);
    if options.json {
        json::print(&together)?;
    } else {
        let mut out = out::stdout();
        let text = together.explain(|solution| options.explain(solution));
        write!(out, "{text}")?;
        out.flush()?;
    }
    let is_planned = |solution: &Solution| matches!(solution, Solution::Share(_));
    let mut solutions = together.jobs.iter().map(|job| &job.solution);
    let worst = solutions.clone().find(|solution| !is_planned(solution));
    let unsure = solutions.find(|solution| solution.verdict() != Verdict::Guaranteed);
    Ok(match worst.or(unsure) {
        Some(solution) => options.exit_code(solution),
        None => ExitCode::SUCCESS,
    })
}

/// Solves a request for a recorded machine. The trial results in the machine's file apply.
fn plan_for_recorded_machine(options: &Options, path: &Path) -> Result<ExitCode> {
    let mut recorded = machine::recorded(path)?;
    if options.devicetree.is_some() {
        recorded.devicetree = machine::reserved_memory(options.devicetree.as_deref())?;
    }
    let mut job = job(options, &recorded)?;
    if !options.gpu.is_empty() {
        let gpus = vendor_gpus::recorded(&options.gpu, job.size)?;
        let names = gpus.participants.iter();
        job.others
            .extend(names.map(|own| own.participant.name.clone()));
        recorded.declared.push(gpus);
    }
    let mut resolved = recorded.request(&job)?;
    write_request(options, &resolved.request)?;
    if !options.json {
        resolved.request = out::printable_names(&resolved.request);
    }
    let solution = solve(&resolved.request);
    write_solution(
        options,
        &solution,
        &recorded.environment.kernel,
        &resolved.planes,
        Some(&resolved.unverified(&solution)),
    )
}

/// Returns the job that the options describe. Without `--size`, the job has the default size if the machine was recorded at this
/// size, and otherwise the first size of the recording.
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

/// Writes the request to the file of `--record`, if this option was given.
fn write_request(options: &Options, request: &Request) -> Result<()> {
    if let Some(path) = &options.record {
        let text = serde_json::to_string_pretty(request)?;
        file::write(path, text.as_bytes())?;
    }
    Ok(())
}

/// The JSON report: the solution, the planes that were not chosen, the interfaces for which the kernel is too old, and, for a
/// recorded machine, the unknown values on which the solution depends.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    solution: &'a Solution,
    #[serde(skip_serializing_if = "<[PartialPlane]>::is_empty")]
    planes: &'a [PartialPlane],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    kernel_lacks: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'a [UnverifiedValue]>,
}

/// Prints the solution and returns the exit code for it.
fn write_solution(
    options: &Options,
    solution: &Solution,
    release: &str,
    planes: &[PartialPlane],
    unknown: Option<&[UnverifiedValue]>,
) -> Result<ExitCode> {
    // The planes that were not chosen are omitted if all participants share one buffer.
    let planes = match solution {
        Solution::Share(_) => &[],
        Solution::Split(_) => planes,
    };
    let kernel_lacks = &kernel_lacks(release);
    if options.json {
        json::print(&Report {
            solution,
            planes,
            kernel_lacks,
            unknown,
        })?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", options.explain(solution))?;
        for plane in planes {
            line!(out, "another plane: {plane}")?;
        }
        for text in kernel_lacks {
            line!(out, "{text}")?;
        }
        for value in unknown.unwrap_or_default() {
            line!(out, "not known about this machine: {value}")?;
        }
        out.flush()?;
    }
    Ok(options.exit_code(solution))
}

/// Describes the interfaces for memory and fences for which a kernel is too old.
fn kernel_lacks(release: &str) -> Vec<String> {
    let Some(kernel) = KernelVersion::of_release(release) else {
        return Vec::new();
    };
    missing_interfaces(kernel)
        .filter(|interface| interface.purpose != InterfacePurpose::Display)
        .map(|interface| {
            let (name, since, effect) = (interface.name, interface.since, interface.effect);
            format!("Linux {kernel} has no {name}, which came with Linux {since}: {effect}")
        })
        .collect()
}

/// Prints a solution whose buffers were tried, and returns the exit code for it.
fn write_tried_solution(
    options: &Options,
    tried: &TriedSolution,
    planes: &[PartialPlane],
) -> Result<ExitCode> {
    if options.json {
        json::print(tried)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", options.explain(&tried.solution))?;
        if matches!(tried.solution, Solution::Split(_)) {
            for plane in planes {
                line!(out, "another plane: {plane}")?;
            }
        }
        for text in kernel_lacks(&environment().kernel) {
            line!(out, "{text}")?;
        }
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
