//! The suite: what is shown in guests, as data, and the frame that runs it.
//!
//! A case says which guest it needs ([`Needs`]). Cases with the same needs share a boot, in the order of their names; after a
//! case that failed, the next gets a fresh guest. Some guests run side by side. A case ends in one of three ways: passed, failed, or skipped with
//! its reason; a skip that `tests/skips.toml` does not list is a failure.
//!
//! A theme is a file with a `CASES` list, added to [`all`]:
//!
//! ```
//! use covalent_tests::suite::{TestContext, Case, Outcome};
//! use covalent_tests::vm::config::Config;
//! use std::time::Duration;
//!
//! pub const CASES: &[Case] = &[Case::new("theme::subject_condition_outcome", Config::Bochs, subject)];
//!
//! fn subject(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
//!     let output = context.sh("uname -s", Duration::from_secs(10))?;
//!     anyhow::ensure!(output.text() == "Linux", "uname says {:?}", output.text());
//!     Ok(Outcome::Passed)
//! }
//! ```

use std::time::Duration;

use crate::vm::config::{Config, Memory, Size};

mod alloc;
mod board;
mod buffers;
mod camera;
mod case_queue;
pub mod checks;
mod codecs;
mod compositor;
mod context;
mod cost;
mod display;
mod doctor;
mod drivers;
mod examples;
mod faults;
mod guest;
mod harness;
mod inspect;
pub mod interop;
mod loopback;
mod machines;
mod matrix;
mod memory;
mod planes;
mod rates;
pub mod record;
mod recovery;
mod renderer;
pub mod run;
mod seat;
mod sizes;
pub mod skips;
mod sync;
mod syncobj;
mod third_party;
mod tool;
mod trace;
mod trial_results;
mod views;
mod vulkan_client;
mod waits;

pub use context::TestContext;

/// How long a case may take, unless it says otherwise: a boot on a busy machine, and five minutes.
const LIMIT: Duration = Duration::from_secs(900);

/// What a case does.
pub type Run = fn(&mut TestContext<'_>) -> anyhow::Result<Outcome>;

/// How a case ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What it claims was seen.
    Passed,
    /// It cannot be seen here, and why.
    Skip(String),
}

/// The guest that a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// Its configuration.
    pub config: Config,
    /// Its memory.
    pub memory: Memory,
    /// The size of its display.
    pub size: Size,
    /// What is set aside for contiguous buffers, in MiB.
    pub contiguous_mebibytes: u32,
    /// Whether its clock counts instructions.
    pub counted: bool,
    /// Features with which its programs are compiled, as `package/feature`.
    pub features: &'static [&'static str],
}

/// One thing to show in a guest.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `theme::subject_condition_outcome`; no two are the same.
    pub name: &'static str,
    /// The guest.
    pub needs: Needs,
    /// Whether it takes so long that only `--full` runs it.
    pub full: bool,
    /// Whether it leaves no guest behind that another case could use.
    pub last: bool,
    /// How long it may take, its own boots included. Then its guest is ended, and it fails.
    pub limit: Duration,
    /// What it does.
    pub run: Run,
}

impl Case {
    /// A case that runs every time, in a guest of this configuration.
    #[must_use]
    pub const fn new(name: &'static str, config: Config, run: Run) -> Self {
        Self {
            name,
            needs: Needs {
                config,
                memory: Memory::TWO_GIBIBYTES,
                size: Size::SMALL,
                contiguous_mebibytes: 128,
                counted: false,
                features: &[],
            },
            full: false,
            last: false,
            limit: LIMIT,
            run,
        }
    }

    /// Needs a guest with this much memory.
    #[must_use]
    pub const fn memory(mut self, memory: Memory) -> Self {
        self.needs.memory = memory;
        self
    }

    /// Needs a display of this size.
    #[must_use]
    pub const fn size(mut self, size: Size) -> Self {
        self.needs.size = size;
        self
    }

    /// Needs exactly this much set aside for contiguous buffers, in MiB.
    #[must_use]
    pub const fn contiguous(mut self, mebibytes: u32) -> Self {
        self.needs.contiguous_mebibytes = mebibytes;
        self
    }

    /// Needs a clock that counts instructions, on a processor that is emulated.
    #[must_use]
    pub const fn counted(mut self) -> Self {
        self.needs.counted = true;
        self
    }

    /// Needs programs that are compiled with these features, as `package/feature`.
    #[must_use]
    pub const fn features(mut self, features: &'static [&'static str]) -> Self {
        self.needs.features = features;
        self
    }

    /// Only `--full` runs it.
    #[must_use]
    pub const fn full(mut self) -> Self {
        self.full = true;
        self
    }

    /// Leaves no guest behind that another case could use, so it runs after all others that need such a guest: each of these
    /// costs a boot, and in the middle it would cost two.
    #[must_use]
    pub const fn last(mut self) -> Self {
        self.last = true;
        self
    }

    /// May take this long.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

/// All cases of all themes.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        alloc::CASES,
        board::CASES,
        memory::CASES,
        drivers::CASES,
        examples::CASES,
        codecs::CASES,
        cost::CASES,
        planes::CASES,
        rates::CASES,
        buffers::CASES,
        matrix::CASES,
        trial_results::CASES,
        guest::CASES,
        harness::CASES,
        inspect::CASES,
        third_party::CASES,
        display::CASES,
        doctor::CASES,
        loopback::CASES,
        machines::CASES,
        camera::CASES,
        faults::CASES,
        seat::CASES,
        recovery::CASES,
        sizes::CASES,
        renderer::CASES,
        tool::CASES,
        trace::CASES,
        views::CASES,
        vulkan_client::CASES,
        waits::CASES,
        syncobj::CASES,
        sync::CASES,
        interop::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_different_and_have_a_theme() {
        let cases = all();
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        assert!(names.iter().all(|name| name.split_once("::").is_some()));
    }

    #[test]
    fn skips_name_cases_that_exist() {
        let skips = skips::Skips::committed().unwrap();
        let known: BTreeSet<String> = all()
            .iter()
            .map(|case| case.name.to_owned())
            .chain(checks::NAMES.iter().map(|name| (*name).to_owned()))
            .collect();
        for name in skips.names() {
            // Unit tests are not known here.
            assert!(known.contains(name) || name.starts_with("unit::"), "{name}");
        }
    }
}
