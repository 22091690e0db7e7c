//! `covalent doctor`: what stands in the way of sharing on this machine, and the line that helps.
//!
//! Looking ([`gather`]) is apart from judging ([`check`]): each check is a function of a [`Snapshot`] alone, so that machines
//! that are not here can be judged, and tested.

mod check;
mod finding;
mod gather;
mod paste;
mod snapshot;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use clap::Args;
use covalent_alloc::text::{printable, printable_path};
use serde::Serialize;

use crate::args::IN_THE_WAY;
use crate::out;
use crate::text::wrap;
use crate::{file, json};
use finding::{Finding, Severity};
use snapshot::Snapshot;

/// Say what stands in the way of sharing on this machine, with the line that helps.
#[derive(Args, Debug)]
#[command(after_help = "\
Looks at device nodes and who may open them, groups, containers, the kernel's options and modules, limits, huge pages and
memory for contiguous buffers, what the cards can, Vulkan's drivers, and who gives displays out. Nothing is changed, and
nothing is opened but device nodes and seatd's socket. What helps is printed as a line to paste; those that need root
begin with sudo.

  blocks   something here cannot be used at all
  limits   all works, with fewer sources of memory, in smaller sizes or slower
  note     of interest to some

Examples:
  covalent doctor
  covalent doctor --json | jq -r '.findings[].remedy.line // empty'
      the remedies alone
  covalent doctor || echo 'something is in the way'
  covalent doctor --record machine.json; covalent doctor --from machine.json
      looks here, and judges elsewhere

Exit codes: 0 nothing is in the way, 13 something blocks; with --strict also when something limits.")]
pub(crate) struct Options {
    /// End with code 13 also when something limits.
    #[arg(long)]
    strict: bool,
    /// Write what was looked at to a file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Judge a machine that was recorded.
    #[arg(long, value_name = "FILE|-", conflicts_with = "record")]
    from: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let snapshot = match &options.from {
        Some(path) => {
            let text = file::read(path, Snapshot::MAXIMUM_BYTES)?;
            Snapshot::read(&text).with_context(|| printable_path(path))?
        }
        None => gather::snapshot(),
    };
    if let Some(path) = &options.record {
        file::write(path, serde_json::to_string_pretty(&snapshot)?.as_bytes())?;
    }
    let findings = check::all(&snapshot);
    if options.json {
        json::print(&Report {
            findings: &findings,
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
        IN_THE_WAY.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes findings for a person, in lines of 80 columns but for those to paste, with colours.
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
        for (place, line) in wrap(&printable(&finding.what), WIDTH).iter().enumerate() {
            if place == 0 {
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
        text.push_str("Nothing is in the way");
    } else {
        text.push_str(&format!("{blocks} in the way, {limits} that limit"));
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
    fn findings_in_words_are_as_they_were() {
        let findings = [
            Finding::new(
                "udmabuf-permission",
                Severity::Limits,
                "/dev/udmabuf may not be opened by this user: Permission denied",
                "udmabuf makes buffers of ordinary memory, which everybody can import who reaches memory page by page.",
            )
            .helped_by("sudo usermod -aG kvm ada")
            .noting("Log in again for it to count."),
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
