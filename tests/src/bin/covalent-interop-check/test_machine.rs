//! The devices and sources of this machine, and the plans of rows.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::vulkan::{Gpu, ValidationMessages, Vulkan};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;

use super::rows::{ParentMessage, RowOutcome, send_to_parent};

/// One format of each kind: packed RGB with 32, 16 and 8 bits a pixel, packed YUV, and YUV with two and three planes.
const REPRESENTATIVES: [Fourcc; 6] = [
    Fourcc::XRGB8888,
    Fourcc::RGB565,
    Fourcc::R8,
    Fourcc::YUYV,
    Fourcc::NV12,
    Fourcc::YUV420,
];

/// The devices and sources of this machine, opened once.
pub(crate) struct TestMachine {
    pub(crate) sources: Sources,
    /// The Vulkan devices, each with the formats and modifiers that it can import.
    pub(crate) gpus: Vec<(Gpu, Vec<FormatModifier>)>,
    /// The reasons why Vulkan or one of its devices cannot be used.
    pub(crate) lacking: Vec<String>,
    /// Whether rows run for every format, and not only for one format of each kind.
    pub(crate) full: bool,
    /// The number of frames that two processes exchange.
    pub(crate) frames: u64,
    /// The messages of the validation layer; `None` if the layer is not loaded.
    pub(crate) validation_messages: Option<ValidationMessages>,
}

/// The options that select the devices to open and the rows to run.
#[derive(Debug, Default)]
pub(crate) struct TestOptions {
    /// Whether rows run for every format, and not only for one format of each kind.
    pub(crate) full: bool,
    /// Whether the validation layer is loaded.
    pub(crate) validated: bool,
    /// Whether GBM devices are opened. GBM drivers take long to load.
    #[cfg(feature = "gbm")]
    pub(crate) gbm: bool,
    /// The number of frames that two processes exchange.
    pub(crate) frames: u64,
}

/// The solver's result for a row.
pub(crate) enum PlanResult {
    /// The solver has found this plan.
    Plan(Box<Plan>),
    /// The solver has found no plan, for this reason.
    Impossible(String),
}

impl TestMachine {
    /// Opens all sources and Vulkan devices of the machine.
    pub(crate) fn open(options: &TestOptions) -> Self {
        let mut sources = Sources::discover();
        #[cfg(feature = "gbm")]
        if options.gbm {
            sources.add_gbm();
        }
        let mut lacking = Vec::new();
        let loaded = if options.validated {
            Vulkan::load_validated()
                .map(|(vulkan, validation_messages)| (vulkan, Some(validation_messages)))
        } else {
            Vulkan::load().map(|vulkan| (vulkan, None))
        };
        let mut validation = None;
        match loaded {
            Ok((vulkan, validation_messages)) => {
                validation = validation_messages;
                sources.add_vulkan(&vulkan);
            }
            Err(error) => lacking.push(error.to_string()),
        }
        let unavailable = sources.unavailable().iter();
        lacking.extend(
            unavailable
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
            full: options.full,
            frames: options.frames,
            validation_messages: validation,
        }
    }

    /// Returns the linear formats with which a device's rows run.
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

    /// Plans one buffer for these participants and sources. If the plan is not guaranteed, sends its caveats to the parent.
    pub(crate) fn plan(
        &self,
        extent: Extent,
        participants: Vec<Participant>,
        sources: Vec<Source>,
    ) -> PlanResult {
        self.plan_of(extent, 1, participants, sources)
    }

    /// Plans `count` buffers as [`plan`](Self::plan) does.
    pub(crate) fn plan_of(
        &self,
        extent: Extent,
        count: u32,
        participants: Vec<Participant>,
        sources: Vec<Source>,
    ) -> PlanResult {
        let request = Request {
            count,
            participants,
            sources,
            ..Request::new(extent)
        };
        match solve(&request) {
            Solution::Share(plan) => {
                if plan.verdict() != Verdict::Guaranteed {
                    send_to_parent(&ParentMessage::Caveats(plan.caveats().join("; ")));
                }
                PlanResult::Plan(Box::new(plan))
            }
            solution => PlanResult::Impossible(prediction(&solution.explain())),
        }
    }

    /// Allocates a planned buffer and calls `attempt` with it. If there is no plan, the row is skipped.
    pub(crate) fn with_buffer(
        &self,
        planned: PlanResult,
        attempt: impl FnOnce(&Buffer) -> Result<RowOutcome>,
    ) -> Result<RowOutcome> {
        let plan = match planned {
            PlanResult::Plan(plan) => plan,
            PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
        };
        let buffers = self.sources.allocate(&plan).map_err(anyhow::Error::from);
        let outcome = buffers.and_then(|mut buffers| {
            attempt(&buffers.pop().context("the source allocated no buffer")?)
        });
        classify(&plan, outcome)
    }
}

/// Fails the row if the validation layer has reported something since the last call.
pub(crate) fn expect_no_messages(validation_messages: &ValidationMessages) -> Result<RowOutcome> {
    let messages = validation_messages.take();
    ensure!(
        messages.is_empty(),
        "the validation layer reports: {}",
        messages.join(" | ")
    );
    Ok(RowOutcome::Passed)
}

/// Returns why the solver finds no plan: the conflicting constraints in its explanation, or else the first line of the
/// explanation.
fn prediction(explained: &str) -> String {
    let first = explained.lines().next().unwrap_or_default();
    let conflicts: Vec<&str> = explained
        .lines()
        .skip_while(|line| !line.starts_with(' '))
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .collect();
    if conflicts.is_empty() {
        format!("predicted: {first}")
    } else {
        format!("predicted: {}", conflicts.join(", and "))
    }
}

/// Converts the failure of a plan that is possible but not guaranteed into a skip. The failure of a guaranteed plan stays a
/// failure.
pub(crate) fn classify(plan: &Plan, outcome: Result<RowOutcome>) -> Result<RowOutcome> {
    match outcome {
        Err(error) if plan.verdict() == Verdict::Guaranteed => {
            Err(error.context("the row failed although its plan is guaranteed"))
        }
        Err(error) => Ok(RowOutcome::Skipped(format!(
            "the plan is possible but not guaranteed ({}), and the row failed: {error:#}",
            plan.caveats().join("; ")
        ))),
        outcome => outcome,
    }
}

/// Returns a size whose width and height are prime numbers, or even numbers for subsampled formats. Strides and offsets of such a
/// picture need padding.
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
    fn prediction_has_only_the_conflicting_constraints() {
        let explained = "no single buffer meets the constraints of all participants\nthese constraints conflict:\n  \
                         one accepts only XR24\n  other accepts only NV12\nwithout this constraint, x could allocate a buffer of NV12 for all participants: one accepts only XR24\n  x";
        assert_eq!(
            prediction(explained),
            "predicted: one accepts only XR24, and other accepts only NV12"
        );
        assert_eq!(
            prediction("there is no source"),
            "predicted: there is no source"
        );
    }
}
