//! Draws the processor time of each pipeline as bars.

use std::fmt::Write as _;

use super::table::{Column, Rows, number};

/// The width of the picture, of the names and of the longest bar, and the height of a line, in pixels.
const WIDTH: u32 = 860;
const NAMES_WIDTH: u32 = 330;
const BAR_WIDTH: f64 = 400.0;
const LINE_HEIGHT: u32 = 22;

/// Returns an SVG chart with a bar for each pipeline, grouped by job. The bar shows the time of the clients, followed by the time
/// of the compositor.
#[must_use]
pub fn draw(rows: &Rows) -> String {
    let total = |index: usize| {
        let columns = &rows.rows[index].columns;
        let median = |column| columns.get(&column).map_or(0.0, |spread| spread.median);
        (median(Column::ClientMs), median(Column::CompositorMs))
    };
    let most = (0..rows.rows.len())
        .map(total)
        .map(|(client, compositor)| client + compositor)
        .fold(f64::MIN_POSITIVE, f64::max);
    let mut body = String::new();
    let mut y = 52;
    let mut job = "";
    for (index, row) in rows.rows.iter().enumerate() {
        // Writing to a String cannot fail.
        if row.job != job {
            job = &row.job;
            y += 10;
            let _ = writeln!(
                body,
                "<text class='job' x='10' y='{y}'>{}</text>",
                escaped(job)
            );
            y += LINE_HEIGHT;
        }
        let _ = writeln!(body, "<text x='20' y='{y}'>{}</text>", escaped(&row.name));
        if row.columns.is_empty() {
            let _ = writeln!(
                body,
                "<text class='note' x='{NAMES_WIDTH}' y='{y}'>not measured</text>"
            );
        } else {
            let (client, compositor) = total(index);
            let [first, second] = [client, compositor].map(|ms| ms.max(0.0) / most * BAR_WIDTH);
            let top = y - 12;
            let x = f64::from(NAMES_WIDTH);
            let own = if row.own { "own" } else { "other" };
            let _ = writeln!(
                body,
                "<rect class='{own}' x='{x:.1}' y='{top}' width='{first:.1}' height='15'/>\
                 <rect class='{own} second' x='{:.1}' y='{top}' width='{second:.1}' height='15'/>\
                 <text x='{:.1}' y='{y}'>{}</text>",
                x + first,
                x + first + second + 6.0,
                number(client + compositor)
            );
        }
        y += LINE_HEIGHT;
    }
    let emulated = if rows.emulated {
        "; emulated processors, so only ratios count"
    } else {
        ""
    };
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>\n\
         <style>text{{font:13px sans-serif;fill:#222}} .job{{font-weight:bold}} .title{{font-size:15px;font-weight:bold}} \
         .note{{fill:#777}} .own{{fill:#2a7f62}} .other{{fill:#8a8f98}} .second{{opacity:.55}}</style>\n\
         <rect width='100%' height='100%' fill='#fff'/>\n\
         <text class='title' x='10' y='22'>Processor time a presented frame, in ms</text>\n\
         <text class='note' x='10' y='40'>dark: the client; light: the compositor{emulated}</text>\n{body}</svg>\n",
        height = y + 6
    )
}

/// Escapes a text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::{Row, Subject};

    #[test]
    fn picture_has_a_bar_for_each_pipeline_that_was_measured() {
        let scenarios = Subject::Camera.scenarios();
        let round = |ms| {
            Ok(BTreeMap::from([
                (Column::ClientMs, ms),
                (Column::CompositorMs, 1.0),
            ]))
        };
        let rows = Rows {
            subject: "camera".to_owned(),
            versions: BTreeMap::new(),
            emulated: false,
            frames: [1, 2],
            rounds: 1,
            rows: vec![
                Row::new(&scenarios[0], &[round(1.0)]),
                Row::new(&scenarios[3], &[round(3.0)]),
                Row::new(&scenarios[9], &[Err("a < b".to_owned())]),
            ],
        };
        let picture = draw(&rows);
        assert_eq!(picture.matches("<rect class='own'").count(), 1);
        assert!(picture.contains("width='300.0'"), "{picture}");
        assert!(picture.contains("not measured"), "{picture}");
    }
}
