//! `covalent-alloc-check`: checks that every backend of `covalent-alloc` behaves as it declares, on this machine's devices. It
//! runs in the guest, as root.
//!
//! Each check prints one line: `passed NAME`, `failed NAME: why` or `skipped NAME: why`.

mod buffers;
mod cards;
mod codecs;
#[cfg(feature = "gbm")]
mod gbm;
mod handles;
mod hostile;
mod import_cache;
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

/// Checks that every backend of the allocator behaves as it declares.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to check.
    #[arg(value_enum)]
    theme: Theme,
    /// The command that `hold` and `painted` execute.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Theme {
    /// Every source follows its plan, allocates zeroed memory, and frees everything, also when fds or memory run out.
    Sources,
    /// Every queue streams into the buffers that the solver says it supports.
    Queues,
    /// Every card makes framebuffers of the buffers that the solver says it supports, and closes every handle.
    Cards,
    /// Pools and import caches return correct buffers, several threads can allocate, and many allocations leak nothing.
    Buffers,
    /// A hundred thousand buffers of each source are allocated and freed.
    Soak,
    /// A camera whose driver injects errors reports each error once, and streams on.
    Injected,
    /// Guards synchronise CPU access, with a driver that keeps the CPU view and the device view in separate memory
    /// (`covalent_views`).
    Views,
    /// Devices are unplugged while their memory is shared. The first camera is not plugged in again.
    Unplug,
    /// Mem-to-mem devices and codecs return the pixels that they were given.
    Codecs,
    /// Every GBM device imports the buffers that the solver says it supports, and exports as it declares.
    #[cfg(feature = "gbm")]
    Gbm,
    /// Every Vulkan CPU driver reads pixels that other devices write, and other devices read pixels that it writes.
    #[cfg(feature = "vulkan")]
    Vulkan,
    /// Run theme `vulkan` with the validation layer, which must report nothing.
    #[cfg(feature = "vulkan")]
    Validated,
    /// Every plane of every card accepts the formats and sizes that it lists.
    Planes,
    /// Assertions of IGT and the Vulkan CTS about the kernel and drivers that the other themes do not check.
    Ported,
    /// Buffer descriptions that do not match their dma-buf are refused.
    Hostile,
    /// memfds and huge pages become dma-bufs: covalent-alloc refuses memory that the kernel would refuse, and the memory cannot
    /// be truncated.
    Memory,
    /// Fences, timelines and reservation objects work, with sw_sync fences that the checks signal late.
    Sync,
    /// Semaphores and fences of Vulkan devices are imported from and exported to sync_files and timelines.
    #[cfg(feature = "vulkan")]
    DeviceSync,
    /// Pass buffers ten thousand times between devices, with sw_sync fences that the checks signal late.
    Handovers,
    /// Internal: the second process of a check of theme `sync`, which starts it.
    Peer,
    /// Executes the command with a buffer whose write fence is never signalled, so that another program can inspect it.
    Hold,
    /// Executes the command with pictures in many formats, so that another program can read them.
    Painted,
}

/// The outcome of a check that did not fail.
enum CheckOutcome {
    /// The check verified what its name says.
    Passed,
    /// The check cannot run on this machine, for this reason.
    Skipped(String),
}

/// Runs checks, prints their outcomes and counts failures.
#[derive(Default)]
struct CheckRunner {
    failed: usize,
    cards: Vec<Card>,
}

impl CheckRunner {
    /// Lets each later check fail if it leaks a GEM handle or a framebuffer in the open card files of these sources.
    fn watch(&mut self, sources: &Sources) {
        self.cards = sources.cards().cloned().collect();
        handles::run(self, sources);
    }

    /// Runs one check. A check that leaks an fd, a dma-buf, a handle or a framebuffer fails.
    fn check(&mut self, name: &str, check: impl FnOnce() -> anyhow::Result<CheckOutcome>) {
        let outcome = Baseline::take(&self.cards).and_then(|before| {
            let outcome = check()?;
            before.compare()?;
            Ok(outcome)
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
        Theme::Hold => return exec_failed(sync::exec_with_unsignalled_fence(&arguments.command)),
        Theme::Painted => return exec_failed(pictures::exec_with_pictures(&arguments.command)),
        Theme::Handovers => sync::run_handovers(&mut runner),
    }
    if runner.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the error of a failed exec and returns the exit code. A successful exec does not return.
fn exec_failed(outcome: anyhow::Result<()>) -> ExitCode {
    if let Err(error) = outcome {
        eprintln!("{error:#}");
    }
    ExitCode::FAILURE
}
