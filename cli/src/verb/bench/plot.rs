//! Draws the report as an SVG chart: a bar up to each median, a whisker from the lower to the upper quartile, and a dot at the
//! minimum, all operations on one logarithmic scale.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::report::{Operation, PLAIN_MEMORY, Report, Row, time};
use super::table::groups;

/// The x coordinate at which the names end and the scale begins, in pixels.
const LEFT: f64 = 260.0;
/// The length of the scale, in pixels.
const WIDTH: f64 = 560.0;
/// The width of the space to the right of the scale, where each bar's numbers are printed.
const RIGHT: f64 = 170.0;
/// The distance between the tops of two bars.
const STEP: f64 = 22.0;
/// The height of a bar.
const BAR: f64 = 12.0;
/// The height of the heading of a group of bars.
const HEADING: f64 = 34.0;
/// The distance of the first heading from the upper edge.
const TOP: f64 = 78.0;

/// The logarithmic scale of the chart, from 10^`first` to 10^`last` nanoseconds.
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let min = rows.clone().map(|row| row.quartiles.min_ns).min();
        let max = rows.map(|row| row.quartiles.upper_quartile_ns).max();
        let power = |nanoseconds: u64| logarithm(nanoseconds).floor();
        let (min, max) = (power(min.unwrap_or(1)), power(max.unwrap_or(1)));
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a logarithm of 64 bits is at most 19"
        )]
        let (first, last) = (min as i32, max as i32);
        Self {
            first,
            last: last.saturating_add(1),
        }
    }

    /// Returns the x coordinate of a time.
    fn x(&self, nanoseconds: u64) -> f64 {
        let share = (logarithm(nanoseconds) - f64::from(self.first))
            / f64::from(self.last.saturating_sub(self.first).max(1));
        LEFT + WIDTH * share.clamp(0.0, 1.0)
    }

    /// Returns the powers of ten on the scale, in nanoseconds.
    fn ticks(&self) -> impl Iterator<Item = u64> {
        (self.first..=self.last).filter_map(|power| 10_u64.checked_pow(power.try_into().ok()?))
    }
}

/// Returns the position of a time on the logarithmic axis.
#[allow(clippy::cast_precision_loss, reason = "a coordinate in a chart")]
fn logarithm(nanoseconds: u64) -> f64 {
    (nanoseconds.max(1) as f64).log10()
}

/// Returns the colour of an operation, from the palette of Okabe and Ito for colour-blind readers.
const fn colour(operation: Operation) -> &'static str {
    match operation {
        Operation::Allocate => "#0072b2",
        Operation::Free => "#56b4e9",
        Operation::Map => "#cc79a7",
        Operation::FirstWrite => "#d55e00",
        Operation::Write => "#e69f00",
        Operation::Read => "#c9a800",
        Operation::Import => "#009e73",
        Operation::Release => "#7a7a7a",
    }
}

