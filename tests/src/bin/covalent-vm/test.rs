//! `test`: runs checks on this machine, and the cases of the suite in guests.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use covalent_tests::suite::record::{Record, Summary, Verdict, tree};
use covalent_tests::suite::report::ReportOrder;
use covalent_tests::suite::run::{Ended, Images, Runner, parallel_guests};
use covalent_tests::suite::skips::Skips;
use covalent_tests::suite::{Case, all, checks, interop};
use covalent_tests::vm::build::checkout;
use covalent_tests::vm::cache::Cache;
use covalent_tests::vm::config::Config;
use covalent_tests::vm::progress::Progress;

use super::host;

/// The options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only cases that need a guest of this configuration.
    #[arg(long, value_enum)]
    config: Option<Config>,
    /// Run only checks and cases whose name contains this word.
    filter: Option<String>,
    /// Run long tests too: all sizes, all memory sizes, soak tests.
    #[arg(long)]
    full: bool,
    /// Continue an earlier run of the same tree. Checks and cases that passed in it are not run again.
    #[arg(long)]
    resume: bool,
    /// Check buffer sharing between Vulkan and the drivers of this machine, without a guest. Rows for missing devices are skipped
    /// with a reason.
    #[arg(long, conflicts_with_all = ["config", "resume", "list"])]
    on_host: bool,
    /// Run this many guests in parallel; by default as many as fit this machine's CPUs and memory.
    #[arg(long, value_name = "NUMBER")]
    guests: Option<NonZeroU8>,
    /// Print the checks and cases that would run, and run nothing.
    #[arg(long)]
    list: bool,
}

impl Arguments {
    /// Returns whether the name matches the filter.
    fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|word| name.contains(word.as_str()))
    }

    /// Returns the checks that run.
    fn checks(&self) -> Vec<&'static str> {
        // Checks need no guest, so `--config` excludes them.
        let of_guest = self.config.is_some();
        checks::NAMES
            .into_iter()
            .filter(|name| !of_guest && self.wants(name))
            .collect()
    }

    /// Returns the cases that run.
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
        bail!("no check or case has such a name; `./x test --full --list` prints all names");
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
    let tree = tree(checkout()).context("compute the hash of this tree")?;
    let mut run = Run::begin(arguments, tree)?;
    let checks: Vec<&str> = checks
        .into_iter()
        .filter(|name| !run.passed_before(name))
        .collect();
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| !run.passed_before(case.name))
        .collect();
    run.order = ReportOrder::new(&checks);
    let images = Images::default();
    let runner = Runner {
        images: &images,
        progress: &progress,
        skips: &skips,
        artefacts: checkout().join("target/suite"),
        full: arguments.full,
        guests: arguments
            .guests
            .map_or_else(parallel_guests, |guests| usize::from(guests.get())),
    };
    let mut recorded = Ok(());
    let made = runner.run(&checks, &cases, |ended| {
        if let Some(versions) = images.versions() {
            run.summary.versions = BTreeMap::from([
                ("kernel".to_owned(), versions.kernel.clone()),
                ("mesa".to_owned(), versions.mesa.clone()),
                ("qemu".to_owned(), versions.qemu.clone()),
            ]);
        }
        if recorded.is_ok() {
            recorded = run.add(ended, &progress);
        }
    });
    run.print_rest(&progress);
    recorded?;
    made.map_err(anyhow::Error::msg)?;
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

/// The results of this run so far, and the results of an earlier run for `--resume`.
struct Run {
    summary: Summary,
    /// The order in which the records of checks are printed.
    order: ReportOrder,
    before: BTreeMap<String, Vec<Record>>,
    /// The path of the summary, which other programs read.
    summary_file: PathBuf,
    /// The path of the records that `--resume` reads.
    resume_file: PathBuf,
}

impl Run {
    /// Prepares the summary. With `--resume`, reads the records of checks and cases that did not fail in an earlier run of this
    /// tree.
    fn begin(arguments: &Arguments, tree: String) -> anyhow::Result<Self> {
        let resume_file = Cache::from_environment()?
            .folder()
            .join("results")
            .join(format!("{tree}.json"));
        let mut before: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        let earlier = arguments
            .resume
            .then(|| Summary::read(&resume_file))
            .flatten();
        for record in earlier.map(|summary| summary.records).unwrap_or_default() {
            // The records of single unit tests belong to the check `unit::tests`.
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
            order: ReportOrder::default(),
            before,
            summary_file: checkout().join("target/suite/summary.json"),
            resume_file,
        })
    }

    /// Adds the records of an earlier run if none of them failed. Returns whether there were such records.
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

    /// Stores the records of a check or case that has ended. The record of a case is printed at once. The records of checks are
    /// printed when [`ReportOrder::end`] returns them.
    fn add(&mut self, ended: Ended, progress: &Progress) -> anyhow::Result<()> {
        let printed = match ended {
            Ended::Check(name, records) => {
                self.summary.records.extend_from_slice(&records);
                self.order.end(name, records)
            }
            Ended::Case(record) => {
                self.summary.records.push(record.clone());
                vec![record]
            }
        };
        for record in &printed {
            progress.print(record);
        }
        for path in [&self.summary_file, &self.resume_file] {
            let written = self.summary.write(path);
            written.with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Prints the records that were not printed yet.
    fn print_rest(&mut self, progress: &Progress) {
        for record in std::mem::take(&mut self.order).unprinted() {
            progress.print(&record);
        }
    }
}
