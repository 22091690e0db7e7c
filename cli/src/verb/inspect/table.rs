//! Writes the report on dma-bufs as text: a paragraph for each buffer, within 80 columns unless names are longer.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::report::{
    BufferMapping, BufferReport, FenceOutcome, FenceReport, Holder, LayoutOrigin, Report,
};

/// The widest line, in columns.
const WIDTH: usize = 80;
/// The column at which the text after a label begins.
const INDENT: usize = 12;

/// Returns the whole report as text.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    for buffer in &report.buffers {
        paragraph(&mut text, buffer);
        text.push('\n');
    }
    let bytes = report
        .buffers
        .iter()
        .fold(0_u64, |sum, buffer| sum.saturating_add(buffer.size_bytes));
    let count = report.buffers.len();
    let plural = if count == 1 { "" } else { "s" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{count} dma-buf{plural}, {}", size(bytes));
    for missing in &report.missing {
        let words = format!("{}: {}; {}", missing.what, missing.why, missing.remedy);
        line(&mut text, "missing", &words);
    }
    text
}

/// Writes the paragraph on one dma-buf.
fn paragraph(text: &mut String, buffer: &BufferReport) {
    let mut head = format!("inode {}: {}", buffer.inode, size(buffer.size_bytes));
    if !buffer.exporter.is_empty() {
        let _ = write!(head, " of {}", printable(&buffer.exporter));
    }
    if let Some(name) = &buffer.name {
        let _ = write!(head, ", \"{}\"", printable(name));
    }
    if let Some(age) = buffer.age_ns {
        let _ = write!(head, ", age {}", time(age));
    }
    let _ = writeln!(text, "{}", printable(&head));
    line(text, "held by", &holders(&buffer.holders));
    line(text, "mapped by", &mappings(&buffer.mappings));
    if buffer.references > 0 {
        let words = match buffer.unseen_references {
            0 => format!("{}, all of the processes above", buffer.references),
            unseen => format!(
                "{}, of which {unseen} belong to drivers or to processes that were not scanned",
                buffer.references
            ),
        };
        line(text, "references", &words);
    }
    if let Some(attached) = &buffer.attached {
        let names: Vec<String> = attached.iter().map(|name| printable(name)).collect();
        line(text, "attached", &joined_or(&names, "no device"));
    }
    if let Some(fences) = &buffer.fences {
        let of = |kind: &str, list: &[FenceReport]| -> Vec<String> {
            list.iter()
                .map(|one| format!("{kind} {}", fence(one)))
                .collect()
        };
        let mut all = of("writer", &fences.writers);
        all.extend(of("reader", &fences.readers));
        if all.is_empty() {
            line(text, "fences", "none pending");
        }
        for words in all {
            line(text, "fences", &words);
        }
    }
    let listed = buffer.listed_fences.iter().flatten();
    for one in listed.filter(|one| !one.is_signalled) {
        let words = format!("{} {}", one.usage, printable(&one.words));
        line(text, "debugfs", &format!("{words}, not signalled"));
    }
    if let Some(layout) = &buffer.pixel_layout {
        let origin = match layout.origin {
            LayoutOrigin::Options => "from the options",
            LayoutOrigin::Display => "from a framebuffer on a display",
            LayoutOrigin::Report => "from the compositor's report",
            LayoutOrigin::Name => "from its name",
        };
        let planes: Vec<String> = layout
            .planes
            .iter()
            .map(|plane| format!("{} at {}", plane.stride_bytes, plane.offset_bytes))
            .collect();
        let words = if planes.is_empty() {
            format!("{} {}, {origin}", layout.size, layout.format.fourcc)
        } else {
            format!(
                "{} {} {:#}, stride {}, {origin}",
                layout.size,
                layout.format.fourcc,
                layout.format.modifier,
                planes.join(", ")
            )
        };
        line(text, "layout", &words);
    }
}

/// Lists the processes that hold fds of a dma-buf.
fn holders(holders: &[Holder]) -> String {
    let words: Vec<String> = holders
        .iter()
        .map(|holder| {
            let fds: Vec<String> = holder.fds.iter().map(ToString::to_string).collect();
            let command = printable(&holder.command);
            format!("{command} ({}) fd {}", holder.pid, fds.join(" "))
        })
        .collect();
    joined_or(&words, "no scanned process")
}

/// Lists the processes that have mapped a dma-buf.
fn mappings(mappings: &[BufferMapping]) -> String {
    let words: Vec<String> = mappings
        .iter()
        .map(|mapped| {
            format!(
                "{} ({}) {} {}",
                printable(&mapped.command),
                mapped.pid,
                mapped.permissions,
                size(mapped.length_bytes)
            )
        })
        .collect();
    joined_or(&words, "no scanned process")
}

