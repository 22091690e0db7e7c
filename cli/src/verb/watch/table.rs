//! Writes a report as lines of text.

use covalent_protocols::control::{Buffer, Client, Frame, Latency, Output, Surface};

use super::growth::{Growth, ResourceAmounts};
use super::report::Report;

/// Returns the lines of a report. Lines longer than `width` columns are cut off.
pub(super) fn render(report: &Report, with_leaks: bool, width: Option<usize>) -> Vec<String> {
    let snapshot = &report.snapshot;
    let mut lines = vec![format!(
        "compositor {}, {}, watched for {}",
        snapshot.pid,
        report.socket,
        duration(report.watched_ns)
    )];
    for output in &snapshot.outputs {
        lines.push(String::new());
        lines.extend(output_lines(output));
    }
    lines.push(String::new());
    lines.extend(surfaces(report));
    if with_leaks {
        lines.push(String::new());
        lines.extend(leaks(report));
    }
    let width = width.unwrap_or(usize::MAX);
    lines
        .iter()
        .map(|line| truncate(line.trim_end(), width))
        .collect()
}

/// Cuts a line after `width` characters.
fn truncate(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept = line.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

/// Describes an output and its last frame.
fn output_lines(output: &Output) -> Vec<String> {
    let on = output.device.as_deref().unwrap_or("no card");
    let mut lines = vec![format!(
        "{}  {}x{} at {:.2} Hz on {on}, renderer {}",
        output.name,
        output.width,
        output.height,
        f64::from(output.refresh_millihertz) / 1000.0,
        output.renderer
    )];
    let composed = output.frames.saturating_sub(output.scanned_out);
    lines.push(format!(
        "  frames   {:.1} a second; {} scanned out, {composed} composed, {} copied, {} rejected attempts",
        output.frames_per_second,
        output.scanned_out,
        bytes(output.copied_bytes),
        output.retries
    ));
    if let Some(times) = &output.latency {
        lines.push(format!(
            "  latency  {} (commit to presentation)",
            latency(times)
        ));
    }
    if let Some(frame) = &output.last {
        lines.extend(last_frame(frame));
    }
    lines
}

/// Describes how the last frame was shown, and why it was not scanned out.
fn last_frame(frame: &Frame) -> Vec<String> {
    let age = duration(frame.age_ns);
    let how = match (&*frame.path, &frame.renderer) {
        ("direct", _) => "scanned out".to_owned(),
        (_, Some(renderer)) => format!(
            "composed by {renderer}, {} copied",
            bytes(frame.copied_bytes)
        ),
        (_, None) => "blank".to_owned(),
    };
    let mut lines = vec![format!("  shown    {how}, {age} ago")];
    if let Some(why) = &frame.why_not_direct {
        lines.push(format!("           not scanned out: {why}"));
    }
    if let Some(why) = &frame.why_not_gles {
        lines.push(format!("           not composed by the GPU: {why}"));
    }
    let left_out = frame.left_out.iter();
    lines.extend(left_out.map(|name| format!("           left out: {name}")));
    lines
}

/// Returns the table of surfaces, one line for each.
fn surfaces(report: &Report) -> Vec<String> {
    let snapshot = &report.snapshot;
    let mut rows = vec![
        [
            "surface",
            "client",
            "fps",
            "p50/p90/p99 ms",
            "size",
            "buffer",
            "waiting",
            "window",
        ]
        .map(str::to_owned),
    ];
    for surface in &snapshot.surfaces {
        let owner = snapshot
            .clients
            .iter()
            .find(|client| client.client == surface.client);
        rows.push([
            surface.id.to_string(),
            owner.map_or_else(|| "?".to_owned(), client_name),
            format!("{:.1}", surface.frames_per_second),
            surface
                .latency
                .map_or_else(|| "-".to_owned(), |times| short_latency(&times)),
            format!("{}x{}", surface.width, surface.height),
            surface
                .buffer
                .as_ref()
                .map_or_else(|| "none".to_owned(), buffer),
            surface.pending_commits.to_string(),
            window(surface),
        ]);
    }
    let mut lines = columns(&rows);
    for surface in &snapshot.surfaces {
        if let Some(why) = &surface.why_drawn {
            lines.push(format!("  surface {} was drawn: {why}", surface.id));
        }
    }
    if snapshot.surfaces_left_out > 0 {
        lines.push(format!("and {} more surfaces", snapshot.surfaces_left_out));
    }
    if snapshot.skipped > 0 {
        lines.push(format!(
            "{} snapshots were skipped because this terminal is slow",
            snapshot.skipped
        ));
    }
    lines
}

/// Returns the table of what each client holds, with the growth since the start.
fn leaks(report: &Report) -> Vec<String> {
    let mut rows = vec![
        [
            "client",
            "dma-bufs",
            "bytes",
            "shm",
            "timelines",
            "descriptors",
            "objects",
            "unreleased",
        ]
        .map(str::to_owned),
    ];
    for (client, growth) in report.snapshot.clients.iter().zip(&report.growth) {
        let numbers = ResourceAmounts::of(client);
        let plain = |value: u64, growth: i64| format!("{value}{}", signed(growth));
        let size = |value: u64, growth: i64| format!("{}{}", bytes(value), signed_bytes(growth));
        let Growth { is_new, .. } = growth;
        rows.push([
            format!(
                "{}{}",
                client_name(client),
                if *is_new { " new" } else { "" }
            ),
            plain(numbers.dmabufs, growth.dmabufs),
            size(numbers.dmabuf_bytes, growth.dmabuf_bytes),
            size(numbers.shm_bytes, growth.shm_bytes),
            plain(numbers.timelines, growth.timelines),
            plain(numbers.descriptors, growth.descriptors),
            plain(numbers.objects, growth.objects),
            plain(numbers.unreleased_buffers, growth.unreleased_buffers),
        ]);
    }
    let mut lines = columns(&rows);
    for client in &report.snapshot.clients {
        let held = client.holdings.iter().flat_map(|held| &held.dmabufs);
        for dmabuf in held {
            lines.push(format!(
                "  {} dma-buf inode {}: {}, {} descriptors, {} wl_buffers{}",
                client_name(client),
                dmabuf.inode,
                bytes(dmabuf.size_bytes),
                dmabuf.descriptors,
                dmabuf.buffers,
                shown_by(report, client, dmabuf.inode)
            ));
        }
        let left_out = client.holdings.as_ref().map(|held| held.dmabufs_left_out);
        if let Some(count) = left_out.filter(|count| *count > 0) {
            lines.push(format!(
                "  {} and {count} more dma-bufs",
                client_name(client)
            ));
        }
    }
    if report.snapshot.clients_left_out > 0 {
        lines.push(format!(
            "and {} more clients",
            report.snapshot.clients_left_out
        ));
    }
    if let Some(process) = &report.snapshot.process {
        let most = process
            .descriptors_max
            .map_or_else(String::new, |most| format!(" of {most}"));
        lines.push(format!(
            "compositor: {}{} descriptors{most}, {}{} resident",
            process.descriptors,
            signed(report.descriptors_growth),
            bytes(process.resident_bytes),
            signed_bytes(report.resident_bytes_growth)
        ));
    }
    lines
}

/// Returns a note that names the surface that shows a dma-buf; an empty text if no surface shows it.
fn shown_by(report: &Report, client: &Client, inode: u64) -> String {
    let shows = |surface: &&Surface| {
        let buffer = surface.buffer.as_ref();
        surface.client == client.client && buffer.and_then(|buffer| buffer.inode) == Some(inode)
    };
    let surface = report.snapshot.surfaces.iter().find(shows);
    surface.map_or_else(String::new, |surface| {
        format!(", shown by surface {}", surface.id)
    })
}

/// Names a client by its program and process id, or by its number.
fn client_name(client: &Client) -> String {
    match (&client.name, client.pid) {
        (Some(name), Some(pid)) => format!("{name} ({pid})"),
        (_, Some(pid)) => pid.to_string(),
        _ => format!("client {}", client.client),
    }
}

/// Describes the role, the state and the title of a surface.
fn window(surface: &Surface) -> String {
    let title = surface.title.as_deref().unwrap_or_default();
    let app_id = surface.app_id.as_deref().unwrap_or_default();
    let mut words = vec![surface.role.as_deref().unwrap_or("no role").to_owned()];
    if surface.fullscreen {
        words.push("fullscreen".to_owned());
    }
    if !surface.visible {
        words.push("hidden".to_owned());
    }
    if let Some(plane) = &surface.plane {
        words.push(format!("on plane {plane}"));
    }
    if !title.is_empty() || !app_id.is_empty() {
        words.push(format!("{title}/{app_id}"));
    }
    words.join(" ")
}

/// Describes the buffer of a surface.
fn buffer(buffer: &Buffer) -> String {
    let mut words = vec![buffer.kind.clone(), buffer.format.clone()];
    words.extend(buffer.modifier.clone());
    words.push(format!("{}x{}", buffer.width, buffer.height));
    words.extend(buffer.stride_bytes.map(|stride| format!("stride {stride}")));
    if buffer.explicit_sync {
        words.push("explicit".to_owned());
    }
    words.join(" ")
}

/// Pads the cells of all rows, so that each column is as wide as its widest cell. The last column is not padded.
fn columns<const COUNT: usize>(rows: &[[String; COUNT]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COUNT).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        })
        .collect()
}

