//! `covalent inspect`: what a dma-buf is, who has it, what it waits for, and a picture of what is in it.

mod census;
mod fences;
mod gather;
mod hidden;
mod layout;
mod look;
mod options;
mod picture;
mod report;
mod reported;
mod table;
mod whose;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use covalent_alloc::backend::drm::{Card, Shown};
use covalent_alloc::files;
use covalent_alloc::text::printable_path;

use census::Census;
use gather::gather;
use hidden::{TRACE, closed, listed, nothing};
use look::{look, raise_limit};
pub(crate) use options::Options;
use options::{given, wanted};
use report::{BufferReport, Report};
use whose::Whose;

use crate::json;
use crate::out::{self, line};

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let given = given(options)?;
    if let Some(path) = &options.png {
        files::check(path)?;
    }
    raise_limit();
    let census = Census::take(Path::new("/proc")).context("/proc cannot be listed")?;
    let wanted = wanted(options, &census)?;
    let mut hidden = Vec::new();
    let listed = listed(&mut hidden);
    let mut buffers = gather(&census, listed.as_deref(), &wanted, SystemTime::now());
    if !census.closed.is_empty() {
        hidden.push(closed(&census));
    }
    if buffers.is_empty() && (options.fd.is_some() || options.inode.is_some()) {
        bail!(nothing(options, &hidden));
    }
    let fds = look(&mut buffers, options.watch, &mut hidden);
    tell_pictures(options, given, &mut buffers)?;
    let whose = Whose::of(&census, wanted.processes.as_ref(), wanted.fd);
    let picture = options.png.as_deref().map(|path| {
        let ([buffer], [fd]) = (buffers.as_slice(), fds.as_slice()) else {
            bail!(
                "a picture is of one dma-buf, and {} are meant: choose with --pid and --fd, or --inode",
                buffers.len()
            );
        };
        let fd = fd.as_ref().map_err(|error| anyhow!("no fd of it can be had: {error}; {TRACE}"))?;
        let how = picture::How {
            standard: options.matrix,
            range: options.range,
            has_alpha: options.alpha,
            deadline: options.wait,
        };
        Ok((path, picture::write(path, buffer, fd, &whose, how)?))
    });
    let report = Report {
        version: report::VERSION,
        buffers,
        hidden,
    };
    if options.json {
        json::print_whole(&report)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", table::render(&report))?;
        out.flush()?;
    }
    // What was found is told before what could not be done.
    if let Some((path, taken)) = picture.transpose()? {
        let mut words = format!("{} written", printable_path(path));
        if taken.waited > Duration::from_millis(1) {
            let waited = taken.waited.as_secs_f64();
            words.push_str(&format!(", after waiting {waited:.3} s for fences"));
        }
        if let Some(colours) = taken.colours {
            let (standard, range) = (colours.standard, colours.range);
            let said = format!(", read as {standard:?} in {range:?} range").to_lowercase();
            words.push_str(&said);
        }
        line!(out::stderr(), "{words}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how the pixels of each dma-buf lie, by whoever tells.
fn tell_pictures(
    options: &Options,
    given: Option<report::Picture>,
    buffers: &mut [BufferReport],
) -> Result<()> {
    if let Some(given) = given {
        let [buffer] = buffers else {
            bail!(
                "a layout is of one dma-buf, and {} are meant: choose with --pid and --fd, or --inode",
                buffers.len()
            );
        };
        buffer.picture = Some(given);
        return Ok(());
    }
    let reported = match &options.report {
        Some(path) => {
            let wanted = buffers.iter().map(|buffer| buffer.inode).collect();
            reported::read(path, &wanted)
                .with_context(|| format!("reading {}", printable_path(path)))?
        }
        None => BTreeMap::new(),
    };
    let shown = shown();
    for buffer in buffers {
        let named = buffer.name.as_deref();
        let told = [
            layout::of_display(&shown, buffer.inode),
            reported.get(&buffer.inode).cloned(),
            named.and_then(|name| layout::of_name(name, buffer.size_bytes)),
        ];
        // The first who knows all of it, and else the first who knows something.
        let mut told: Vec<_> = told.into_iter().flatten().collect();
        told.sort_by_key(|picture| {
            picture.format.modifier.is_implicit() || picture.planes.is_empty()
        });
        buffer.picture = told.into_iter().next();
    }
    Ok(())
}

/// What all cards show, where they tell. Only root is told.
fn shown() -> Vec<Shown> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let mut shown = Vec::new();
    for path in Card::list() {
        let Ok(card) = Card::open(&path) else {
            continue;
        };
        // Else only overlays are listed; a card that lacks the capability lists what it can.
        let _ =
            drm::Device::set_client_capability(&card, drm::ClientCapability::UniversalPlanes, true);
        match card.shown() {
            Ok(more) => shown.extend(more),
            Err(error) => tracing::debug!(%error, "what a card shows is not told"),
        }
    }
    shown
}