/// Joins the items with commas; returns `none` if there are none.
fn joined_or(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

/// Describes a fence that was pending when the watch started.
fn fence(fence: &FenceReport) -> String {
    let name = format!(
        "{} ({})",
        printable(&fence.driver),
        printable(&fence.timeline)
    );
    match &fence.outcome {
        FenceOutcome::Pending { at_least_ns } => format!(
            "{name}: pending for at least {}, the time for which it was watched",
            time(*at_least_ns)
        ),
        FenceOutcome::Signalled { after_ns } => {
            format!("{name}: was pending, signalled after {}", time(*after_ns))
        }
        FenceOutcome::Failed { after_ns, error } => {
            format!(
                "{name}: was pending, failed after {}: {error}",
                time(*after_ns)
            )
        }
    }
}

/// Writes a label and the text after it, broken into lines of at most [`WIDTH`] columns.
fn line(text: &mut String, label: &str, words: &str) {
    let _ = write!(text, "  {label:9} ");
    let mut column = INDENT;
    // Callers escape the names in the text. The text is escaped again here in case a caller overlooked a name.
    let words = printable(words);
    for (number, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if number > 0 {
            if column.saturating_add(length) >= WIDTH {
                let _ = write!(text, "\n{:INDENT$}", "");
                column = INDENT;
            } else {
                text.push(' ');
                column = column.saturating_add(1);
            }
        }
        text.push_str(word);
        column = column.saturating_add(length);
    }
    text.push('\n');
}

/// Formats a number of bytes in the largest unit in which the number is at least 1.
fn size(bytes: u64) -> String {
    scaled(
        bytes,
        &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        "bytes",
    )
}

/// Formats nanoseconds in the largest unit in which the number is at least 1.
fn time(nanoseconds: u64) -> String {
    scaled(
        nanoseconds,
        &[(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")],
        "ns",
    )
}

/// Formats a value with two or three significant digits in the first unit that it reaches; `least` is the name of the unit 1.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn scaled(value: u64, units: &[(u64, &str)], least: &str) -> String {
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) => {
            let share = value as f64 / *unit as f64;
            let digits = if share < 10.0 {
                2
            } else if share < 100.0 {
                1
            } else {
                0
            };
            format!("{share:.digits$} {name}")
        }
        None => format!("{value} {least}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::collect::{BufferFilter, collect_buffers, tests as fixture};
    use super::super::layout::of_name;
    use super::super::report::{Fences, MissingInfo, VERSION};
    use super::*;

    fn fence(driver: &str, outcome: FenceOutcome) -> FenceReport {
        FenceReport {
            driver: driver.to_owned(),
            timeline: "ring".to_owned(),
            outcome,
        }
    }

    fn report() -> Report {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(112);
        let listed = fixture::listed();
        let mut buffers = collect_buffers(
            &fixture::scan(),
            Some(&listed),
            &BufferFilter::default(),
            now,
        );
        for buffer in &mut buffers {
            let name = buffer.name.clone().unwrap_or_default();
            buffer.pixel_layout = of_name(&name, buffer.size_bytes);
        }
        buffers[0].fences = Some(Fences {
            writers: vec![fence(
                "vgem",
                FenceOutcome::Pending {
                    at_least_ns: 250_400_000,
                },
            )],
            readers: vec![
                fence("i915", FenceOutcome::Signalled { after_ns: 900 }),
                fence(
                    "sw_sync",
                    FenceOutcome::Failed {
                        after_ns: 31_000,
                        error: "No such file or directory (os error 2)".to_owned(),
                    },
                ),
            ],
        });
        buffers[1].fences = Some(Fences::default());
        buffers[1].name = Some("evil\n\x1b[2Jname".to_owned());
        Report {
            version: VERSION,
            buffers,
            missing: vec![MissingInfo {
                what: "57 processes of other users".to_owned(),
                why: "only who may trace a process sees its fds".to_owned(),
                remedy: "run as root, or with CAP_SYS_PTRACE".to_owned(),
            }],
        }
    }

    #[test]
    fn report_of_a_camera_and_its_compositor_matches_its_snapshot() {
        let text = render(&report());
        assert!(!text.contains('\x1b'));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        insta::assert_snapshot!(text);
    }

    /// Returns the report with `added` appended to every name that a process or a driver chooses.
    fn with_names(added: &str) -> Report {
        let mut report = report();
        let mut add = |name: &mut String| name.push_str(added);
        for buffer in &mut report.buffers {
            add(&mut buffer.exporter);
            buffer.name.iter_mut().for_each(&mut add);
            buffer.attached.iter_mut().flatten().for_each(&mut add);
            for holder in &mut buffer.holders {
                add(&mut holder.command);
            }
            for mapped in &mut buffer.mappings {
                add(&mut mapped.command);
                add(&mut mapped.permissions);
            }
            for listed in buffer.listed_fences.iter_mut().flatten() {
                add(&mut listed.usage);
                add(&mut listed.words);
            }
            let fences = buffer.fences.iter_mut();
            for fence in fences.flat_map(|all| all.writers.iter_mut().chain(&mut all.readers)) {
                add(&mut fence.driver);
                add(&mut fence.timeline);
                if let FenceOutcome::Failed { error, .. } = &mut fence.outcome {
                    add(error);
                }
            }
        }
        for missing in &mut report.missing {
            add(&mut missing.what);
            add(&mut missing.why);
            add(&mut missing.remedy);
        }
        report
    }

    #[test]
    fn report_with_hostile_names_has_no_additional_lines() {
        let hostile = "\x1b[2J\nforged:\r\u{202e}\u{200b}\u{9b}m\u{2028}";
        let harmless = "x".repeat(printable(hostile).chars().count());
        let text = render(&with_names(hostile));
        for line in text.lines() {
            assert_eq!(printable(line), line);
            assert!(!line.trim_start().starts_with("forged:"), "{text}");
        }
        let plain = render(&with_names(&harmless));
        assert_eq!(text.lines().count(), plain.lines().count());
    }

    #[test]
    fn report_as_json_matches_its_snapshot() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&report()).unwrap());
    }

    #[test]
    fn numbers_are_written_with_three_digits() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1_228_800), "1.17 MiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "17179869184 GiB");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(250_400_000), "250 ms");
        assert_eq!(time(12_000_000_000), "12.0 s");
    }
}
