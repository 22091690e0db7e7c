//! `covalent inspect`: what a dma-buf is, who has it, what it waits for, and a picture of what is in it.

mod census;
mod fences;
mod gather;
mod layout;
mod picture;
mod report;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use covalent_alloc::backend::drm::{Card, Shown};
use covalent_alloc::kernel::{Object, bufinfo};
use covalent_alloc::model::{Extent, Fourcc, Modifier};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::pixels::{Range, Standard};
use census::Census;
use fences::Pending;
use gather::{Wanted, gather};
use layout::{Spec, SpecPlane};
use report::{BufferReport, Hidden, Report};

/// Where the kernel lists dma-bufs.
const BUFINFO: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// Look at a live dma-buf: who has it, what it waits for, and what is in it.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --pid every dma-buf is told that this user may see; as root that is every one of the machine. What cannot be
seen without root or CAP_SYS_PTRACE is named at the end.

A fence's age: the kernel tells when a fence signalled, and not when it was made. So pending ones are watched for the
time of --watch, and told as pending for that long at the least.

How pixels lie is taken from --layout, from a display that shows them (root), from a compositor's --report, or from the
name that Covalent gives its dma-bufs. Of several planes the first stride is enough where the others follow from it.

Examples:
  covalent inspect
  covalent inspect --pid covalent-camera
      all that processes of this name have
  covalent inspect --pid 412 --fd 9 --png frame.png
      one of them, and its pixels where somebody tells how they lie
  covalent inspect --pid 412 --fd 9 --layout 640x480:XR24:2560 --png frame.png
  covalent inspect --pid 412 --fd 9 --layout 640x480:NV12:640,640@307200 --matrix bt709 --range full --png frame.png
  covalent inspect --pid 412 --layout 1920x1080:NV12:1920/9,1920/10 --fd 9 --png frame.png
      planes in two dma-bufs, by their fds
  covalent inspect --inode 17 --report frames.jsonl --png frame.png
      with the layout that covalent-compositor --report has written

