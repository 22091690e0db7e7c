//! `covalent facts`: lists, exports and removes trial results. A trial result is a refusal by a driver, which was stored on this
//! machine or ships with Covalent.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use covalent_alloc::text::{printable_json, printable_path};
use covalent_alloc::trial::{TrialResult, TrialResultStore, TrialResults};
use serde::Serialize;

use crate::out::{self, line};
use crate::{file, json, machine};

/// List, export or remove stored trial results.
#[derive(Args, Debug)]
#[command(after_help = "\
A trial result (a fact) is a repeated refusal by a driver. It is about a source and a participant,
and applies to a machine with the same kernel, Mesa, memory size, IOMMU and host features. It
expires after thirty days. Results that ship with Covalent are listed as well, and cannot be
removed.

Examples:
  covalent facts list
  covalent facts export --out facts.json
  covalent facts forget virtio_gpu
  covalent facts forget --all")]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all trial results, and whether they apply to this machine now.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the stored trial results in the format of their file.
    Export {
        /// Write to this file instead of the standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Remove stored trial results.
    Forget {
        /// Remove the results whose text contains all of these words, such as virtio_gpu.
        #[arg(required_unless_present = "all")]
        words: Vec<String>,
        /// Remove all of them.
        #[arg(long, conflicts_with = "words")]
        all: bool,
    },
    /// Print the path of the file.
    Path,
}

/// All trial results, for `--json`.
#[derive(Serialize)]
struct TrialResultList<'a> {
    #[serde(rename = "facts")]
    results: Vec<ListedResult<'a>>,
}

/// A stored trial result in the list.
#[derive(Serialize)]
struct ListedResult<'a> {
    words: String,
    in_force: bool,
    #[serde(rename = "fact")]
    result: &'a TrialResult,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut out = out::stdout();
    match &options.verb {
        Verb::List { json } => {
            let results = machine::trial_results();
            let listed: Vec<ListedResult<'_>> = results
                .all()
                .iter()
                .map(|result| ListedResult {
                    words: result.to_string(),
                    in_force: results.is_valid(result),
                    result,
                })
                .collect();
            if *json {
                json::print(&TrialResultList { results: listed })?;
            } else {
                for one in &listed {
                    line!(out, "{}{}", one.words, validity_note(&results, one.result))?;
                }
            }
        }
        Verb::Export { out: path } => {
            let results = TrialResultStore::for_user()?.read()?;
            let text = TrialResultStore::to_text(&results)?;
            match path {
                Some(path) => file::write(path, text.as_bytes())?,
                None => out.write_all(printable_json(&text).as_bytes())?,
            }
        }
        Verb::Forget { words, all } => {
            let removed = TrialResultStore::for_user()?.update(|results| {
                results.forget(|result| {
                    let text = result.to_string();
                    *all || words.iter().all(|word| text.contains(word.as_str()))
                })
            })?;
            if removed.is_empty() && !all {
                bail!(
                    "no stored trial result contains these words; `covalent facts list` lists all results"
                );
            }
            for result in removed {
                line!(out, "forgotten: {result}")?;
            }
        }
        Verb::Path => line!(
            out,
            "{}",
            printable_path(TrialResultStore::for_user()?.path())
        )?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a note if a trial result does not apply to this machine; an empty text otherwise.
fn validity_note(results: &TrialResults, result: &TrialResult) -> &'static str {
    if results.is_valid(result) {
        ""
    } else if result.expires.is_some_and(|end| end <= results.now()) {
        " [expired]"
    } else {
        " [of another kernel, Mesa, memory size or host]"
    }
}