/// Returns the chart as SVG.
pub(super) fn render(report: &Report) -> String {
    let groups = groups(&report.rows);
    let scale = Scale::of(groups.iter().flat_map(|(_, rows)| rows.iter().copied()));
    let mut body = String::new();
    let mut y = TOP;
    for (heading, rows) in &groups {
        text(&mut body, (16.0, y + 22.0), "heading", heading);
        y += HEADING;
        for row in rows {
            bar(&mut body, &scale, row, y);
            y += STEP;
        }
    }
    let bottom = y + 8.0;
    let height = bottom + 34.0;
    let width = LEFT + WIDTH + RIGHT;
    let mut grid = String::new();
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let _ = writeln!(
            grid,
            r#"<line class="grid" x1="{x:.1}" y1="{TOP:.1}" x2="{x:.1}" y2="{bottom:.1}"/>"#
        );
        for y in [TOP - 8.0, bottom + 18.0] {
            text(&mut grid, (x, y), "tick", &round(tick));
        }
    }
    let mut head = String::new();
    text(
        &mut head,
        (16.0, 28.0),
        "title",
        &format!(
            "covalent bench: {} {} ({} bytes)",
            report.size,
            report.format,
            report.rows.iter().map(|row| row.bytes).min().unwrap_or(0)
        ),
    );
    text(
        &mut head,
        (16.0, 48.0),
        "note",
        &format!(
            "Linux {}; bar: median of {} rounds, whisker: quartiles, dot: minimum. Shorter is better.",
            report.kernel, report.rounds
        ),
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <style>\n\
         text {{ font-family: system-ui, sans-serif; font-size: 13px; fill: #24292f; }}\n\
         .title {{ font-size: 18px; font-weight: 600; }}\n\
         .note, .tick {{ font-size: 12px; fill: #57606a; }}\n\
         .tick {{ text-anchor: middle; }}\n\
         .heading {{ font-weight: 600; }}\n\
         .name {{ text-anchor: end; }}\n\
         .grid {{ stroke: #d0d7de; stroke-width: 1; }}\n\
         .whisker {{ stroke: #24292f; stroke-width: 1.5; fill: none; }}\n\
         </style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{head}{grid}{body}</svg>\n"
    )
}

/// Draws the bar of a row at the height `y`, with its label and its quartiles.
fn bar(body: &mut String, scale: &Scale, row: &Row, y: f64) {
    let quartiles = row.quartiles;
    let middle = y + BAR / 2.0;
    let end = scale.x(quartiles.median_ns);
    let fill = colour(row.key.operation);
    // Plain memory, with which all copies are compared, is drawn lighter.
    let opacity = if row.key.source == PLAIN_MEMORY {
        0.45
    } else {
        1.0
    };
    text(
        body,
        (LEFT - 10.0, middle + 4.5),
        "name",
        &shorten_label(&row.key.source),
    );
    let _ = writeln!(
        body,
        r#"<rect x="{LEFT:.1}" y="{y:.1}" width="{:.1}" height="{BAR:.1}" rx="2" fill="{fill}" fill-opacity="{opacity}"><title>{}</title></rect>"#,
        (end - LEFT).max(1.0),
        escaped(&format!(
            "{}: median {}, quartiles {} to {}, minimum {}, maximum {}, n {}",
            row.key,
            time(quartiles.median_ns),
            time(quartiles.lower_quartile_ns),
            time(quartiles.upper_quartile_ns),
            time(quartiles.min_ns),
            time(quartiles.max_ns),
            quartiles.n
        ))
    );
    let (low, high) = (
        scale.x(quartiles.lower_quartile_ns),
        scale.x(quartiles.upper_quartile_ns),
    );
    let (above, below) = (middle - 4.0, middle + 4.0);
    let _ = writeln!(
        body,
        r#"<path class="whisker" d="M{low:.1} {above:.1}V{below:.1}M{high:.1} {above:.1}V{below:.1}M{low:.1} {middle:.1}H{high:.1}"/>"#
    );
    let _ = writeln!(
        body,
        r##"<circle cx="{:.1}" cy="{middle:.1}" r="2.2" fill="#ffffff" stroke="#24292f"/>"##,
        scale.x(quartiles.min_ns)
    );
    let label_x = end.max(high) + 10.0;
    let words = format!("{}  ({})", time(quartiles.median_ns), row.rate());
    text(body, (label_x, middle + 4.5), "note", &words);
}

/// Writes a text at a position.
fn text(body: &mut String, (x, y): (f64, f64), class: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        body,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{words}</text>"#
    );
}

/// Formats a time that is a power of ten of nanoseconds, without decimals.
fn round(nanoseconds: u64) -> String {
    match nanoseconds {
        1_000_000_000.. => format!("{} s", nanoseconds / 1_000_000_000),
        1_000_000.. => format!("{} ms", nanoseconds / 1_000_000),
        1_000.. => format!("{} µs", nanoseconds / 1_000),
        _ => format!("{nanoseconds} ns"),
    }
}

/// Shortens a name to the space beside the scale.
fn shorten_label(name: &str) -> String {
    const MAX_CHARACTERS: usize = 36;
    if name.chars().count() <= MAX_CHARACTERS {
        return name.to_owned();
    }
    let start: String = name.chars().take(MAX_CHARACTERS - 1).collect();
    format!("{start}…")
}

/// Escapes a text for SVG.
fn escaped(words: &str) -> String {
    printable(words)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn plot_of_a_report_matches_its_snapshot() {
        insta::assert_snapshot!(render(&report()));
    }

    #[test]
    fn plot_of_an_empty_report_or_hostile_names_is_valid_svg() {
        let mut report = report();
        report.rows[0].key.source = "</text><script>&".to_owned();
        let svg = render(&report);
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;&amp;") && !svg.contains("<script"));
        report.rows.clear();
        let svg = render(&report);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn scale_contains_every_time() {
        let report = report();
        let scale = Scale::of(report.rows.iter());
        for row in &report.rows {
            for time in [
                row.quartiles.min_ns,
                row.quartiles.median_ns,
                row.quartiles.upper_quartile_ns,
            ] {
                let share = (scale.x(time) - LEFT) / WIDTH;
                assert!((0.0..=1.0).contains(&share));
            }
        }
        assert!(scale.x(1_000) < scale.x(2_000));
        assert_eq!(round(1), "1 ns");
        assert_eq!(round(10_000_000), "10 ms");
    }
}