Exit codes: 0 done, 1 nothing is there or there is no picture, 2 usage.")]
pub(crate) struct Options {
    /// Only dma-bufs of this process, or of all processes of this name.
    #[arg(long, value_name = "PID|NAME")]
    pid: Option<String>,
    /// Only the one with this number; without --pid a number that this process was started with.
    #[arg(long, value_name = "N")]
    fd: Option<u32>,
    /// Only the one with this inode.
    #[arg(long, value_name = "N")]
    inode: Option<u64>,
    /// Write its pixels to this file, as PNG; with 16 bits a channel where the format has more than 8.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// How its pixels lie: `SIZE:FORMAT:STRIDE[@OFFSET][/FD]`, and more planes after commas.
    #[arg(long, value_name = "LAYOUT", conflicts_with_all = ["size", "format", "stride", "offset"])]
    layout: Option<Spec>,
    /// The size in pixels, in the place of --layout.
    #[arg(long, value_name = "WxH", requires_all = ["format", "stride"])]
    size: Option<Extent>,
    /// The format, like XR24 or NV12.
    #[arg(long, value_name = "FOURCC", requires = "size")]
    format: Option<Fourcc>,
    /// Bytes from one row to the next; again for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    stride: Vec<u32>,
    /// Bytes from the start of the dma-buf to the plane; again for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    offset: Vec<u32>,
    /// How pixels are arranged. Only LINEAR makes a picture.
    #[arg(long, value_name = "MODIFIER", default_value = "LINEAR")]
    modifier: Modifier,
    /// What a compositor has written with --report, for how pixels lie.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// As what luma and chroma are read; below 720 rows as bt601, else as bt709.
    #[arg(long, value_enum)]
    matrix: Option<Standard>,
    /// Which numbers of luma are black and white.
    #[arg(long, value_enum, default_value = "limited")]
    range: Range,
    /// Keep alpha in the picture. Wayland's colours are multiplied by it already.
    #[arg(long)]
    alpha: bool,
    /// How long pending fences are watched, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    watch: Duration,
    /// How long a picture waits for the fences of writers, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    wait: Duration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let given = given(options)?;
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
        Ok((path, picture::write(path, buffer, fd, how)?))
    });
    let report = Report {
        version: report::VERSION,
        buffers,
        hidden,
    };
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table::render(&report))?;
    }
    out.flush()?;
    // What was found is told before what could not be done.
    if let Some((path, taken)) = picture.transpose()? {
        let mut words = format!("{} written", path.display());
        if taken.waited > Duration::from_millis(1) {
            let waited = taken.waited.as_secs_f64();
            words.push_str(&format!(", after waiting {waited:.3} s for fences"));
        }
        if let Some(colours) = taken.colours {
            let (standard, range) = (colours.standard, colours.range);
            let said = format!(", read as {standard:?} in {range:?} range").to_lowercase();
            words.push_str(&said);
        }
        writeln!(io::stderr(), "{words}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the options say of how pixels lie.
fn given(options: &Options) -> Result<Option<report::Picture>> {
    let spec = match (&options.layout, options.size, options.format) {
        (Some(spec), ..) => spec.clone(),
        (None, Some(size), Some(fourcc)) => {
            if options.offset.len() > options.stride.len() {
                bail!("more --offset than --stride: a plane has both");
            }
            let plane = |(place, stride): (usize, &u32)| SpecPlane {
                stride_bytes: *stride,
                offset_bytes: options.offset.get(place).copied(),
                fd: None,
            };
            Spec {
                size,
                fourcc,
                planes: options.stride.iter().enumerate().map(plane).collect(),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(
        spec.picture(options.modifier).map_err(anyhow::Error::msg)?,
    ))
}

/// Which dma-bufs are asked for.
fn wanted(options: &Options, census: &Census) -> Result<Wanted> {
    let processes = match (&options.pid, options.fd) {
        (Some(named), _) => Some(processes(named, census)?),
        (None, Some(_)) => Some(BTreeSet::from([std::process::id()])),
        (None, None) => None,
    };
    Ok(Wanted {
        processes,
        fd: options.fd,
        inode: options.inode,
    })
}

/// The processes that a number or a name means.
fn processes(named: &str, census: &Census) -> Result<BTreeSet<u32>> {
    let number = named.parse::<u32>().ok();
    // The kernel keeps 15 bytes of a command's name.
    let mut end = named.len().min(15);
    while !named.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let short = named.get(..end).unwrap_or(named);
    let is_meant = |id: u32, command: &str| match number {
        Some(number) => id == number,
        None => command == short,
    };
    let found: BTreeSet<u32> = census
        .processes
        .iter()
        .filter(|process| is_meant(process.id, &process.command))
        .map(|process| process.id)
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut closed = census.closed.iter();
    match closed.find(|(id, command)| is_meant(*id, command)) {
        Some((id, command)) => {
            bail!("process {id} ({command}) is another user's, or keeps others out: {TRACE}")
        }
        None => bail!("there is no process {named}"),
    }
}

const TRACE: &str = "run as root, or with CAP_SYS_PTRACE";

/// Reads what debugfs lists; where it cannot, that is said.
fn listed(hidden: &mut Vec<Hidden>) -> Option<Vec<Object>> {
    let read = fs::read(BUFINFO).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => {
                "mount -t debugfs none /sys/kernel/debug, on a kernel with CONFIG_DEBUG_FS"
            }
            _ => "run as root",
        };
        (error.to_string(), remedy)
    });
    let parsed = read.and_then(|text| {
        bufinfo(&String::from_utf8_lossy(&text))
            .map_err(|error| (error.to_string(), "report it with the file's text"))
    });
    match parsed {
        Ok(objects) => Some(objects),
        Err((why, remedy)) => {
            hidden.push(Hidden {
                what: "attached devices, the kernel's own fences, and dma-bufs that no process has"
                    .to_owned(),
                why: format!("{BUFINFO}: {why}"),
                remedy: remedy.to_owned(),
            });
            None
        }
    }
}

fn closed(census: &Census) -> Hidden {
    let count = census.closed.len();
    let plural = if count == 1 { "process" } else { "processes" };
    Hidden {
        what: format!("fds and mappings of {count} {plural}"),
        why: "they are other users', or keep others out".to_owned(),
        remedy: TRACE.to_owned(),
    }
}

fn nothing(options: &Options, hidden: &[Hidden]) -> String {
    let mut words = "no dma-buf".to_owned();
    if let Some(fd) = options.fd {
        words.push_str(&format!(" by the number {fd}"));
    }
    if let Some(inode) = options.inode {
        words.push_str(&format!(" with inode {inode}"));
    }
    match &options.pid {
        Some(named) => words.push_str(&format!(" in process {named}")),
        None if options.fd.is_some() => words.push_str(" in this process"),
        None => {}
    }
    for one in hidden {
        words.push_str(&format!("\n  not seen: {}: {}", one.what, one.why));
    }
    words
}

/// Takes an fd of each dma-buf and asks for its fences; pending ones are watched, all together.
fn look(
    buffers: &mut [BufferReport],
    most: Duration,
    hidden: &mut Vec<Hidden>,
) -> Vec<Result<OwnedFd, Errno>> {
    let fds: Vec<_> = buffers.iter().map(fences::take_fd).collect();
    let held = buffers
        .iter()
        .zip(&fds)
        .filter(|(buffer, _)| !buffer.holders.is_empty());
    let mut refused: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for error in held.filter_map(|(_, fd)| fd.as_ref().err()) {
        let why = format!("their fds cannot be taken from who has them: {error}");
        let told = match *error {
            Errno::PERM => (why + &scope(), TRACE),
            Errno::MFILE => (why, "raise the limit of open files (ulimit -n)"),
            _ => (why, "look again: fds are closed at any time"),
        };
        let count = refused.entry(told).or_default();
        *count = count.saturating_add(1);
    }
    for ((why, remedy), count) in refused {
        hidden.push(Hidden {
            what: format!("fences and pixels of {count} of these dma-bufs"),
            why,
            remedy: remedy.to_owned(),
        });
    }
    let began = fences::monotonic();
    let mut failed = None;
    let pending: Vec<Option<Pending>> = fds
        .iter()
        .map(|fd| match Pending::of(fd.as_ref().ok()?) {
            Ok(pending) => Some(pending),
            Err(error) => {
                failed = Some(error.to_string());
                None
            }
        })
        .collect();
    if let Err(error) = fences::watch(pending.iter().flatten(), most) {
        failed = Some(format!("poll: {error}"));
    }
    for (buffer, pending) in buffers.iter_mut().zip(&pending) {
        match pending
            .as_ref()
            .map(|pending| pending.end(began))
            .transpose()
        {
            Ok(fences) => buffer.fences = fences,
            Err(error) => failed = Some(error.to_string()),
        }
    }
    if let Some(why) = failed {
        hidden.push(Hidden {
            what: "fences".to_owned(),
            why,
            remedy: "a kernel of 6.0 or newer tells them".to_owned(),
        });
    }
    fds
}

/// Lets this process have as many fds as it may: it takes three a dma-buf. Where that is refused, what lacks is told.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// What Yama says, where it stands in the way.
fn scope() -> String {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() != "0" => {
            format!(" (kernel.yama.ptrace_scope is {})", scope.trim())
        }
        _ => String::new(),
    }
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
            Some(fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?)
        }
        None => None,
    };
    let shown = shown();
    for buffer in buffers {
        let named = buffer.name.as_deref();
        let told = [
            layout::of_display(&shown, buffer.inode),
            reported
                .as_deref()
                .and_then(|text| layout::of_report(text, buffer.inode)),
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parsed(words: &[&str]) -> Result<Options, String> {
        let words = std::iter::once("inspect").chain(words.iter().copied());
        let line = Line::try_parse_from(words);
        line.map(|line| line.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn layout_in_one_word_and_in_several_options_is_the_same() {
        let one = parsed(&["--layout", "640x480:NV12:640,640@307200"]).unwrap();
        let several =
            "--size 640x480 --format NV12 --stride 640 --stride 640 --offset 0 --offset 307200";
        let several = parsed(&several.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(given(&one).unwrap(), given(&several).unwrap());
        assert!(given(&parsed(&[]).unwrap()).unwrap().is_none());
    }

    #[test]
    fn line_that_is_incomplete_is_refused() {
        for (words, said) in [
            (&["--size", "640x480"][..], "--format"),
            (&["--format", "XR24"], "--size"),
            (&["--layout", "640x480"], "SIZE:FORMAT:STRIDE"),
            (&["--watch=-1"], "--watch"),
            (&["--watch=NaN"], "--watch"),
            (&["--range", "wide"], "limited"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let line = "--size 8x8 --format XR24 --stride 32 --offset 0 --offset 1";
        let options = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(given(&options).is_err());
    }

    #[test]
    fn process_is_found_by_number_and_by_a_name_that_the_kernel_has_cut() {
        let census = gather::tests::census();
        assert_eq!(processes("412", &census).unwrap(), BTreeSet::from([412]));
        let named = processes("covalent-compositor", &census).unwrap();
        assert_eq!(named, BTreeSet::from([401]));
        let error = processes("7", &census).unwrap_err().to_string();
        assert!(error.contains("no process 7"), "{error}");
        let closed = Census {
            closed: vec![(7, "vault".to_owned())],
            ..census
        };
        let error = processes("vault", &closed).unwrap_err().to_string();
        assert!(error.contains("CAP_SYS_PTRACE"), "{error}");
        assert!(processes("ééééééééé", &closed).is_err());
    }
}
