//! The command-line options of `covalent inspect`, and the buffer filter and pixel layout that they describe.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use covalent_alloc::model::{Extent, Fourcc, Modifier};
use covalent_alloc::text::{printable, printable_bytes};

use super::collect::BufferFilter;
use super::layout::{LayoutSpec, LayoutSpecPlane};
use super::missing_info::TRACE;
use super::process_scan::ProcessScan;
use super::report;
use crate::pixels::{Range, Standard};

/// Describe live dma-bufs: their holders, mappings, attached devices, pending fences and pixels.
#[derive(Args, Debug)]
#[command(after_help = "\
Without --pid this lists every dma-buf that this user may inspect; root sees all dma-bufs of the
machine. Information that needs root or CAP_SYS_PTRACE is named at the end.

The kernel exports when a fence signalled, but not when it was created. Pending fences are
therefore watched for the time of --watch, and reported as pending for at least that long.

The pixel layout is taken from --layout, from a framebuffer on a display (root only), from a
compositor's --report, or from the name that Covalent gives its dma-bufs. For several planes the
first stride is enough if the others follow from it.

Examples:
  covalent inspect
  covalent inspect --pid covalent-camera
      the dma-bufs of all processes with this name
  covalent inspect --pid 412 --fd 9 --png frame.png
      one of them, with its pixels if their layout is known
  covalent inspect --pid 412 --fd 9 --layout 640x480:XR24:2560 --png frame.png
  covalent inspect --pid 412 --fd 9 --layout 640x480:NV12:640,640@307200 --matrix bt709 \\
      --range full --png frame.png
  covalent inspect --pid 412 --layout 1920x1080:NV12:1920/9,1920/10 --fd 9 --png frame.png
      a picture whose planes lie in two dma-bufs, named by their fds
  covalent inspect --inode 17 --report frames.jsonl --png frame.png
      the pixels, with the layout that `covalent-compositor --report` wrote

