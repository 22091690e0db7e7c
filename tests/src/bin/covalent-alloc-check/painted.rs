//! `painted`: colour bars in dma-bufs of many formats, for who reads pixels that others have.
//!
//! The bytes are put together here format by format, from the colours' code values in the standard and from how
//! `drm_fourcc.h` draws each format, so that a reader with tables of its own can be judged by them.

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc, PlaneLayout};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_tests::bars::BARS_100;
use covalent_tests::witness::Sources;
use covalent_tests::witness::{pixels, processor};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Serialize;

/// Pixels a row: eight bars of sixteen.
const WIDTH: u16 = 128;
/// Rows: bars, and below them a ramp of grey in formats of ten bits.
const HEIGHT: u16 = 16;
/// The ramp's first row.
const RAMP: u16 = 8;

/// The bars' colours as luma, Cb and Cr: white, yellow, cyan, green, magenta, red, blue, black.
///
/// # References
/// ITU-R BT.601-7, with eight bits and limited range: 100% bars.
const YCBCR: [[u8; 3]; 8] = [
    [235, 128, 128],
    [210, 16, 146],
    [170, 166, 16],
    [145, 54, 34],
    [106, 202, 222],
    [81, 90, 240],
    [41, 240, 110],
    [16, 128, 128],
];

const FORMATS: [Fourcc; 16] = [
    Fourcc::XRGB8888,
    Fourcc::ABGR8888,
    Fourcc::BGR888,
    Fourcc::RGB565,
    Fourcc::XRGB2101010,
    Fourcc::ABGR2101010,
    Fourcc::ABGR16161616F,
    Fourcc::YUYV,
    Fourcc::UYVY,
    Fourcc::NV12,
    Fourcc::NV21,
    Fourcc::NV16,
    Fourcc::NV24,
    Fourcc::YUV420,
    Fourcc::YVU420,
    Fourcc::P010,
];

/// One picture, and by which fd the process has it.
#[derive(Debug, Serialize)]
struct Painted {
    fourcc: Fourcc,
    fd: i32,
    /// As `covalent inspect --layout` takes it.
    layout: String,
    /// Whether each plane has a dma-buf of its own.
    is_apart: bool,
}

/// Paints, tells what was painted as one line of JSON, and becomes the command, which has the fds.
pub(crate) fn hold(command: &[String]) -> Result<()> {
    let (program, words) = command.split_first().context("no command")?;
    let sources = Sources::discover();
    let mut painted = Vec::new();
    let mut buffers = Vec::new();
    for fourcc in FORMATS {
        let buffer = memory(&sources, fourcc, WIDTH, HEIGHT)?;
        pixels::write(&buffer, &planes(fourcc)?).with_context(|| fourcc.to_string())?;
        let planes: Vec<String> = buffer.layout().planes().iter().map(place).collect();
        painted.push(Painted {
            fourcc,
            fd: inherited(&buffer)?,
            layout: format!("{WIDTH}x{HEIGHT}:{fourcc}:{}", planes.join(",")),
            is_apart: false,
        });
        buffers.push(buffer);
    }
    let (apart, description) = apart(&sources)?;
    buffers.extend(apart);
    painted.push(description);
    println!("{}", serde_json::to_string(&painted)?);
    bail!(Command::new(program).args(words).exec())
}

/// NV12 whose luma and chroma are two dma-bufs. They are allocated as pictures of bytes.
fn apart(sources: &Sources) -> Result<([Buffer; 2], Painted)> {
    let [luma, chroma] = [HEIGHT, HEIGHT / 2].map(|rows| memory(sources, Fourcc::R8, WIDTH, rows));
    let (luma, chroma) = (luma?, chroma?);
    let drawn = planes(Fourcc::NV12)?;
    for (buffer, plane) in [&luma, &chroma].into_iter().zip(drawn) {
        pixels::write(buffer, &[plane])?;
    }
    let of = |buffer: &Buffer| -> Result<String> {
        let plane = buffer.layout().planes().first().context("no plane")?;
        Ok(format!("{}/{}", place(plane), inherited(buffer)?))
    };
    let description = Painted {
        fourcc: Fourcc::NV12,
        fd: inherited(&luma)?,
        layout: format!("{WIDTH}x{HEIGHT}:NV12:{},{}", of(&luma)?, of(&chroma)?),
        is_apart: true,
    };
    Ok(([luma, chroma], description))
}

fn place(plane: &PlaneLayout) -> String {
    format!("{}@{}", plane.stride_bytes, plane.offset_bytes)
}

/// The number of the buffer's fd, which a command keeps.
fn inherited(buffer: &Buffer) -> Result<i32> {
    let memory = buffer.dmabuf_fd(0).context("no memory")?;
    fcntl_setfd(memory, FdFlags::empty())?;
    Ok(memory.as_raw_fd())
}

