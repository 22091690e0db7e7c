//! `covalent plan`: where a buffer comes from that a camera and a display share.

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
use covalent_alloc::machine::{Job, Machine, UnverifiedValue};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{
    Helper, Interface, Limits, TrialEnd, TriedSolution, solve_with_trials,
};
use serde::Serialize;

use crate::args::NO_PLAN;
use crate::out::{self, line};
use crate::{file, json, machine};

/// Solve for a buffer that a camera and a display share, and explain the answer.
#[derive(Args, Debug)]
#[command(after_help = "\
Prints the plan (who allocates, in which format and layout, who imports) with its reasons; or, where no buffer serves
all, the demands that conflict, what would help, and the way round that copies least. Nothing is allocated. For a
recorded machine it says too which of the values that the plan rests on nobody knows: it holds as far as they do.

With --prove one buffer is allocated by the plan and tried on everybody, in a process of its own (covalent-prove, which
is beside this program or named by COVALENT_PROVE). What is refused is solved around; what repeats is kept as a fact.
The drivers of --gbm and --vulkan are loaded there too, and are sources then.

Examples:
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480
  covalent plan --camera /dev/video0 --cpu often --size 1280x720 --json
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove
  covalent plan --camera /dev/video0 --vulkan --prove
  covalent plan --from recorded.json
      solves a request that was recorded elsewhere, without asking this machine
  covalent plan --machine tests/machines/raspberry-pi-4.json --decoder /dev/video19 --display vc4 --size 1920x1080
      the same for a machine that is not here: one that `covalent probe --record` wrote down

Exit codes: 0 one buffer serves all, 4 none does, or none was found within the limits of --prove.")]
pub(crate) struct Options {
    /// A camera or decoder that writes the pictures; may be given again.
    #[arg(long, value_name = "NODE", visible_alias = "decoder")]
    camera: Vec<PathBuf>,
    /// A V4L2 output or encoder that reads them; may be given again.
    #[arg(long, value_name = "NODE", visible_alias = "encoder")]
    output: Vec<PathBuf>,
    /// A card whose primary plane shows them; may be given again.
    #[arg(long, value_name = "NODE")]
    display: Vec<PathBuf>,
    /// A card through whose GBM a renderer imports them; may be given again.
    #[arg(long, value_name = "NODE")]
    gbm: Vec<PathBuf>,
    /// Every Vulkan device reads them as images.
    #[arg(long)]
    vulkan: bool,
    /// How much the processor reads the pictures.
    #[arg(long, value_enum)]
    cpu: Option<Cpu>,
    /// The size in pixels; 640x480, or for a recorded machine the size at which it was recorded.
    #[arg(long, value_name = "WxH")]
    size: Option<Extent>,
    /// The only format that is wanted, like XR24 or NV12.
    #[arg(long, value_name = "FOURCC")]
    format: Option<Fourcc>,
    /// The least number of buffers.
    #[arg(long, default_value_t = 4)]
    count: u32,
    /// Solve this recorded request (as --record writes it) instead of asking this machine.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["camera", "output", "display", "gbm", "vulkan", "cpu", "format", "size", "count"])]
    from: Option<PathBuf>,
    /// Ask this recorded machine (as `covalent probe --record` writes it) instead of the one that is here.
    ///
    /// Its devices are named by their nodes, or by the names that `covalent probe` gives them.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["from", "prove"])]
    machine: Option<PathBuf>,
    /// Take memory that is set aside from this devicetree (a .dtb, or a copy of /proc/device-tree) instead of the machine's own.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    devicetree: Option<PathBuf>,
    /// Anybody else of the recorded machine, by name: an overlay plane, an importer; may be given again.
    #[arg(long, value_name = "NAME", requires = "machine")]
    with: Vec<String>,
    /// Write the request to a file, to be solved elsewhere.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Allocate a buffer by the plan and try it on everybody; learn from refusals.
    #[arg(long)]
    prove: bool,
    /// Say everything, however long it is: each source that was not taken, each participant and each demand.
    ///
    /// Without it at most 64 lines are said, and how many more there are of each list. --json has all of it either way.
    #[arg(long)]
    all_reasons: bool,
    /// Print the solution as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn explain(&self, solution: &Solution) -> String {
        if self.all_reasons {
            solution.explain_all()
        } else {
            solution.explain()
        }
    }
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

/// The size where nobody says another.
const SIZE: (u32, u32) = (640, 480);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.machine {
        return of_machine(options, path);
    }
    let mut request: Request = match &options.from {
        Some(path) => {
            let bytes = file::read(path, Machine::MAXIMUM_BYTES)?;
            Request::from_json(&bytes)
                .with_context(|| format!("{} is no recorded request", printable_path(path)))?
        }
        None => ask(options)?,
    };
    record(options, &request)?;
    if !options.json {
        request = out::shown(&request);
    }
    let mut facts = machine::facts();
    if options.prove {
        let mut helper = started()?;
        let proven = solve_with_trials(&request, &mut [&mut helper], &mut facts, Limits::default());
        machine::keep(&proven.learnt_results);
        return write_proven(options, &proven);
    }
    let solution = solve(&facts.inform(&request).request);
    write_solution(options, &solution, None)
}

