//! The colours that copies lose, determined from the names of formats. This module shares no code with the solver.

use covalent_solver::constraint::Participant;
use covalent_solver::solve::Request;

/// Returns whether an image has fewer colours after it was converted to this format. That is so for a single channel, a sensor's
/// mosaic, and chroma for four pixels.
pub fn loses_colours(name: &str) -> bool {
    let coarse = [
        "R8", "R10", "R12", "R16", "YUV410", "YVU410", "YUV411", "YVU411",
    ];
    coarse.contains(&name)
        || (name.starts_with('S') && name.contains("GG")
            || name.starts_with("SGBRG")
            || name.starts_with("SGRBG"))
}

/// Returns the bits of a channel and the chroma samples for four pixels that a format stores.
fn kept(name: &str) -> (i32, i32) {
    if loses_colours(name) {
        return (8, 0);
    }
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let bits = match name {
        "RGB565" | "BGR565" | "XRGB1555" | "ARGB1555" => 5,
        "P012" | "Y212" | "Y412" => 12,
        "P016" | "Y216" | "Y416" => 16,
        "P210" | "Y410" => 10,
        _ if has(&[
            "2101010", "1010102", "P010", "P030", "NV15", "NV20", "NV30", "Y210",
        ]) =>
        {
            10
        }
        _ if has(&["Q410", "Q401"]) => 10,
        _ if name.contains("16161616") => 16,
        _ => 8,
    };
    let chroma = match name {
        "NV12" | "NV21" | "NV15" | "P010" | "P012" | "P016" | "P030" => 1,
        "YUYV" | "YVYU" | "UYVY" | "VYUY" | "NV16" | "NV61" | "NV20" | "P210" => 2,
        "Y210" | "Y212" | "Y216" => 2,
        _ if name.ends_with("420") => 1,
        _ if name.ends_with("422") => 2,
        _ => 4,
    };
    (bits, chroma)
}

/// Returns whether a format loses colours, and the number of bits in a channel.
pub fn depth(name: &str) -> (bool, i32) {
    (loses_colours(name), kept(name).0)
}

/// Returns the number of chroma samples for four pixels that a format lacks.
pub fn missing_chroma(name: &str) -> i32 {
    4 - kept(name).1
}

/// The loss by copies: whether all colours are lost, the lost bits of a channel, and the lost chroma samples.
pub type Loss = (i32, i32, i32);

/// Returns the loss when frames are converted to a format. The frames are those of the participants that write, or of all
/// participants if none writes.
pub fn loss(request: &Request, name: &str) -> Loss {
    let writes = |participant: &&Participant| participant.role.writes();
    let all = &request.participants;
    let has_writer = all.iter().any(|participant| writes(&participant));
    let writers = all.iter().filter(|one| !has_writer || writes(one));
    let mut made = Vec::new();
    for choice in writers.flat_map(|participant| participant.choices()) {
        match &choice.formats {
            Some(formats) => {
                made.extend(formats.iter().map(|pair| pair.fourcc.info().unwrap().name))
            }
            None => made.push("XRGB8888"),
        }
    }
    let made = made.into_iter().filter(|name| !loses_colours(name));
    let made: Vec<(i32, i32)> = made.map(kept).collect();
    let made_bits = made.iter().map(|kept| kept.0).max().unwrap_or(0);
    let made_chroma = made.iter().map(|kept| kept.1).min().unwrap_or(0);
    let (bits, chroma) = kept(name);
    (
        i32::from(loses_colours(name)),
        (made_bits - bits).max(0),
        (made_chroma - chroma).max(0),
    )
}