Exit codes: 0 done, 1 no such dma-buf or no picture could be written, 2 wrong usage.")]
pub(crate) struct Options {
    /// Select the dma-bufs of this process, or of all processes with this name, such as `412` or `covalent-camera`.
    #[arg(long, value_name = "PID|NAME")]
    pub(super) pid: Option<OsString>,
    /// Select the dma-buf with this fd number; without --pid, an fd that this process inherited.
    #[arg(long, value_name = "N")]
    pub(super) fd: Option<u32>,
    /// Select the dma-buf with this inode.
    #[arg(long, value_name = "N")]
    pub(super) inode: Option<u64>,
    /// Write the pixels to this PNG file, with 16 bits a channel if the format has more than 8.
    #[arg(long, value_name = "FILE")]
    pub(super) png: Option<PathBuf>,
    /// Set the pixel layout: `SIZE:FORMAT:STRIDE[@OFFSET][/FD]`, with further planes after commas.
    #[arg(long, value_name = "LAYOUT", conflicts_with_all = ["size", "format", "stride", "offset"])]
    pub(super) layout: Option<LayoutSpec>,
    /// Set the size in pixels, instead of --layout.
    #[arg(long, value_name = "WxH", requires_all = ["format", "stride"])]
    pub(super) size: Option<Extent>,
    /// Set the format, such as XR24 or NV12.
    #[arg(long, value_name = "FOURCC", requires = "size")]
    pub(super) format: Option<Fourcc>,
    /// Set the stride in bytes; repeat it for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    pub(super) stride: Vec<u32>,
    /// Set the offset of the plane in the dma-buf, in bytes; repeat it for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    pub(super) offset: Vec<u32>,
    /// Set the modifier. Only LINEAR pixels can be written.
    #[arg(long, value_name = "MODIFIER", default_value = "LINEAR")]
    pub(super) modifier: Modifier,
    /// Read pixel layouts from this file, which `covalent-compositor --report` wrote.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Set the YUV matrix; the default is bt601 below 720 rows and bt709 otherwise.
    #[arg(long, value_enum)]
    pub(super) matrix: Option<Standard>,
    /// Set the YUV range: limited (black is 16, white is 235) or full (0 and 255).
    #[arg(long, value_enum, default_value = "limited")]
    pub(super) range: Range,
    /// Write the alpha channel too. The colours are written unchanged, and Wayland clients premultiply them with alpha.
    #[arg(long)]
    pub(super) alpha: bool,
    /// Watch pending fences for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub(super) watch: Duration,
    /// Wait for the fences of writers for at most this many seconds before the pixels are read.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(super) wait: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Parses a number of seconds, which may have decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Returns the pixel layout that the options describe; `None` if they describe none.
pub(super) fn layout_of_options(options: &Options) -> Result<Option<report::PixelLayout>> {
    let spec = match (&options.layout, options.size, options.format) {
        (Some(spec), ..) => spec.clone(),
        (None, Some(size), Some(fourcc)) => {
            if options.offset.len() > options.stride.len() {
                bail!(
                    "there are more --offset options than --stride options: give each plane a stride"
                );
            }
            let plane = |(number, stride): (usize, &u32)| LayoutSpecPlane {
                stride_bytes: *stride,
                offset_bytes: options.offset.get(number).copied(),
                fd: None,
            };
            LayoutSpec {
                size,
                fourcc,
                planes: options.stride.iter().enumerate().map(plane).collect(),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(
        spec.pixel_layout(options.modifier)
            .map_err(anyhow::Error::msg)?,
    ))
}

/// Returns the filter that the options describe.
pub(super) fn buffer_filter(options: &Options, scan: &ProcessScan) -> Result<BufferFilter> {
    let processes = match (&options.pid, options.fd) {
        (Some(pid_or_name), _) => Some(matching_processes(pid_or_name, scan)?),
        (None, Some(_)) => Some(BTreeSet::from([std::process::id()])),
        (None, None) => None,
    };
    Ok(BufferFilter {
        processes,
        fd: options.fd,
        inode: options.inode,
    })
}

/// Returns the pids of the processes that match a pid or a name. If a number is both a pid and a name, the pid is used.
fn matching_processes(pid_or_name: &OsStr, scan: &ProcessScan) -> Result<BTreeSet<u32>> {
    let number = pid_or_name
        .to_str()
        .and_then(|text| text.parse::<u32>().ok());
    // The kernel keeps only the first 15 bytes of a process's name, which may end within a UTF-8 character.
    let short = pid_or_name.as_bytes();
    let short = short.get(..15).unwrap_or(short);
    let accessible = |is_match: &dyn Fn(u32, &[u8]) -> bool| -> BTreeSet<u32> {
        let processes = scan.processes.iter();
        processes
            .filter(|process| is_match(process.pid, &process.name))
            .map(|process| process.pid)
            .collect()
    };
    let inaccessible = |is_match: &dyn Fn(u32, &[u8]) -> bool| {
        let mut inaccessible = scan.inaccessible.iter();
        inaccessible.find(|(pid, command)| is_match(*pid, command.as_bytes()))
    };
    let by_pid = |pid: u32, _: &[u8]| number == Some(pid);
    let by_name = |_: u32, name: &[u8]| name == short;
    for is_match in [&by_pid as &dyn Fn(u32, &[u8]) -> bool, &by_name] {
        let found = accessible(is_match);
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some((pid, command)) = inaccessible(is_match) {
            let command = printable(command);
            bail!(
                "cannot inspect process {pid} ({command}): it is another user's, or protected from tracing; {TRACE}"
            )
        }
    }
    bail!(
        "there is no process {}",
        printable_bytes(pid_or_name.as_bytes())
    )
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
    fn layout_in_one_option_and_in_several_is_the_same() {
        let one = parsed(&["--layout", "640x480:NV12:640,640@307200"]).unwrap();
        let several =
            "--size 640x480 --format NV12 --stride 640 --stride 640 --offset 0 --offset 307200";
        let several = parsed(&several.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(
            layout_of_options(&one).unwrap(),
            layout_of_options(&several).unwrap()
        );
        assert!(layout_of_options(&parsed(&[]).unwrap()).unwrap().is_none());
    }

    #[test]
    fn options_that_are_incomplete_are_refused() {
        for (words, expected) in [
            (&["--size", "640x480"][..], "--format"),
            (&["--format", "XR24"], "--size"),
            (&["--layout", "640x480"], "SIZE:FORMAT:STRIDE"),
            (&["--watch=-1"], "--watch"),
            (&["--watch=NaN"], "--watch"),
            (&["--range", "wide"], "limited"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let line = "--size 8x8 --format XR24 --stride 32 --offset 0 --offset 1";
        let options = parsed(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(layout_of_options(&options).is_err());
    }

    #[test]
    fn process_is_found_by_pid_and_by_a_name_that_the_kernel_truncated() {
        let processes = |text: &str, scan: &ProcessScan| matching_processes(OsStr::new(text), scan);
        let scan = crate::verb::inspect::collect::tests::scan();
        assert_eq!(processes("412", &scan).unwrap(), BTreeSet::from([412]));
        let named = processes("covalent-compositor", &scan).unwrap();
        assert_eq!(named, BTreeSet::from([401]));
        let error = processes("7", &scan).unwrap_err().to_string();
        assert!(error.contains("no process 7"), "{error}");
        let scan = ProcessScan {
            inaccessible: vec![(7, "vault".to_owned())],
            ..scan
        };
        let error = processes("vault", &scan).unwrap_err().to_string();
        assert!(error.contains("CAP_SYS_PTRACE"), "{error}");
        assert!(processes("ééééééééé", &scan).is_err());
    }

    #[test]
    fn process_whose_name_is_a_number_or_not_utf8_is_found_by_it() {
        let mut scan = crate::verb::inspect::collect::tests::scan();
        scan.processes[0].name = b"412".to_vec();
        let found =
            |text: &[u8], scan: &ProcessScan| matching_processes(OsStr::from_bytes(text), scan);
        // 412 is the pid of one process and the name of another.
        assert_eq!(found(b"412", &scan).unwrap(), BTreeSet::from([412]));
        scan.processes[0].name = b"77".to_vec();
        assert_eq!(found(b"77", &scan).unwrap(), BTreeSet::from([401]));
        scan.processes[0].name = b"a (b) \xff\n".to_vec();
        assert_eq!(
            found(b"a (b) \xff\n", &scan).unwrap(),
            BTreeSet::from([401])
        );
        assert!(found(b"a (b) \xfe\n", &scan).is_err());
        // The name is cut within a UTF-8 character.
        scan.processes[1].name = "éééééééé".as_bytes()[..15].to_vec();
        assert_eq!(
            found("éééééééé".as_bytes(), &scan).unwrap(),
            BTreeSet::from([412])
        );
        let error = found(b"\x1b[2J\nforged", &scan).unwrap_err().to_string();
        assert_eq!(error, "there is no process \\u{1b}[2J\\nforged");
    }
}