/// Solves for a machine that was recorded, by its own facts.
fn of_machine(options: &Options, path: &Path) -> Result<ExitCode> {
    let mut recorded = machine::recorded(path)?;
    if options.devicetree.is_some() {
        recorded.devicetree = machine::reserved_memory(options.devicetree.as_deref())?;
    }
    let mut asked = recorded.request(&job(options, &recorded)?)?;
    record(options, &asked.request)?;
    if !options.json {
        asked.request = out::shown(&asked.request);
    }
    let solution = solve(&asked.request);
    write_solution(options, &solution, Some(&asked.unknown_of(&solution)))
}

fn job(options: &Options, recorded: &Machine) -> Result<Job> {
    let usual = Extent::new(SIZE.0, SIZE.1)?;
    let size = options.size.unwrap_or_else(|| {
        let mut sizes = recorded.sizes();
        match sizes.next() {
            Some(first) if first != usual && sizes.all(|size| size != usual) => first,
            _ => usual,
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

fn record(options: &Options, request: &Request) -> Result<()> {
    if let Some(path) = &options.record {
        let text = serde_json::to_string_pretty(request)?;
        file::write(path, text.as_bytes())?;
    }
    Ok(())
}

/// A solution, and for a recorded machine what it rests on that nobody knows.
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
        for unsure in unknown.unwrap_or_default() {
            line!(out, "not known of this machine: {unsure}")?;
        }
        out.flush()?;
    }
    Ok(match solution {
        Solution::Share(_) => ExitCode::SUCCESS,
        _ => NO_PLAN.into(),
    })
}

fn write_proven(options: &Options, proven: &TriedSolution) -> Result<ExitCode> {
    if options.json {
        json::print(proven)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", options.explain(&proven.solution))?;
        for tried in &proven.participant_trials {
            line!(out, "tried on {}: {}", tried.participant, tried.outcome)?;
        }
        for given_up in &proven.refused_plans {
            line!(
                out,
                "given up: {} in {}, which {} refused ({}): {}",
                given_up.source_name,
                given_up.format,
                given_up.refused_by,
                given_up.refusal.kind,
                given_up.refusal
            )?;
        }
        for fact in &proven.learnt_results {
            line!(out, "learnt: {fact}")?;
        }
        for fact in &proven.applied_results {
            line!(out, "known before: {fact}")?;
        }
        let ending = match proven.end {
            TrialEnd::Accepted => "proved",
            TrialEnd::Untested => "not refused, and not tried on everybody",
            TrialEnd::NoPlan => "no plan is left",
            _ => "the limits of trying were reached before a plan was proved",
        };
        line!(out, "{ending} ({} trials)", proven.trial_count)?;
        out.flush()?;
    }
    Ok(match proven.end {
        TrialEnd::Accepted | TrialEnd::Untested => ExitCode::SUCCESS,
        _ => NO_PLAN.into(),
    })
}

fn started() -> Result<Helper> {
    let mut helper = Helper::find()?;
    helper.start()?;
    Ok(helper)
}

/// Adds who was asked for of GBM and Vulkan, and returns what they and their like give.
fn add_drivers(
    options: &Options,
    size: Extent,
    participants: &mut Vec<Participant>,
) -> Result<Vec<Source>> {
    let mut declared = started()?.declare_drivers(size);
    if let Some(wanted) = options.format {
        for participant in &mut declared.participants {
            participant.for_each_choice(|own| {
                let formats = own.formats.iter().flat_map(FormatSet::iter);
                own.formats = Some(formats.filter(|format| format.fourcc == wanted).collect());
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
            bail!("no GBM on {}: {}", printable_path(path), unavailable());
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
            bail!("no Vulkan device shares images: {}", unavailable());
        }
    }
    Ok(declared.sources)
}

fn ask(options: &Options) -> Result<Request> {
    let size = match options.size {
        Some(size) => size,
        None => Extent::new(SIZE.0, SIZE.1)?,
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
    for path in &options.display {
        let card = Card::open(path)?;
        request.participants.push(machine::display(&card)?);
    }
    if options.vulkan || !options.gbm.is_empty() {
        queue_sources.extend(add_drivers(options, size, &mut request.participants)?);
    }
    if let Some(cpu) = options.cpu {
        let mut participant = Participant::processor(Role::CpuRead);
        participant.for_each_choice(|own| own.memory.cpu = cpu.to_use());
        request.participants.push(participant);
    }
    if request.participants.is_empty() {
        bail!(
            "nobody to plan for: name a --camera, an --output, a --display, a --gbm, --vulkan or a use by the --cpu"
        );
    }
    machine::unique_names(&mut request.participants);
    request.sources = BufferCollection::new(size).sources();
    // A queue that is named twice gives one memory.
    for source in queue_sources {
        if request.sources.iter().all(|other| other.id != source.id) {
            request.sources.push(source);
        }
    }
    if let Some(reserved) = machine::reserved_memory(options.devicetree.as_deref())? {
        devicetree::refine(&reserved, &mut request.participants, &mut request.sources);
    }
    Ok(request)
}
