//! The suite: the list of cases that run in guests, and the code that runs them.
//!
//! Each case states the guest that it needs ([`Needs`]). Cases with the same needs share a booted guest. The longest cases run
//! first, and cases of the same length are sorted by name. After a case that failed, the next case gets a new guest. Several
//! guests run at the same time. A case passes, fails, or is skipped with a reason. A skip that `tests/skips.toml` does not list
//! is a failure.
//!
//! A theme is a file with a `CASES` list, which [`all`] includes:
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
use crate::vm::kernel::Kernel;

mod alloc;
mod board;
mod buffers;
mod camera;
mod camera_client;
mod case_queue;
mod check_queue;
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
mod hostile;
mod images;
mod inspect;
pub mod interop;
mod kernels;
mod kms;
mod loopback;
mod machines;
mod matrix;
mod memory;
mod peers;
mod planes;
mod pools;
mod rates;
pub mod record;
mod recovery;
mod renderer;
pub mod report;
pub mod run;
mod seat;
mod shown_picture;
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
mod watch;
mod work;

pub use context::TestContext;

/// The default time limit of a case: a boot on a busy machine, and five minutes more.
const LIMIT: Duration = Duration::from_secs(900);

/// The expected time of a case in seconds, unless the case states another time.
const SECONDS: u32 = 15;

/// The function that a case runs.
pub type Run = fn(&mut TestContext<'_>) -> anyhow::Result<Outcome>;

/// The outcome of a case that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The case verified what its name states.
    Passed,
    /// The case cannot run on this machine, for this reason.
    Skip(String),
}

/// The guest that a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// The configuration: displays, cards and cameras.
    pub config: Config,
    /// The kernel.
    pub kernel: Kernel,
    /// The guest's memory.
    pub memory: Memory,
    /// The size of the first display.
    pub size: Size,
    /// The memory that the kernel reserves for contiguous buffers (the boot option `cma=`), in MiB.
    pub contiguous_mebibytes: u32,
    /// Whether the guest has the programs of other projects (the peers).
    pub peers: bool,
    /// Whether the guest's clock counts executed instructions instead of time.
    pub counted: bool,
}

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The unique name, `theme::subject_condition_outcome`.
    pub name: &'static str,
    /// The guest that the case needs.
    pub needs: Needs,
    /// Whether only `--full` runs the case, because it takes long.
    pub full: bool,
    /// Whether no other case can use the guest after this case.
    pub last: bool,
    /// The time limit, including the boots of guests for the case. When it has passed, the guest is killed and the case fails.
    pub limit: Duration,
    /// About how many seconds the case takes on two idle processors. The value affects only the order in which cases run.
    pub seconds: u32,
    /// The function to run.
    pub run: Run,
}

impl Case {
    /// Creates a case that runs without `--full` too, in a guest of this configuration with the default memory, display size and
    /// time limit.
    #[must_use]
    pub const fn new(name: &'static str, config: Config, run: Run) -> Self {
        Self {
            name,
            needs: Needs {
                config,
                kernel: Kernel::Backports,
                memory: Memory::TWO_GIBIBYTES,
                size: Size::SMALL,
                contiguous_mebibytes: 128,
                peers: false,
                counted: false,
            },
            full: false,
            last: false,
            limit: LIMIT,
            seconds: SECONDS,
            run,
        }
    }

    /// Sets the kernel.
    #[must_use]
    pub const fn kernel(mut self, kernel: Kernel) -> Self {
        self.needs.kernel = kernel;
        self
    }

    /// Sets the guest's memory.
    #[must_use]
    pub const fn memory(mut self, memory: Memory) -> Self {
        self.needs.memory = memory;
        self
    }

    /// Sets the display's size.
    #[must_use]
    pub const fn size(mut self, size: Size) -> Self {
        self.needs.size = size;
        self
    }

    /// Sets the memory that is reserved for contiguous buffers, in MiB.
    #[must_use]
    pub const fn contiguous(mut self, mebibytes: u32) -> Self {
        self.needs.contiguous_mebibytes = mebibytes;
        self
    }

    /// Sets that the guest has the programs of other projects.
    #[must_use]
    pub const fn peers(mut self) -> Self {
        self.needs.peers = true;
        self
    }

    /// Sets that the guest's clock advances with each instruction (QEMU's `-icount`). Its CPU is then always emulated.
    #[must_use]
    pub const fn counted(mut self) -> Self {
        self.needs.counted = true;
        self
    }

    /// Sets that the case runs only with `--full`.
    #[must_use]
    pub const fn full(mut self) -> Self {
        self.full = true;
        self
    }

    /// Sets that no other case can use the guest afterwards. The case then runs after all other cases that share its guest;
    /// otherwise the guest would have to be booted once more.
    #[must_use]
    pub const fn last(mut self) -> Self {
        self.last = true;
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets the approximate number of seconds that the case takes, if it takes far longer than most cases.
    #[must_use]
    pub const fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }
}

/// Returns all cases of all themes.
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
        peers::CASES,
        planes::CASES,
        pools::CASES,
        rates::CASES,
        buffers::CASES,
        matrix::CASES,
        trial_results::CASES,
        guest::CASES,
        harness::CASES,
        hostile::CASES,
        inspect::CASES,
        third_party::CASES,
        display::CASES,
        doctor::CASES,
        loopback::CASES,
        machines::CASES,
        camera::CASES,
        camera_client::CASES,
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
        watch::CASES,
        syncobj::CASES,
        sync::CASES,
        interop::CASES,
        kms::CASES,
        &kernels::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde::Deserialize;

    use super::*;
    use crate::vm::build::checkout;

    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default, rename = "bin")]
        programs: Vec<Program>,
    }

    #[derive(Deserialize)]
    struct Program {
        name: String,
        path: Option<PathBuf>,
        test: Option<bool>,
    }

    impl Program {
        /// Returns the source files of the program in the folder of its package.
        fn files(&self, package: &Path) -> Vec<PathBuf> {
            let usual = || format!("src/bin/{}/main.rs", self.name).into();
            let main = package.join(self.path.clone().unwrap_or_else(usual));
            let folder = main.parent().unwrap();
            // If the folder also has a library, or if the file is not called `main.rs`, only this file belongs to the program.
            let is_alone = main.ends_with("main.rs") && !folder.join("lib.rs").exists();
            if is_alone {
                sources(folder)
            } else {
                vec![main]
            }
        }
    }

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .flat_map(|path| {
                if path.is_dir() {
                    sources(&path)
                } else {
                    vec![path]
                }
            })
            .collect()
    }

    #[test]
    fn programs_without_a_test_harness_have_no_tests() {
        let mut checked = 0;
        for package in ["cli", "client-demo", "compositor", "tests", "tests/clients"] {
            let package = checkout().join(package);
            let text = fs::read_to_string(package.join("Cargo.toml")).unwrap();
            let manifest: Manifest = toml::from_str(&text).unwrap();
            let untested = manifest.programs.iter();
            for program in untested.filter(|program| program.test == Some(false)) {
                for file in program.files(&package) {
                    let text = fs::read_to_string(&file).unwrap();
                    let marks = [concat!("#[", "test]"), concat!("prop", "test!")];
                    let has_tests = marks.iter().any(|mark| text.contains(mark));
                    assert!(
                        !has_tests,
                        "{} has tests that the suite never runs",
                        file.display()
                    );
                    checked += 1;
                }
            }
        }
        assert!(checked > 20, "only {checked} files were checked");
    }

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
            // The list of known names does not contain unit tests.
            assert!(known.contains(name) || name.starts_with("unit::"), "{name}");
        }
    }
}
