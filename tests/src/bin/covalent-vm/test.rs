//! `test`: everything that shows that the project does what it says.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use covalent_tests::suite::record::{Record, Summary, Verdict, tree};
use covalent_tests::suite::run::{Runner, parallel_guests};
use covalent_tests::suite::skips::Skips;
use covalent_tests::suite::{Case, all, checks, interop};
use covalent_tests::vm::build::checkout;
use covalent_tests::vm::cache::Cache;
use covalent_tests::vm::config::Config;
use covalent_tests::vm::image;
use covalent_tests::vm::platform::Platform;
use covalent_tests::vm::progress::Progress;

use super::host;

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only what needs a guest of this configuration.
    #[arg(long, value_enum)]
    config: Option<Config>,
    /// Only what has this word in its name.
    filter: Option<String>,
    /// Also what takes long: all sizes, all memory sizes, soaks.
    #[arg(long)]
    full: bool,
    /// Goes on where a run of this very tree was stopped: what has passed is not run again.
    #[arg(long)]
    resume: bool,
    /// Tries the ways between Vulkan and the drivers of this machine itself, without a guest. What it lacks is skipped and said.
    #[arg(long, conflicts_with_all = ["config", "resume", "list"])]
    on_host: bool,
    /// How many guests run side by side. As many as this machine has processors and memory for, where it is not said.
    #[arg(long, value_name = "NUMBER")]
    guests: Option<NonZeroU8>,
    /// Only says what would run.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|word| name.contains(word.as_str()))
    }

    fn checks(&self) -> Vec<&'static str> {
        // A configuration is one of a guest, and checks need none.
        let of_guest = self.config.is_some();
        checks::NAMES
            .into_iter()
            .filter(|name| !of_guest && self.wants(name))
            .collect()
    }

    fn cases(&self) -> Vec<Case> {
        all()
            .into_iter()
            .filter(|case| self.full || !case.full)
            .filter(|case| self.config.is_none_or(|config| case.needs.config == config))
            .filter(|case| self.wants(case.name))
            .collect()
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.on_host {
        return host::run(arguments.filter.as_deref(), arguments.full);
    }
    let (checks, cases) = (arguments.checks(), arguments.cases());
    if checks.is_empty() && cases.is_empty() {
        bail!("nothing has such a name; `./x test --full --list` says all names");
    }
    if arguments.list {
        for name in checks {
            println!("{name}");
        }
        for case in cases {
            println!(
                "{} ({}, {}, {})",
                case.name, case.needs.config, case.needs.memory, case.needs.size
            );
        }
        return Ok(ExitCode::SUCCESS);
    }

    let progress = Progress::stderr();
    let skips = Skips::committed().context("tests/skips.toml")?;
    let image = image::ensure(&progress)?;
    let tree = tree(checkout()).context("find out what this tree is")?;
    let mut run = Run::begin(arguments, tree)?;
    run.summary.versions = BTreeMap::from([
        ("kernel".to_owned(), image.versions.kernel.clone()),
        ("mesa".to_owned(), image.versions.mesa.clone()),
        ("qemu".to_owned(), image.versions.qemu.clone()),
    ]);

    for name in checks {
        if run.passed_before(name) {
            continue;
        }
        for record in checks::run(name, &image.root, &skips, &progress) {
            run.tell(record)?;
        }
    }
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| !run.passed_before(case.name))
        .collect();
    // Most runs have no case of the board, and need not wait for its image.
    let needs_board = cases
        .iter()
        .any(|case| case.needs.config.platform() == Platform::Board);
    let board = needs_board
        .then(|| image::ensure_with(Platform::Board, image::Options::default(), &progress))
        .transpose()
        .context("the board's image")?;
    let runner = Runner {
        image: &image,
        board: board.as_ref(),
        skips: &skips,
        artefacts: checkout().join("target/suite"),
        full: arguments.full,
        guests: arguments
            .guests
            .map_or_else(parallel_guests, |guests| usize::from(guests.get())),
    };
    let mut told = Ok(());
    runner.run(&cases, |record| {
        if told.is_ok() {
            told = run.tell(record);
        }
    });
    told?;
    let artefacts = checkout().join("target/suite");
    if let Some(table) = interop::gather(&artefacts, &run.summary.records)? {
        table.keep(&artefacts, "interop")?;
        print!("{table}");
    }
    println!("{}", run.summary);
    Ok(if run.summary.count(Verdict::Failed) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What this run has found so far, and what one before it had.
struct Run {
    summary: Summary,
    before: BTreeMap<String, Vec<Record>>,
    /// For programs that read results.
    file: PathBuf,
    /// For the run that goes on.
    kept: PathBuf,
}

impl Run {
    fn begin(arguments: &Arguments, tree: String) -> anyhow::Result<Self> {
        let kept = Cache::from_environment()?
            .folder()
            .join("results")
            .join(format!("{tree}.json"));
        let mut before: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        let earlier = arguments.resume.then(|| Summary::read(&kept)).flatten();
        for record in earlier.map(|summary| summary.records).unwrap_or_default() {
            // All unit tests are one check.
            let name = if record.name.starts_with("unit::") {
                "unit::tests"
            } else {
                &record.name
            };
            before.entry(name.to_owned()).or_default().push(record);
        }
        before.retain(|_, records| {
            records
                .iter()
                .all(|record| record.verdict != Verdict::Failed)
        });
        Ok(Self {
            summary: Summary {
                tree,
                full: arguments.full,
                ..Summary::default()
            },
            before,
            file: checkout().join("target/suite/summary.json"),
            kept,
        })
    }

    /// Takes over what an earlier run has found, if it was not a failure.
    fn passed_before(&mut self, name: &str) -> bool {
        let Some(records) = self.before.remove(name) else {
            return false;
        };
        for record in &records {
            println!("{record}  (in an earlier run)");
        }
        self.summary.records.extend(records);
        true
    }

    fn tell(&mut self, record: Record) -> anyhow::Result<()> {
        println!("{record}");
        self.summary.records.push(record);
        for path in [&self.file, &self.kept] {
            let written = self.summary.write(path);
            written.with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}