/// Writes the percentiles of a latency with their names.
fn latency(times: &Latency) -> String {
    format!(
        "p50 {} ms, p90 {} ms, p99 {} ms, max {} ms of {} frames",
        milliseconds(times.p50_ns),
        milliseconds(times.p90_ns),
        milliseconds(times.p99_ns),
        milliseconds(times.max_ns),
        times.samples
    )
}

/// Writes the 50th, 90th and 99th percentile in milliseconds.
fn short_latency(times: &Latency) -> String {
    [times.p50_ns, times.p90_ns, times.p99_ns]
        .map(milliseconds)
        .join("/")
}

/// Formats nanoseconds as milliseconds with one decimal.
fn milliseconds(ns: u64) -> String {
    let tenths = ns.saturating_add(50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Writes a time in milliseconds, or from ten seconds on in seconds.
fn duration(ns: u64) -> String {
    if ns < 10_000_000_000 {
        return format!("{} ms", ns / 1_000_000);
    }
    format!("{} s", ns / 1_000_000_000)
}

/// Writes an amount of memory with a unit.
fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

/// Writes by how much a number has grown; empty if it has not.
fn signed(growth: i64) -> String {
    match growth {
        0 => String::new(),
        growth => format!(" ({growth:+})"),
    }
}

/// Writes by how much an amount of memory has grown; empty if it has not.
fn signed_bytes(growth: i64) -> String {
    match growth {
        0 => String::new(),
        growth => {
            let sign = if growth < 0 { '-' } else { '+' };
            format!(" ({sign}{})", bytes(growth.unsigned_abs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use covalent_protocols::control::Snapshot;

    use super::*;

    /// Returns two snapshots with two clients. One of the clients has one dma-buf more in the second snapshot.
    fn snapshots() -> [Snapshot; 2] {
        let text = include_str!("snapshots.json");
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn table_with_leaks_matches_its_snapshot() {
        let [before, now] = snapshots();
        let report = Report::new(Path::new("/run/user/1000/covalent-wayland-1"), &before, now);
        insta::assert_snapshot!(render(&report, true, None).join("\n"));
    }

    #[test]
    fn clients_and_dma_bufs_that_the_compositor_left_out_are_counted() {
        let [before, mut now] = snapshots();
        now.clients_left_out = 3;
        let mut holdings = now
            .clients
            .iter_mut()
            .filter_map(|one| one.holdings.as_mut());
        holdings.next().unwrap().dmabufs_left_out = 2;
        let report = Report::new(Path::new("/run/covalent-x"), &before, now);
        let text = render(&report, true, None).join("\n");
        assert!(text.contains(" and 2 more dma-bufs\n"), "{text}");
        assert!(text.contains("\nand 3 more clients\n"), "{text}");
        assert!(
            !render(&report, false, None)
                .join("\n")
                .contains("more clients")
        );
    }

    #[test]
    fn table_of_a_narrow_terminal_fits_it() {
        let [before, now] = snapshots();
        let report = Report::new(Path::new("/run/user/1000/covalent-wayland-1"), &before, now);
        for line in render(&report, true, Some(70)) {
            assert!(line.chars().count() <= 70, "{line}");
        }
    }

    #[test]
    fn text_of_a_hostile_compositor_stays_in_its_line() {
        let [before, mut now] = snapshots();
        now.surfaces[0].title = Some("a\n\u{1b}[2Jb\u{202e}".to_owned());
        now.outputs[0].name = "x\rforged".to_owned();
        let report = Report::new(Path::new("/run/covalent-x"), &before, now);
        for line in render(&report, true, Some(400)) {
            assert_eq!(covalent_alloc::text::printable(&line), line);
        }
    }
}
