//! Theme `painted`: draws colour bars in dma-bufs of many formats, to test programs that read the pixels of other processes.
//!
//! The bytes of each format are computed here, from the code values of ITU-R BT.601 and the memory layouts in `drm_fourcc.h`.
//! They are not computed by covalent-alloc's own tables, so a mistake in those tables shows as a difference.

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc, PlaneLayout};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_tests::bars::BARS_100;
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{pixels, processor};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::Serialize;

/// The width of a picture in pixels: eight bars of 16 pixels.
const WIDTH: u16 = 128;
/// The height of a picture in pixels. In formats with ten bits, the lower half is a grey ramp.
const HEIGHT: u16 = 16;
/// The first row of the grey ramp.
const RAMP: u16 = 8;

/// The bars' colours as Y', Cb and Cr: white, yellow, cyan, green, magenta, red, blue, black.
///
/// # References
/// ITU-R BT.601-7, 100% bars with eight bits and limited range.
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

/// A picture in a dma-buf whose fd the command inherits.
#[derive(Debug, Serialize)]
struct PictureDescription {
    fourcc: Fourcc,
    /// The number of the inherited fd.
    fd: i32,
    /// The layout in the syntax of `covalent inspect --layout`.
    layout: String,
    /// Whether each plane is in a separate dma-buf.
    is_apart: bool,
}

/// Draws the pictures, prints their descriptions as one line of JSON, and executes the command, which inherits the fds.
pub(crate) fn exec_with_pictures(command: &[String]) -> Result<()> {
    let (program, words) = command.split_first().context("no command was given")?;
    let sources = Sources::discover();
    let mut descriptions = Vec::new();
    let mut buffers = Vec::new();
    for fourcc in FORMATS {
        let buffer = memory(&sources, fourcc, WIDTH, HEIGHT)?;
        pixels::write(&buffer, &planes(fourcc)?).with_context(|| fourcc.to_string())?;
        let planes: Vec<String> = buffer.layout().planes().iter().map(plane_text).collect();
        descriptions.push(PictureDescription {
            fourcc,
            fd: inherited(&buffer)?,
            layout: format!("{WIDTH}x{HEIGHT}:{fourcc}:{}", planes.join(",")),
            is_apart: false,
        });
        buffers.push(buffer);
    }
    let (apart, description) = apart(&sources)?;
    buffers.extend(apart);
    descriptions.push(description);
    println!("{}", serde_json::to_string(&descriptions)?);
    bail!(Command::new(program).args(words).exec())
}

/// Draws a picture in NV12 whose luma and chroma planes are in two dma-bufs. Both dma-bufs are allocated as pictures in R8.
fn apart(sources: &Sources) -> Result<([Buffer; 2], PictureDescription)> {
    let [luma, chroma] = [HEIGHT, HEIGHT / 2].map(|rows| memory(sources, Fourcc::R8, WIDTH, rows));
    let (luma, chroma) = (luma?, chroma?);
    let drawn = planes(Fourcc::NV12)?;
    for (buffer, plane) in [&luma, &chroma].into_iter().zip(drawn) {
        pixels::write(buffer, &[plane])?;
    }
    let of = |buffer: &Buffer| -> Result<String> {
        let plane = buffer
            .layout()
            .planes()
            .first()
            .context("the layout has no plane")?;
        Ok(format!("{}/{}", plane_text(plane), inherited(buffer)?))
    };
    let description = PictureDescription {
        fourcc: Fourcc::NV12,
        fd: inherited(&luma)?,
        layout: format!("{WIDTH}x{HEIGHT}:NV12:{},{}", of(&luma)?, of(&chroma)?),
        is_apart: true,
    };
    Ok(([luma, chroma], description))
}

fn plane_text(plane: &PlaneLayout) -> String {
    format!("{}@{}", plane.stride_bytes, plane.offset_bytes)
}

/// Clears FD_CLOEXEC of the buffer's fd and returns its number.
fn inherited(buffer: &Buffer) -> Result<i32> {
    let memory = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    fcntl_setfd(memory, FdFlags::empty())?;
    Ok(memory.as_raw_fd())
}

/// Allocates a buffer from the system heap.
fn memory(sources: &Sources, fourcc: Fourcc, width: u16, height: u16) -> Result<Buffer> {
    let mut request = Request::new(Extent::new(width.into(), height.into())?);
    request.participants.push(processor(fourcc));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for {fourcc} from the system heap")
    };
    sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")
}

/// Returns the bytes of each plane, without padding between rows.
fn planes(fourcc: Fourcc) -> Result<Vec<Vec<u8>>> {
    let bar = |x: u16| usize::from(x / (WIDTH / 8));
    let colour = |x: u16| BARS_100.colours.get(bar(x)).copied().unwrap_or_default();
    let code = |x: u16| YCBCR.get(bar(x)).copied().unwrap_or_default();
    // Computes a plane that has one sample, or one group of samples, for each block of `across` columns and `down` rows.
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
        // In 100% bars, either all bits of a channel are set or none.
        Fourcc::RGB565 => each(&|[red, green, blue]| {
            vec![(green & 0x07) << 5 | blue & 0x1f, red & 0xf8 | green & 0x07]
        }),
        Fourcc::XRGB2101010 => vec![plane(1, 1, &|x, y| {
            ten_bit_pixel(colour(x), x, y, |red, green, blue| {
                red << 20 | green << 10 | blue
            })
        })],
        Fourcc::ABGR2101010 => vec![plane(1, 1, &|x, y| {
            ten_bit_pixel(colour(x), x, y, |red, green, blue| {
                3 << 30 | blue << 20 | green << 10 | red
            })
        })],
        // The half-precision number 1.0 is 0x3c00.
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
        // P010 has ten bits in the upper part of 16 bits. The code values for ten bits are four times those for eight bits.
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
        other => bail!("this program cannot draw {other}"),
    })
}

/// Returns a pixel with three channels of ten bits. On the ramp, the first pixel has the value 3, and each next pixel 8 more.
fn ten_bit_pixel(colour: [u8; 3], x: u16, y: u16, join: impl Fn(u32, u32, u32) -> u32) -> Vec<u8> {
    let [red, green, blue] = if y < RAMP {
        colour.map(|channel| if channel == 0 { 0 } else { 1023 })
    } else {
        [u32::from(x) * 8 + 3; 3]
    };
    join(red, green, blue).to_le_bytes().to_vec()
}
