//! What this machine has: sources, Vulkan devices, and plans among them.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::vulkan::{Complaints, Gpu, Vulkan};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::witness::Sources;

use super::rows::{Seen, Told, tell};

/// One format of each kind that the planes of pictures come in.
const REPRESENTATIVES: [Fourcc; 6] = [
    Fourcc::XRGB8888,
    Fourcc::RGB565,
    Fourcc::R8,
    Fourcc::YUYV,
    Fourcc::NV12,
    Fourcc::YUV420,
];

/// Everything on this machine, opened once.
pub(crate) struct World {
    pub(crate) sources: Sources,
    /// Vulkan devices, with the pairs that each imports.
    pub(crate) gpus: Vec<(Gpu, Vec<FormatModifier>)>,
    /// Why there is no Vulkan device, or not all.
    pub(crate) lacking: Vec<String>,
    /// Whether every format is tried.
    pub(crate) full: bool,
    /// How many frames two processes exchange.
    pub(crate) frames: u64,
    /// What the validation layer says, where it is on.
    pub(crate) complaints: Option<Complaints>,
}

/// How much of the machine is opened, and how far the rows go.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Every format rather than one of each kind.
    pub(crate) full: bool,
    /// With the validation layer.
    pub(crate) validated: bool,
    /// With GBM, whose drivers take their time.
    #[cfg(feature = "gbm")]
    pub(crate) gbm: bool,
    /// How many frames two processes exchange.
    pub(crate) frames: u64,
}

/// What the solver says of a row.
pub(crate) enum Planned {
    Plan(Box<Plan>),
    /// Why there is none.
    Impossible(String),
}

impl World {
    pub(crate) fn open(scope: &Scope) -> Self {
        let mut sources = Sources::discover();
        #[cfg(feature = "gbm")]
        if scope.gbm {
            sources.add_gbm();
        }
        let mut lacking = Vec::new();
        let loaded = if scope.validated {
            Vulkan::load_validated().map(|(vulkan, complaints)| (vulkan, Some(complaints)))
        } else {
            Vulkan::load().map(|vulkan| (vulkan, None))
        };
        let mut heard = None;
        match loaded {
            Ok((vulkan, complaints)) => {
                heard = complaints;
                sources.add_vulkan(&vulkan);
            }
            Err(error) => lacking.push(error.to_string()),
        }
        let closed = sources.unavailable().iter();
        lacking.extend(
            closed
                .filter(|one| one.name == "Vulkan")
                .map(|one| one.why.clone()),
        );
        let gpus = sources
            .gpus()
            .map(|gpu| {
                let formats = gpu.formats().unwrap_or_default();
                (gpu.clone(), formats.iter().collect())
            })
            .collect();
        Self {
            sources,
            gpus,
            lacking,
            full: scope.full,
            frames: scope.frames,
            complaints: heard,
        }
    }

    /// The formats in which a device is tried, linear.
    pub(crate) fn formats(&self, listed: &[FormatModifier]) -> Vec<Fourcc> {
        let mut fourccs: Vec<Fourcc> = listed
            .iter()
            .filter(|format| format.modifier == Modifier::LINEAR)
            .map(|format| format.fourcc)
            .filter(|fourcc| self.full || REPRESENTATIVES.contains(fourcc))
            .collect();
        fourccs.dedup();
        fourccs
    }

    /// Solves for these participants and sources; what is only possible is told to who watches.
    pub(crate) fn plan(
        &self,
        extent: Extent,
        participants: Vec<Participant>,
        sources: Vec<Source>,
    ) -> Planned {
        self.plan_of(extent, 1, participants, sources)
    }

    /// The same for so many buffers.
    pub(crate) fn plan_of(
        &self,
        extent: Extent,
        count: u32,
        participants: Vec<Participant>,
        sources: Vec<Source>,
    ) -> Planned {
        let request = Request {
            count,
            participants,
            sources,
            ..Request::new(extent)
        };
        match solve(&request) {
            Solution::Share(plan) => {
                if plan.verdict() != Verdict::Guaranteed {
                    tell(&Told::Doubt(plan.caveats().join("; ")));
                }
                Planned::Plan(Box::new(plan))
            }
            solution => Planned::Impossible(predicted(&solution.explain())),
        }
    }

    /// Does something with a planned buffer. What was only possible and is refused was tried in vain; what was guaranteed
    /// fails the row.
    pub(crate) fn with_buffer(
        &self,
        planned: Planned,
        attempt: impl FnOnce(&Buffer) -> Result<Seen>,
    ) -> Result<Seen> {
        let plan = match planned {
            Planned::Plan(plan) => plan,
            Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
        };
        let buffers = self.sources.allocate(&plan).map_err(anyhow::Error::from);
        let outcome = buffers.and_then(|mut buffers| attempt(&buffers.pop().context("no buffer")?));
        judge(&plan, outcome)
    }
}

/// What the validation layer has said since the last time fails the row.
pub(crate) fn judge_complaints(complaints: &Complaints) -> Result<Seen> {
    let said = complaints.take();
    ensure!(
        said.is_empty(),
        "the validation layer says: {}",
        said.join(" | ")
    );
    Ok(Seen::Passed)
}

/// The demands that stand in the way, of all that the solver says.
fn predicted(explained: &str) -> String {
    let first = explained.lines().next().unwrap_or_default();
    let demands: Vec<&str> = explained
        .lines()
        .skip_while(|line| !line.starts_with(' '))
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .collect();
    if demands.is_empty() {
        format!("predicted: {first}")
    } else {
        format!("predicted: {}", demands.join(", and "))
    }
}

/// Refusals of what was only possible are skips.
pub(crate) fn judge(plan: &Plan, outcome: Result<Seen>) -> Result<Seen> {
    match outcome {
        Err(error) if plan.verdict() == Verdict::Guaranteed => {
            Err(error.context("guaranteed, and yet"))
        }
        Err(error) => Ok(Seen::Skipped(format!(
            "possible ({}), and not this time: {error:#}",
            plan.caveats().join("; ")
        ))),
        seen => seen,
    }
}

/// A size that is a multiple of nothing, or of as little as the format lets it be.
pub(crate) fn odd(fourcc: Fourcc) -> Result<Extent> {
    let subsampled = fourcc
        .info()
        .is_some_and(|info| info.planes.iter().any(|plane| plane.hsub > 1))
        || matches!(fourcc, Fourcc::YUYV | Fourcc::UYVY);
    Ok(if subsampled {
        Extent::new(322, 46)?
    } else {
        Extent::new(317, 43)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prediction_is_the_demands_alone() {
        let explained = "no buffer serves all participants\nthese demands cannot stand together:\n  \
                         one takes only XR24\n  other takes only NV12\nif it were not so that one takes only XR24\n  x";
        assert_eq!(
            predicted(explained),
            "predicted: one takes only XR24, and other takes only NV12"
        );
        assert_eq!(
            predicted("there is no source"),
            "predicted: there is no source"
        );
    }
}
