//! `covalent doctor`: finds what prevents or limits buffer sharing on this machine, and prints a command that helps.
//!
//! [`collect`] reads this machine into a [`Snapshot`], and each [`check`] reads only a snapshot. A snapshot can therefore be
//! checked on another machine, and tests need no devices.

mod check;
mod collect;
mod finding;
mod paste;
mod snapshot;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};
use clap::Args;
use covalent_alloc::text::{printable, printable_path};
use serde::Serialize;

use crate::args::PROBLEM_FOUND;
use crate::foreign::{self, CovalentFileKind};
use crate::out;
use crate::text::wrap;
use crate::{file, json};
use finding::{Finding, Severity};
use snapshot::{PipelineInfo, Snapshot};

/// Find what prevents or limits buffer sharing on this machine, with a command that helps.
#[derive(Args, Debug)]
#[command(after_help = "\
Checks device nodes and their permissions, groups, containers, kernel options and modules,
resource limits, huge pages, memory for contiguous buffers, features of the cards, pipelines of
media-controller cameras, Vulkan drivers, and seat management. Nothing is changed, and only device nodes and seatd's socket are opened. Each
problem comes with a line to paste if there is one that helps; lines that need root begin with
sudo.

  blocks   something cannot be used at all
  limits   everything works, but with fewer sources of memory, in smaller sizes or more slowly
  note     information that matters only in some cases

Examples:
  covalent doctor
  covalent doctor --json | jq -r '.findings[].remedy.line // empty'
      only the lines to paste
  covalent doctor || echo 'a problem was found'
  covalent doctor --record machine.json; covalent doctor --from machine.json
      the second command can also run on another machine

Exit codes: 0 nothing blocks, 13 something blocks, or with --strict something limits.")]
pub(crate) struct Options {
    /// Exit with code 13 also if a finding only limits buffer sharing.
    #[arg(long)]
    strict: bool,
    /// Write the data of this machine to a file, for --from.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Check the machine in this file, which --record wrote, instead of this one.
    #[arg(long, value_name = "FILE|-", conflicts_with = "record")]
    from: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The longest file that is read, in bytes. A file of `covalent report` contains the data of this verb and of other verbs.
const MAXIMUM_BYTES: usize = 16 << 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    /// The pipelines of all media-controller cameras, also of those that can stream.
    pipelines: &'a [PipelineInfo],
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let snapshot = match &options.from {
        Some(path) => {
            let text = file::read(path, MAXIMUM_BYTES)?;
            let recording = CovalentFileKind::Snapshot.within(&text);
            if recording.len() > Snapshot::MAXIMUM_BYTES {
                bail!(
                    "{}: the recording has {} bytes, and at most {} are read",
                    printable_path(path),
                    recording.len(),
                    Snapshot::MAXIMUM_BYTES
                );
            }
            foreign::read_as(
                CovalentFileKind::Snapshot,
                path,
                &text,
                Snapshot::read(recording),
            )?
        }
        None => collect::snapshot(),
    };
    if let Some(path) = &options.record {
        file::write(path, serde_json::to_string_pretty(&snapshot)?.as_bytes())?;
    }
    let findings = check::all(&snapshot);
    if options.json {
        json::print(&Report {
            findings: &findings,
            pipelines: &snapshot.pipelines,
        })?;
    } else {
        let mut out = out::coloured();
        write!(out, "{}", render(&findings))?;
        out.flush()?;
    }
    let worst = if options.strict {
        Severity::Limits
    } else {
        Severity::Blocks
    };
    let is_bad = findings.iter().any(|finding| finding.severity <= worst);
    Ok(if is_bad {
        PROBLEM_FOUND.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Returns the findings as text with colours. Lines have at most 80 columns, except lines to paste.
fn render(findings: &[Finding]) -> String {
    const INDENT: &str = "          ";
    const WIDTH: usize = 80 - INDENT.len();
    let strong = Style::new().bold();
    let mut text = String::new();
    for finding in findings {
        let colour = match finding.severity {
            Severity::Blocks => AnsiColor::Red,
            Severity::Limits => AnsiColor::Yellow,
            Severity::Notes => AnsiColor::Cyan,
        };
        let style = colour.on_default().bold();
        let word = finding.severity.word();
        for (number, line) in wrap(&printable(&finding.what), WIDTH).iter().enumerate() {
            if number == 0 {
                let blank = " ".repeat(INDENT.len().saturating_sub(word.len() + 2));
                text.push_str(&format!(
                    "  {style}{word}{style:#}{blank}{strong}{line}{strong:#}\n"
                ));
            } else {
                text.push_str(&format!("{INDENT}{strong}{line}{strong:#}\n"));
            }
        }
        for line in wrap(&printable(&finding.why), WIDTH) {
            text.push_str(&format!("{INDENT}{line}\n"));
        }
        if let Some(remedy) = &finding.remedy {
            let green = AnsiColor::Green.on_default();
            let line = printable(&remedy.line);
            text.push_str(&format!("{INDENT}{green}{line}{green:#}\n"));
            let note = remedy.note.as_deref().unwrap_or_default();
            for line in wrap(&printable(note), WIDTH) {
                text.push_str(&format!("{INDENT}{line}\n"));
            }
        }
        text.push('\n');
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (blocks, limits, notes) = (
        count(Severity::Blocks),
        count(Severity::Limits),
        count(Severity::Notes),
    );
    if blocks == 0 && limits == 0 {
        text.push_str("No problem found");
    } else {
        text.push_str(&format!(
            "Problems found: {blocks} blocking, {limits} limiting"
        ));
    }
    text.push_str(&match notes {
        0 => ".\n".to_owned(),
        1 => "; 1 note.\n".to_owned(),
        _ => format!("; {notes} notes.\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_as_text_match_their_snapshot() {
        let findings = [
            Finding::new(
                "udmabuf-permission",
                Severity::Limits,
                "/dev/udmabuf may not be opened by this user: Permission denied",
                "udmabuf makes dma-bufs of ordinary memory, which every device can import that does not need contiguous memory.",
            )
            .with_command("sudo usermod -aG kvm ada")
            .with_note("Log in again for this to take effect."),
            Finding::new("timelines", Severity::Notes, "no timelines", "Fences do."),
        ];
        let plain = anstream::adapter::strip_str(&render(&findings)).to_string();
        insta::assert_snapshot!(plain);
        insta::assert_snapshot!(
            "nothing",
            anstream::adapter::strip_str(&render(&[])).to_string()
        );
    }
}
