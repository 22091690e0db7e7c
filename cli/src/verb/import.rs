//! `covalent import`: makes a recorded machine from the output of other tools that ran on that machine.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::machine::dump::{self, DumpFile, DumpKind};
use covalent_alloc::machine::{Machine, ProvenanceByPath};
use covalent_alloc::text::printable_path;
use serde::Serialize;

use crate::out::{self, line};
use crate::{file, json};

/// Make a recorded machine from the output of drm_info, v4l2-ctl and other tools that ran on it.
#[derive(Args, Debug)]
#[command(after_help = "\
Each file is the output of one tool, as it was sent or pasted: a shell's prompt, quotation marks
and lost tabs do not matter. The kind of each file is found by its content. Several files become one
machine, so the camera of one and the card of another can share a buffer in a plan. What the files
do not say stays unknown: it is listed here, and again below every plan that depends on it.

On the other machine:
  drm_info -j > card.json
      the planes of every card with their formats and modifiers
  v4l2-ctl -d /dev/video0 --all --list-formats-ext > camera.txt
      the formats, sizes and strides of a camera or a codec
  vulkaninfo > gpu.txt
      the extensions and the linear formats of every GPU; `vulkaninfo --json` writes those of one
      GPU to a file VP_VULKANINFO_*.json, which can be read too
  wayland-info > compositor.txt
      the formats and modifiers that the compositor takes
  sudo cat /sys/kernel/debug/dma_buf/bufinfo > bufinfo.txt
      the heaps that exported dma-bufs
  dtc -I fs -O dts /proc/device-tree > board.dts
      the pools of memory that the board reserves, and the devices that use them

Examples:
  covalent import card.json camera.txt --out machine.json
  covalent plan --machine machine.json --camera video0 --display card0
      whether that machine's camera and display can share a buffer
  covalent import card.json --json
      what is known of the card, and what is not")]
pub(crate) struct Options {
    /// Read the output of a tool from this file; may be repeated.
    #[arg(required = true, value_name = "FILE|-")]
    files: Vec<PathBuf>,
    /// Write the machine to this file, for `covalent plan --machine`.
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The result of the import, for `--json`.
#[derive(Serialize)]
struct Report {
    machine: String,
    /// The kind of each file, in the order in which they were given.
    kinds: Vec<&'static str>,
    participants: Vec<String>,
    sources: Vec<String>,
    /// The devices that cannot be recorded, because the files lack data about them.
    missing: Vec<String>,
    unknown: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut contents = Vec::new();
    for path in &options.files {
        let bytes = file::read(path, DumpKind::MAXIMUM_BYTES)?;
        contents.push((printable_path(path), bytes));
    }
    let files: Vec<DumpFile<'_>> = contents
        .iter()
        .map(|(name, bytes)| DumpFile { name, bytes })
        .collect();
    let machine = dump::import(&files)?;
    if let Some(path) = &options.out {
        file::write(path, (machine.to_json()? + "\n").as_bytes())?;
    }
    let report = report(&machine, &files);
    if options.json {
        json::print(&report)?;
    } else {
        write(options, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the report on an imported machine.
fn report(machine: &Machine, files: &[DumpFile<'_>]) -> Report {
    let kind = |own: &DumpFile<'_>| DumpKind::detect(own.bytes).map_or("", DumpKind::label);
    let mut report = Report {
        machine: machine.name.clone(),
        kinds: files.iter().map(kind).collect(),
        participants: Vec::new(),
        sources: Vec::new(),
        missing: Vec::new(),
        unknown: Vec::new(),
    };
    for declared in &machine.declared {
        let size = declared.size.map(|size| format!(" at {size}"));
        let size = size.unwrap_or_default();
        for recorded in &declared.participants {
            let own = &recorded.participant;
            let name = format!("{} ({}){size}", own.name, own.device.node);
            add_unknown(&mut report.unknown, &own.name, &recorded.provenance);
            report.participants.push(name);
        }
        for recorded in &declared.sources {
            let own = &recorded.source;
            add_unknown(&mut report.unknown, &own.name, &recorded.provenance);
            report.sources.push(format!("{}{size}", own.name));
        }
        let missing = declared.missing.iter();
        report
            .missing
            .extend(missing.map(|own| format!("{}: {}", own.name, own.reason)));
    }
    report
}

/// Adds the unknown values of a participant or source to `unknown`, each value once.
fn add_unknown(unknown: &mut Vec<String>, name: &str, provenance: &ProvenanceByPath) {
    for (_, what) in provenance.unknown() {
        let text = format!("{name}: {what}");
        if !unknown.contains(&text) {
            unknown.push(text);
        }
    }
}

/// Prints what was read from each file, and what is not known about the machine.
fn write(options: &Options, report: &Report) -> Result<()> {
    let mut out = out::stdout();
    for (path, kind) in options.files.iter().zip(&report.kinds) {
        line!(out, "read: {}, which is {kind}", printable_path(path))?;
    }
    for own in &report.participants {
        line!(out, "participant: {own}")?;
    }
    for own in &report.sources {
        line!(out, "source: {own}")?;
    }
    for own in &report.missing {
        line!(out, "not declared: {own}")?;
    }
    for own in &report.unknown {
        line!(out, "not known about this machine: {own}")?;
    }
    if let Some(path) = &options.out {
        line!(out, "written: {}", printable_path(path))?;
    }
    out.flush()?;
    Ok(())
}