/// A buffer of the system heap.
fn memory(sources: &Sources, fourcc: Fourcc, width: u16, height: u16) -> Result<Buffer> {
    let mut request = Request::new(Extent::new(width.into(), height.into())?);
    request.participants.push(processor(fourcc));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("the system heap has no plan for {fourcc}")
    };
    sources.allocate(&plan)?.pop().context("no buffer")
}

/// The rows of each plane, without padding.
fn planes(fourcc: Fourcc) -> Result<Vec<Vec<u8>>> {
    let bar = |x: u16| usize::from(x / (WIDTH / 8));
    let colour = |x: u16| BARS_100.colours.get(bar(x)).copied().unwrap_or_default();
    let code = |x: u16| YCBCR.get(bar(x)).copied().unwrap_or_default();
    // A plane with one sample, or one group of samples, for so many columns and rows.
    let plane = |across: u16, down: u16, sample: &dyn Fn(u16, u16) -> Vec<u8>| -> Vec<u8> {
        (0..HEIGHT / down)
            .flat_map(|row| (0..WIDTH / across).map(move |column| (column, row)))
            .flat_map(|(column, row)| sample(column * across, row * down))
            .collect()
    };
    let each = |sample: &dyn Fn([u8; 3]) -> Vec<u8>| vec![plane(1, 1, &|x, _| sample(colour(x)))];
    let luma = || plane(1, 1, &|x, _| vec![code(x)[0]]);
    let pair = |across: u16, down: u16, first: usize, second: usize| {
        plane(across, down, &|x, _| vec![code(x)[first], code(x)[second]])
    };
    let quarter = |which: usize| plane(2, 2, &|x, _| vec![code(x)[which]]);
    Ok(match fourcc {
        Fourcc::XRGB8888 => each(&|[red, green, blue]| vec![blue, green, red, 0x5a]),
        Fourcc::ABGR8888 => each(&|[red, green, blue]| vec![red, green, blue, 255]),
        Fourcc::BGR888 => each(&|[red, green, blue]| vec![red, green, blue]),
        // 100% bars have all bits of a channel or none.
        Fourcc::RGB565 => each(&|[red, green, blue]| {
            vec![(green & 0x07) << 5 | blue & 0x1f, red & 0xf8 | green & 0x07]
        }),
        Fourcc::XRGB2101010 => vec![plane(1, 1, &|x, y| {
            tens(colour(x), x, y, |red, green, blue| {
                red << 20 | green << 10 | blue
            })
        })],
        Fourcc::ABGR2101010 => vec![plane(1, 1, &|x, y| {
            tens(colour(x), x, y, |red, green, blue| {
                3 << 30 | blue << 20 | green << 10 | red
            })
        })],
        // 1.0 is 0x3c00.
        Fourcc::ABGR16161616F => each(&|[red, green, blue]| {
            let half = |channel: u8| [0, if channel == 0 { 0 } else { 0x3c }];
            [red, green, blue, 255].map(half).concat()
        }),
        Fourcc::YUYV => vec![plane(2, 1, &|x, _| {
            let [luma, cb, cr] = code(x);
            vec![luma, cb, luma, cr]
        })],
        Fourcc::UYVY => vec![plane(2, 1, &|x, _| {
            let [luma, cb, cr] = code(x);
            vec![cb, luma, cr, luma]
        })],
        Fourcc::NV12 => vec![luma(), pair(2, 2, 1, 2)],
        Fourcc::NV21 => vec![luma(), pair(2, 2, 2, 1)],
        Fourcc::NV16 => vec![luma(), pair(2, 1, 1, 2)],
        Fourcc::NV24 => vec![luma(), pair(1, 1, 1, 2)],
        Fourcc::YUV420 => vec![luma(), quarter(1), quarter(2)],
        Fourcc::YVU420 => vec![luma(), quarter(2), quarter(1)],
        // Ten bits at the top of sixteen; the standard's code values are four times those of eight bits.
        Fourcc::P010 => {
            let ten = |code: u16| (code << 6).to_le_bytes();
            let grey = |x: u16, y: u16, code: u16| if y < RAMP { code } else { 64 + x * 6 };
            let neutral = |y: u16, code: u8| if y < RAMP { u16::from(code) * 4 } else { 512 };
            vec![
                plane(1, 1, &|x, y| {
                    ten(grey(x, y, u16::from(code(x)[0]) * 4)).to_vec()
                }),
                plane(2, 2, &|x, y| {
                    [code(x)[1], code(x)[2]]
                        .map(|code| ten(neutral(y, code)))
                        .concat()
                }),
            ]
        }
        other => bail!("how {other} is painted is not known here"),
    })
}

/// A pixel with three channels of ten bits: a bar's, or the ramp's, which goes up by eight from three.
fn tens(colour: [u8; 3], x: u16, y: u16, join: impl Fn(u32, u32, u32) -> u32) -> Vec<u8> {
    let [red, green, blue] = if y < RAMP {
        colour.map(|channel| if channel == 0 { 0 } else { 1023 })
    } else {
        [u32::from(x) * 8 + 3; 3]
    };
    join(red, green, blue).to_le_bytes().to_vec()
}
