//! Finds memory sources in the kernel's list of dma-bufs (`/sys/kernel/debug/dma_buf/bufinfo`).
//!
//! The list names the exporter of each dma-buf. The name of a heap or of udmabuf is enough to declare that source. Other
//! exporters are ignored, because the list does not show what their declaration would need.

use std::borrow::Cow;
use std::collections::BTreeSet;

use covalent_solver::constraint::{Source, SourceId};

use super::error::LineError;
use super::evidence::Evidence;
use crate::kernel::{BufinfoError, bufinfo};
use crate::{Declared, RecordedSource};

/// The names of known dma-buf heaps. An exporter with another name may not be a heap.
const HEAPS: [&str; 14] = [
    "system",
    "system_cc_shared",
    "system-uncached",
    "system-dma32",
    "system-uncached-dma32",
    "default_cma_region",
    "linux,cma",
    "reserved",
    "default-pool",
    "cma",
    "cma-uncached",
    "dma32",
    "contiguous",
    "restricted",
];

/// The first line of `bufinfo`.
const FIRST_LINE: &str = "Dma-buf Objects:";

/// Returns whether a line is the first line of `bufinfo`.
pub(super) fn is_first(line: &str) -> bool {
    line == FIRST_LINE
}

/// Returns the exporters in the list that are heaps or udmabuf.
pub(super) fn read(text: &str) -> Result<BTreeSet<String>, LineError> {
    let (before, list) = match text.find(FIRST_LINE) {
        Some(at) => {
            let before = text.get(..at).unwrap_or_default();
            (
                before.matches('\n').count(),
                text.get(at..).unwrap_or_default(),
            )
        }
        None => (0, text),
    };
    let list = with_tabs(list);
    let objects = bufinfo(&list).map_err(|error| {
        let (BufinfoError::Count { line, .. }
        | BufinfoError::NoTotal { line }
        | BufinfoError::Devices { line, .. }) = &error;
        let expected = "the list of dma-bufs with its totals";
        LineError::new(before.saturating_add(*line), expected, &error.to_string())
    })?;
    let exporters = objects.into_iter().map(|own| own.exporter);
    Ok(exporters
        .filter(|name| name == "udmabuf" || HEAPS.contains(&name.as_str()))
        .collect())
}

/// Returns the list of dma-bufs up to the line with the total. If pasting has replaced tabs by spaces, the tabs are restored.
fn with_tabs(list: &str) -> Cow<'_, str> {
    let end = list.find(" objects, ").and_then(|at| {
        let rest = list.get(at..)?;
        Some(at.saturating_add(rest.find('\n').unwrap_or(rest.len())))
    });
    let list = end.and_then(|end| list.get(..end)).unwrap_or(list);
    if list.contains('\t') {
        return Cow::Borrowed(list);
    }
    let mut text = String::with_capacity(list.len());
    for line in list.lines() {
        let line = line.strip_prefix("> ").unwrap_or(line);
        let own = line.trim_start();
        // The name of an attached device may begin with a digit too, such as `0000:03:00.0` or `32e00000.isi`, but it is the only
        // word of its line.
        let has_columns = own.split_whitespace().nth(5).is_some();
        if has_columns && own.starts_with(|one: char| one.is_ascii_digit()) {
            let columns: Vec<&str> = own.split_whitespace().take(7).collect();
            text.push_str(&columns.join("\t"));
        } else {
            if own.len() < line.len() && !own.is_empty() {
                text.push('\t');
            }
            text.push_str(own.trim_end());
        }
        text.push('\n');
    }
    Cow::Owned(text)
}

/// Declares the heap or udmabuf of this name as a source.
pub(super) fn declare(name: &str, evidence: &Evidence, declared: &mut Declared) {
    let (id, label) = if name == "udmabuf" {
        ("udmabuf".to_owned(), "udmabuf".to_owned())
    } else {
        (format!("heap:{name}"), format!("dma-heap {name}"))
    };
    let mut source = Source::new(SourceId::new(id), label);
    if name == "udmabuf" || name == "system" {
        source.guarantees.cached = Some(true);
    }
    let what = "which addresses the memory has, and how much of it is free";
    let provenance = evidence
        .reported()
        .and("source.guarantees", Evidence::unknown(what));
    declared.sources.push(RecordedSource {
        provenance,
        ..RecordedSource::measured(source)
    });
}
