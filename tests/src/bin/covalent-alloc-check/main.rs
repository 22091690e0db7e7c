//! `covalent-alloc-check`: holds every backend of `covalent-alloc` to what it says, on the devices that are there. Runs in
//! the guest, as root.
//!
//! Each check prints one line: `passed NAME`, `failed NAME: why` or `skipped NAME: why`.

mod buffers;
mod cards;
mod codecs;
#[cfg(feature = "gbm")]
mod gbm;
mod handles;
mod hostile;
mod injected;
mod memory;
mod pictures;
mod planes;
mod ported;
mod queues;
mod soak;
mod sources;
mod sync;
mod unplug;
mod views;
#[cfg(feature = "vulkan")]
mod vulkan;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use covalent_alloc::backend::drm::Card;
use covalent_tests::check_support::Baseline;
use covalent_tests::check_support::Sources;

/// Holds every backend of the allocator to what it says.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to check.
    #[arg(value_enum)]
    theme: Theme,
    /// What `hold` and `painted` become.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Theme {
    /// Every source keeps its plan, gives zeroed memory, and takes everything back, also when fds or memory run out.
    Sources,
    /// Every queue streams into what the solver says that it takes.
    Queues,
    /// Every card shows what the solver says that it takes, and closes what it opens.
    Cards,
    /// Buffers are given again, imported once, used by many threads, made and freed without end, and nothing is left.
    Buffers,
    /// A hundred thousand buffers of each source are made and freed.
    Soak,
    /// A camera whose driver is told to fail.
    Injected,
    /// Guards of the processor's access, where it has a view of its own (`covalent_views`).
    Views,
    /// Devices that go away. The first camera stays away.
    Unplug,
    /// Devices that convert give back what they were given.
    Codecs,
    /// Every GBM device imports what the solver says that it takes, and exports what it says of itself.
    #[cfg(feature = "gbm")]
    Gbm,
    /// Every Vulkan device on the processor reads what others write, and is read by them.
    #[cfg(feature = "vulkan")]
    Vulkan,
    /// The same with the validation layer, which has to have nothing to say.
    #[cfg(feature = "vulkan")]
    Validated,
    /// Every plane of every card shows what it lists.
    Planes,
    /// What IGT and the Vulkan CTS assert of kernel and drivers, as far as no other theme does.
    Ported,
    /// Descriptions that lie are refused.
    Hostile,
    /// Memory of the process and huge pages: what the kernel would refuse is refused before, and nobody can take it back.
    Memory,
    /// Fences, timelines and reservations, with fences that are held back.
    Sync,
    /// DeviceSync of Vulkan devices, to and from sync_files and timelines.
    #[cfg(feature = "vulkan")]
    DeviceSync,
    /// Ten thousand hand-overs from device to device, behind fences that are held back.
    Handovers,
    /// The other process of a check of `sync`, started by it.
    Peer,
    /// Leaves a buffer behind whose writer is never done to the command that this process becomes, for who looks at it.
    Hold,
    /// Leaves pictures in many formats to the command that this process becomes, for who reads them.
    Painted,
}

/// How a check ended that did not fail.
enum CheckOutcome {
    /// What it claims was seen.
    Passed,
    /// It cannot be seen here.
    Skipped(String),
}

/// The checks that have ended.
#[derive(Default)]
struct CheckRunner {
    failed: usize,
    cards: Vec<Card>,
}

impl CheckRunner {
    /// Holds each check that follows to leave no GEM handle and no framebuffer in the files that these sources have open.
    fn watch(&mut self, sources: &Sources) {
        self.cards = sources.cards().cloned().collect();
        handles::run(self, sources);
    }

    /// Runs one check; what it leaves behind is a failure too.
    fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<CheckOutcome>) {
        let outcome = Baseline::take(&self.cards).and_then(|before| {
            let seen = check()?;
            before.compare()?;
            Ok(seen)
        });
        match outcome {
            Ok(CheckOutcome::Passed) => println!("passed {name}"),
            Ok(CheckOutcome::Skipped(why)) => println!("skipped {name}: {why}"),
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                println!("failed {name}: {error:#}");
            }
        }
    }
}

fn main() -> ExitCode {
    let mut runner = CheckRunner::default();
    let arguments = Arguments::parse();
    match arguments.theme {
        Theme::Sources => sources::run(&mut runner),
        Theme::Queues => queues::run(&mut runner),
        Theme::Cards => cards::run(&mut runner),
        Theme::Buffers => buffers::run(&mut runner),
        Theme::Soak => soak::run(&mut runner),
        Theme::Injected => injected::run(&mut runner),
        Theme::Views => views::run(&mut runner),
        Theme::Unplug => unplug::run(&mut runner),
        Theme::Codecs => codecs::run(&mut runner),
        #[cfg(feature = "gbm")]
        Theme::Gbm => gbm::run(&mut runner),
        #[cfg(feature = "vulkan")]
        Theme::Vulkan => vulkan::run(&mut runner),
        #[cfg(feature = "vulkan")]
        Theme::Validated => vulkan::run_validated(&mut runner),
        Theme::Planes => planes::run(&mut runner),
        Theme::Ported => ported::run(&mut runner),
        Theme::Hostile => hostile::run(&mut runner),
        Theme::Memory => memory::run(&mut runner),
        Theme::Sync => sync::run(&mut runner),
        #[cfg(feature = "vulkan")]
        Theme::DeviceSync => sync::run_vulkan(&mut runner),
        Theme::Peer => {
            if let Err(error) = sync::serve_as_peer() {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
        Theme::Hold => return became(sync::hold(&arguments.command)),
        Theme::Painted => return became(pictures::hold(&arguments.command)),
        Theme::Handovers => sync::run_handovers(&mut runner),
    }
    if runner.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How this process ends that should have become another: only an error comes back.
fn became(outcome: anyhow::Result<()>) -> ExitCode {
    if let Err(error) = outcome {
        eprintln!("{error:#}");
    }
    ExitCode::FAILURE
}
