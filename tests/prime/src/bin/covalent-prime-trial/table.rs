//! The table of the results: a row for each GPU, a column for each behaviour.

use std::fmt::Write as _;

use covalent_alloc::model::Fourcc;
use covalent_alloc::text::printable;

use super::exchange::{Count, FormatResult, GpuResult, Report, WrongResult};
use super::wrong::Value;

const HEAD: [&str; 21] = [
    "GPU",
    "driver",
    "XR24",
    "export",
    "same GPU",
    "other GPU",
    "other driver",
    "pitch",
    "offset",
    "planes",
    "modifier",
    "plans",
    "imports",
    "refuses",
    "also",
    "GBM",
    "to Vulkan",
    "to GBM",
    "to EGL",
    "NV12",
    "exchange",
];

/// Returns the report as text.
pub(crate) fn text(report: &Report) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(report.gpus.iter().map(row));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:<width$}  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out.push_str(
        "\nXR24 and NV12: how many modifiers the driver lists. export: images that it allocates, reads back and exports. same GPU,\n\
         other GPU, other driver: images that a second process imports and binds, from these exporters. exchange: the same for NV12.\n\
         pitch, offset, planes, modifier: layouts with one wrong value that the driver refuses, plus those for which it needs more memory\n\
         than the buffer has, plus those at which it ended its process (!).\n\
         plans, imports, refuses, also: what covalent-alloc plans and allocates as the driver does, imports of the driver's own images, and\n\
         refuses of the wrong layouts that the driver does not accept, and of those that it accepts.\n\
         GBM, to Vulkan, to GBM, to EGL: images that GBM allocates, of these those that Vulkan imports, and those of Vulkan that GBM and\n\
         EGL import.\n\
         Nothing is drawn: pixels, display and timing are untested. A refusal of a layout is a fact; an acceptance is no promise.\n",
    );
    let _ = writeln!(out, "Mesa {}", printable(&report.mesa));
    if !report.are_dmabufs {
        out.push_str(
            "There is no /dev/udmabuf here: memfds replace the dma-bufs, and imports by covalent-alloc are untested. Run this in the guest.\n",
        );
    }
    for gpu in &report.gpus {
        for note in &gpu.notes {
            let _ = writeln!(out, "{}: {}", gpu.gpu, printable(note));
        }
    }
    out
}

fn row(gpu: &GpuResult) -> Vec<String> {
    let none = FormatResult::default();
    let format = |fourcc: Fourcc| gpu.formats.get(&fourcc.to_string()).unwrap_or(&none);
    let (rgb, yuv) = (format(Fourcc::XRGB8888), format(Fourcc::NV12));
    let mut row = vec![gpu.gpu.to_owned(), gpu.driver.to_owned()];
    row.push(listed(rgb));
    row.extend([rgb.exported, rgb.same_gpu, rgb.other_gpu, rgb.other_driver].map(count));
    let empty = WrongResult::default();
    let wrong = |value: Value| gpu.wrong.get(value.name()).unwrap_or(&empty);
    row.extend(Value::ALL.map(|value| answers(wrong(value))));
    row.extend([rgb.planned, rgb.covalent].map(count));
    let covalent = Value::ALL.map(|value| wrong(value).covalent);
    row.push(count(sum(&covalent)));
    row.push(count(sum(&Value::ALL.map(|value| wrong(value).stricter))));
    row.extend(
        [
            gpu.gbm.exported,
            gpu.gbm.into_vulkan,
            gpu.gbm.from_vulkan,
            gpu.gbm.into_egl,
        ]
        .map(count),
    );
    row.push(listed(yuv));
    row.push(count(sum(&[yuv.same_gpu, yuv.other_gpu, yuv.other_driver])));
    row
}

fn listed(format: &FormatResult) -> String {
    match &format.no_list {
        Some(why) if why.contains("aborted") => "aborts".to_owned(),
        _ if format.modifiers.is_empty() => "none".to_owned(),
        _ => format.modifiers.len().to_string(),
    }
}

/// Returns the answers to layouts with one wrong value: refused, too small and aborted, of those that were tried.
fn answers(found: &WrongResult) -> String {
    let Count { done, tried } = found.refused;
    match (tried, found.too_small, found.aborted) {
        (0, _, _) => "-".to_owned(),
        (_, 0, 0) => format!("{done}/{tried}"),
        (_, small, 0) => format!("{done}+{small}/{tried}"),
        (_, small, aborted) => format!("{done}+{small}+{aborted}!/{tried}"),
    }
}

fn count(count: Count) -> String {
    if count.tried == 0 {
        return "-".to_owned();
    }
    format!("{}/{}", count.done, count.tried)
}

fn sum(counts: &[Count]) -> Count {
    let add = |own: fn(&Count) -> usize| counts.iter().map(own).sum();
    Count {
        done: add(|count| count.done),
        tried: add(|count| count.tried),
    }
}
