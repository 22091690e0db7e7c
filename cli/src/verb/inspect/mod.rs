//! `covalent inspect`: describes live dma-bufs (holders, mappings, attached devices, pending fences) and writes their pixels as
//! PNG.

mod collect;
mod compositor_report;
mod fd_resolver;
mod fences;
mod layout;
mod missing_info;
mod options;
mod png_file;
mod process_scan;
mod report;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use covalent_alloc::backend::drm::{Card, ScanoutFramebuffer};
use covalent_alloc::files;
use covalent_alloc::text::printable_path;

use collect::collect_buffers;
use fd_resolver::FdResolver;
use missing_info::{TRACE, inaccessible_processes, no_buffer_found, read_bufinfo};
pub(crate) use options::Options;
use options::{buffer_filter, layout_of_options};
use process_scan::ProcessScan;
use report::{BufferReport, Report};
use watch::{raise_open_files_limit, watch_fences};

use crate::json;
use crate::out::{self, line};

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let given = layout_of_options(options)?;
    if let Some(path) = &options.png {
        files::check(path)?;
    }
    raise_open_files_limit();
    let scan = ProcessScan::run(Path::new("/proc")).context("cannot list /proc")?;
    let filter = buffer_filter(options, &scan)?;
    let mut missing = Vec::new();
    let listed = read_bufinfo(&mut missing);
    let mut buffers = collect_buffers(&scan, listed.as_deref(), &filter, SystemTime::now());
    if !scan.inaccessible.is_empty() {
        missing.push(inaccessible_processes(&scan));
    }
    if buffers.is_empty() && (options.fd.is_some() || options.inode.is_some()) {
        bail!(no_buffer_found(options, &missing));
    }
    let fds = watch_fences(&mut buffers, options.watch, &mut missing);
    find_pixel_layouts(options, given, &mut buffers)?;
    let resolver = FdResolver::new(&scan, filter.processes.as_ref(), filter.fd);
    let png = options.png.as_deref().map(|path| {
        let ([buffer], [fd]) = (buffers.as_slice(), fds.as_slice()) else {
            bail!(
                "--png writes the pixels of one dma-buf, and {} match: choose one with --pid and --fd, or with --inode",
                buffers.len()
            );
        };
        let fd = fd.as_ref().map_err(|error| {
            anyhow!("cannot duplicate an fd of inode {}: {error}; {TRACE}", buffer.inode)
        })?;
        let png_options = png_file::PngOptions {
            standard: options.matrix,
            range: options.range,
            has_alpha: options.alpha,
            timeout: options.wait,
        };
        Ok((path, png_file::write(path, buffer, fd, &resolver, png_options)?))
    });
    let report = Report {
        version: report::VERSION,
        buffers,
        missing,
    };
    if options.json {
        json::print_whole(&report)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", table::render(&report))?;
        out.flush()?;
    }
    // The report is printed before an error of the PNG file, so that the error does not hide it.
    if let Some((path, result)) = png.transpose()? {
        let mut words = format!("{} written", printable_path(path));
        if result.waited > Duration::from_millis(1) {
            let waited = result.waited.as_secs_f64();
            words.push_str(&format!(", after waiting {waited:.3} s for fences"));
        }
        if let Some(colours) = result.colours {
            let (standard, range) = (colours.standard, colours.range);
            let colours =
                format!(", converted from {standard:?} in {range:?} range").to_lowercase();
            words.push_str(&colours);
        }
        line!(out::stderr(), "{words}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets the pixel layout of each dma-buf's report. The layout in the options comes first, then that of a displayed framebuffer,
/// of the compositor's report, and of the dma-buf's name.
fn find_pixel_layouts(
    options: &Options,
    given: Option<report::PixelLayout>,
    buffers: &mut [BufferReport],
) -> Result<()> {
    if let Some(given) = given {
        let [buffer] = buffers else {
            bail!(
                "--layout describes one dma-buf, and {} match: choose one with --pid and --fd, or with --inode",
                buffers.len()
            );
        };
        buffer.pixel_layout = Some(given);
        return Ok(());
    }
    let reported = match &options.report {
        Some(path) => {
            let inodes = buffers.iter().map(|buffer| buffer.inode).collect();
            compositor_report::read(path, &inodes)
                .with_context(|| format!("reading {}", printable_path(path)))?
        }
        None => BTreeMap::new(),
    };
    let framebuffers = displayed_framebuffers();
    for buffer in buffers {
        let name = buffer.name.as_deref();
        let layouts = [
            layout::of_display(&framebuffers, buffer.inode),
            reported.get(&buffer.inode).cloned(),
            name.and_then(|name| layout::of_name(name, buffer.size_bytes)),
        ];
        // A layout whose strides are known comes before a layout without them. The sort is stable, so otherwise the order above
        // counts.
        let mut layouts: Vec<_> = layouts.into_iter().flatten().collect();
        layouts
            .sort_by_key(|layout| layout.format.modifier.is_implicit() || layout.planes.is_empty());
        buffer.pixel_layout = layouts.into_iter().next();
    }
    Ok(())
}

/// Returns the framebuffers that the planes of all cards display. The kernel returns framebuffer handles only to root.
fn displayed_framebuffers() -> Vec<ScanoutFramebuffer> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let mut framebuffers = Vec::new();
    for path in Card::list() {
        let Ok(card) = Card::open(&path) else {
            continue;
        };
        // Without DRM_CLIENT_CAP_UNIVERSAL_PLANES the kernel lists only overlay planes. If a card does not support this
        // capability, its overlay planes are still read.
        let _ =
            drm::Device::set_client_capability(&card, drm::ClientCapability::UniversalPlanes, true);
        match card.scanout_framebuffers() {
            Ok(more) => framebuffers.extend(more),
            Err(error) => tracing::debug!(%error, "cannot read the framebuffers of a card"),
        }
    }
    framebuffers
}
