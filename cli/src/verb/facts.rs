//! `covalent facts`: what drivers have refused here, and what is well known of them.

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

/// List, export or forget what was learnt of this machine's drivers.
#[derive(Args, Debug)]
#[command(after_help = "\
A fact is a refusal that came back: it is of two devices, and holds on a machine that is equal in kernel, Mesa, memory,
IOMMU and what the host offers. It is believed for thirty days. Facts that ship with Covalent are listed as well, and
cannot be forgotten.

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
    /// List all facts, and whether they hold here and now.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the facts that were learnt, as the file has them.
    Export {
        /// Write to this file instead of the standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Forget facts that were learnt.
    Forget {
        /// Forget those in whose sentence all of these words are.
        #[arg(required_unless_present = "all")]
        words: Vec<String>,
        /// Forget every one.
        #[arg(long, conflicts_with = "words")]
        all: bool,
    },
    /// Print where facts are kept.
    Path,
}

/// All facts.
#[derive(Serialize)]
struct Listing<'a> {
    facts: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    words: String,
    in_force: bool,
    fact: &'a TrialResult,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut out = out::stdout();
    match &options.verb {
        Verb::List { json } => {
            let book = machine::facts();
            let listed: Vec<Listed<'_>> = book
                .facts()
                .iter()
                .map(|fact| Listed {
                    words: fact.to_string(),
                    in_force: book.is_in_force(fact),
                    fact,
                })
                .collect();
            if *json {
                json::print(&Listing { facts: listed })?;
            } else {
                for one in &listed {
                    line!(out, "{}{}", one.words, not_in_force(&book, one.fact))?;
                }
            }
        }
        Verb::Export { out: path } => {
            let facts = TrialResultStore::for_user()?.read()?;
            let text = TrialResultStore::to_text(&facts)?;
            match path {
                Some(path) => file::write(path, text.as_bytes())?,
                None => out.write_all(printable_json(&text).as_bytes())?,
            }
        }
        Verb::Forget { words, all } => {
            let forgotten = TrialResultStore::for_user()?.update(|book| {
                book.forget(|fact| {
                    let sentence = fact.to_string();
                    *all || words.iter().all(|word| sentence.contains(word.as_str()))
                })
            })?;
            if forgotten.is_empty() && !all {
                bail!("no fact that was learnt has these words; `covalent facts list` lists them");
            }
            for fact in forgotten {
                line!(out, "forgotten: {fact}")?;
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

fn not_in_force(book: &TrialResults, fact: &TrialResult) -> &'static str {
    if book.is_in_force(fact) {
        ""
    } else if fact.expires.is_some_and(|end| end <= book.now()) {
        " [expired]"
    } else {
        " [of another kernel, Mesa, memory size or host]"
    }
}
