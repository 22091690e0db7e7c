//! The command line, and what it means: which dma-bufs, and how their pixels lie.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use covalent_alloc::model::{Extent, Fourcc, Modifier};
use covalent_alloc::text::{printable, printable_bytes};

use super::census::Census;
use super::gather::Wanted;
use super::hidden::TRACE;
use super::layout::{Spec, SpecPlane};
use super::report;
use crate::pixels::{Range, Standard};

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
    pub(super) pid: Option<OsString>,
    /// Only the one with this number; without --pid a number that this process was started with.
    #[arg(long, value_name = "N")]
    pub(super) fd: Option<u32>,
    /// Only the one with this inode.
    #[arg(long, value_name = "N")]
    pub(super) inode: Option<u64>,
    /// Write its pixels to this file, as PNG; with 16 bits a channel where the format has more than 8.
    #[arg(long, value_name = "FILE")]
    pub(super) png: Option<PathBuf>,
    /// How its pixels lie: `SIZE:FORMAT:STRIDE[@OFFSET][/FD]`, and more planes after commas.
    #[arg(long, value_name = "LAYOUT", conflicts_with_all = ["size", "format", "stride", "offset"])]
    pub(super) layout: Option<Spec>,
    /// The size in pixels, in the place of --layout.
    #[arg(long, value_name = "WxH", requires_all = ["format", "stride"])]
    pub(super) size: Option<Extent>,
    /// The format, like XR24 or NV12.
    #[arg(long, value_name = "FOURCC", requires = "size")]
    pub(super) format: Option<Fourcc>,
    /// Bytes from one row to the next; again for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    pub(super) stride: Vec<u32>,
    /// Bytes from the start of the dma-buf to the plane; again for each further plane.
    #[arg(long, value_name = "BYTES", requires = "size")]
    pub(super) offset: Vec<u32>,
    /// How pixels are arranged. Only LINEAR makes a picture.
    #[arg(long, value_name = "MODIFIER", default_value = "LINEAR")]
    pub(super) modifier: Modifier,
    /// What a compositor has written with --report, for how pixels lie.
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// As what luma and chroma are read; below 720 rows as bt601, else as bt709.
    #[arg(long, value_enum)]
    pub(super) matrix: Option<Standard>,
    /// Which numbers of luma are black and white.
    #[arg(long, value_enum, default_value = "limited")]
    pub(super) range: Range,
    /// Keep alpha in the picture. Wayland's colours are multiplied by it already.
    #[arg(long)]
    pub(super) alpha: bool,
    /// How long pending fences are watched, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub(super) watch: Duration,
    /// How long a picture waits for the fences of writers, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(super) wait: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// What the options say of how pixels lie.
pub(super) fn given(options: &Options) -> Result<Option<report::Picture>> {
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
pub(super) fn wanted(options: &Options, census: &Census) -> Result<Wanted> {
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

/// The processes that a number or a name means. A number is a process's own before it is anybody's name.
fn processes(named: &OsStr, census: &Census) -> Result<BTreeSet<u32>> {
    let number = named.to_str().and_then(|named| named.parse::<u32>().ok());
    // The kernel keeps 15 bytes of a command's name, whatever letters they are parts of.
    let short = named.as_bytes();
    let short = short.get(..15).unwrap_or(short);
    let open = |is_meant: &dyn Fn(u32, &[u8]) -> bool| -> BTreeSet<u32> {
        let processes = census.processes.iter();
        processes
            .filter(|process| is_meant(process.id, &process.name))
            .map(|process| process.id)
            .collect()
    };
    let closed = |is_meant: &dyn Fn(u32, &[u8]) -> bool| {
        let mut closed = census.closed.iter();
        closed.find(|(id, command)| is_meant(*id, command.as_bytes()))
    };
    let by_number = |id: u32, _: &[u8]| number == Some(id);
    let by_name = |_: u32, name: &[u8]| name == short;
    for is_meant in [&by_number as &dyn Fn(u32, &[u8]) -> bool, &by_name] {
        let found = open(is_meant);
        if !found.is_empty() {
            return Ok(found);
        }
        if let Some((id, command)) = closed(is_meant) {
            let command = printable(command);
            bail!("process {id} ({command}) is another user's, or keeps others out: {TRACE}")
        }
    }
    bail!("there is no process {}", printable_bytes(named.as_bytes()))
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
        let processes = |named: &str, census: &Census| processes(OsStr::new(named), census);
        let census = crate::verb::inspect::gather::tests::census();
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

    #[test]
    fn process_whose_name_is_a_number_or_no_text_is_found_by_it() {
        let mut census = crate::verb::inspect::gather::tests::census();
        census.processes[0].name = b"412".to_vec();
        let found = |named: &[u8], census: &Census| processes(OsStr::from_bytes(named), census);
        // The number of one is the name of another.
        assert_eq!(found(b"412", &census).unwrap(), BTreeSet::from([412]));
        census.processes[0].name = b"77".to_vec();
        assert_eq!(found(b"77", &census).unwrap(), BTreeSet::from([401]));
        census.processes[0].name = b"a (b) \xff\n".to_vec();
        assert_eq!(
            found(b"a (b) \xff\n", &census).unwrap(),
            BTreeSet::from([401])
        );
        assert!(found(b"a (b) \xfe\n", &census).is_err());
        // Cut in the middle of a letter.
        census.processes[1].name = "éééééééé".as_bytes()[..15].to_vec();
        assert_eq!(
            found("éééééééé".as_bytes(), &census).unwrap(),
            BTreeSet::from([412])
        );
        let error = found(b"\x1b[2J\nforged", &census).unwrap_err().to_string();
        assert_eq!(error, "there is no process \\u{1b}[2J\\nforged");
    }
}
