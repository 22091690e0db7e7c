//! The account of dma-bufs for people: a paragraph a buffer, within 80 columns where names allow.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::report::{BufferReport, FenceReport, FenceState, Holder, Mapped, Report, ToldBy};

/// The widest line.
const WIDTH: usize = 80;
/// Where the words of a line begin.
const INDENT: usize = 12;

/// Renders all of it.
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
    // A String takes whatever is written to it.
    let _ = writeln!(text, "{count} dma-buf{plural}, {}", size(bytes));
    for hidden in &report.hidden {
        let words = format!("{}: {}; {}", hidden.what, hidden.why, hidden.remedy);
        line(&mut text, "not seen", &words);
    }
    text
}

fn paragraph(text: &mut String, buffer: &BufferReport) {
    let mut head = format!("inode {}: {}", buffer.inode, size(buffer.size_bytes));
    if !buffer.exporter.is_empty() {
        let _ = write!(head, " of {}", printable(&buffer.exporter));
    }
    if let Some(name) = &buffer.name {
        let _ = write!(head, ", \"{}\"", printable(name));
    }
    if let Some(age) = buffer.age_ns {
        let _ = write!(head, ", made {} ago", time(age));
    }
    let _ = writeln!(text, "{}", printable(&head));
    line(text, "held by", &holders(&buffer.holders));
    line(text, "mapped by", &mappings(&buffer.mappings));
    if buffer.references > 0 {
        let words = match buffer.elsewhere {
            0 => format!("{}, all of these", buffer.references),
            elsewhere => format!(
                "{}, of which {elsewhere} are with drivers or processes that were not seen",
                buffer.references
            ),
        };
        line(text, "references", &words);
    }
    if let Some(attached) = &buffer.attached {
        let names: Vec<String> = attached.iter().map(|name| printable(name)).collect();
        line(text, "attached", &or_nothing(&names, "no device"));
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
    if let Some(picture) = &buffer.picture {
        let told_by = match picture.told_by {
            ToldBy::Options => "as given",
            ToldBy::Display => "as a display shows it",
            ToldBy::Report => "as the compositor reports",
            ToldBy::Name => "by its name",
        };
        let rows: Vec<String> = picture
            .planes
            .iter()
            .map(|plane| format!("{} at {}", plane.stride_bytes, plane.offset_bytes))
            .collect();
        let words = if rows.is_empty() {
            format!("{} {}, {told_by}", picture.size, picture.format.fourcc)
        } else {
            format!(
                "{} {} {:#}, stride {}, {told_by}",
                picture.size,
                picture.format.fourcc,
                picture.format.modifier,
                rows.join(", ")
            )
        };
        line(text, "picture", &words);
    }
}

fn holders(holders: &[Holder]) -> String {
    let words: Vec<String> = holders
        .iter()
        .map(|holder| {
            let fds: Vec<String> = holder.fds.iter().map(ToString::to_string).collect();
            let command = printable(&holder.command);
            format!("{command} ({}) fd {}", holder.process, fds.join(" "))
        })
        .collect();
    or_nothing(&words, "no process that was seen")
}

fn mappings(mappings: &[Mapped]) -> String {
    let words: Vec<String> = mappings
        .iter()
        .map(|mapped| {
            format!(
                "{} ({}) {} {}",
                printable(&mapped.command),
                mapped.process,
                mapped.permissions,
                size(mapped.length_bytes)
            )
        })
        .collect();
    or_nothing(&words, "no process that was seen")
}

fn or_nothing(words: &[String], nothing: &str) -> String {
    if words.is_empty() {
        nothing.to_owned()
    } else {
        words.join(", ")
    }
}

fn fence(fence: &FenceReport) -> String {
    let whose = format!(
        "{} ({})",
        printable(&fence.driver),
        printable(&fence.timeline)
    );
    match &fence.state {
        FenceState::Pending { at_least_ns } => format!(
            "{whose}: pending for {} at least, as long as it was watched",
            time(*at_least_ns)
        ),
        FenceState::Signalled { after_ns } => {
            format!("{whose}: was pending, signalled after {}", time(*after_ns))
        }
        FenceState::Failed { after_ns, error } => {
            format!(
                "{whose}: was pending, failed after {}: {error}",
                time(*after_ns)
            )
        }
    }
}

/// Writes words behind what they are about, and goes on in the next line where they are too long.
fn line(text: &mut String, about: &str, words: &str) {
    let _ = write!(text, "  {about:9} ");
    let mut column = INDENT;
    // Whoever made them has escaped the names in them, and this whatever was overlooked.
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

/// Bytes in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    scaled(
        bytes,
        &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        "bytes",
    )
}

/// Nanoseconds in the largest unit of which there is one.
fn time(nanoseconds: u64) -> String {
    scaled(
        nanoseconds,
        &[(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")],
        "ns",
    )
}

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

    use super::super::gather::{Wanted, gather, tests as fixture};
    use super::super::layout::of_name;
    use super::super::report::{Fences, Hidden, VERSION};
    use super::*;

    fn fence(driver: &str, state: FenceState) -> FenceReport {
        FenceReport {
            driver: driver.to_owned(),
            timeline: "ring".to_owned(),
            state,
        }
    }

    fn report() -> Report {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(112);
        let listed = fixture::listed();
        let mut buffers = gather(&fixture::census(), Some(&listed), &Wanted::default(), now);
        for buffer in &mut buffers {
            let name = buffer.name.clone().unwrap_or_default();
            buffer.picture = of_name(&name, buffer.size_bytes);
        }
        buffers[0].fences = Some(Fences {
            writers: vec![fence(
                "vgem",
                FenceState::Pending {
                    at_least_ns: 250_400_000,
                },
            )],
            readers: vec![
                fence("i915", FenceState::Signalled { after_ns: 900 }),
                fence(
                    "sw_sync",
                    FenceState::Failed {
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
            hidden: vec![Hidden {
                what: "57 processes of other users".to_owned(),
                why: "only who may trace a process sees its fds".to_owned(),
                remedy: "run as root, or with CAP_SYS_PTRACE".to_owned(),
            }],
        }
    }

    #[test]
    fn account_of_a_camera_and_its_compositor() {
        let text = render(&report());
        assert!(!text.contains('\x1b'));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        insta::assert_snapshot!(text);
    }

    /// The account with a text behind every name that somebody chose.
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
                if let FenceState::Failed { error, .. } = &mut fence.state {
                    add(error);
                }
            }
        }
        for hidden in &mut report.hidden {
            add(&mut hidden.what);
            add(&mut hidden.why);
            add(&mut hidden.remedy);
        }
        report
    }

    #[test]
    fn account_of_hostile_names_has_its_own_lines_alone() {
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
    fn account_as_json_has_its_version() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&report()).unwrap());
    }

    #[test]
    fn numbers_keep_three_digits() {
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
