//! Tests that `docs/gpu-pairs.json` and `docs/gpu-pairs.svg` show the formats and modifiers that each pair of GPUs in
//! `tests/gpus` has in common.
//!
//! `UPDATE_GPU_PAIRS=1 cargo test -p covalent-cli --test gpu_pairs` writes both files again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use covalent_alloc::constraint::{FormatSet, Participant};
use covalent_alloc::machine::Machine;
use covalent_alloc::model::{Extent, Fourcc, Modifier};
use covalent_alloc::solve::{Request, Solution, solve};
use serde_json::{Value, json};

/// The formats for which the pairs are compared.
const FORMATS: [Fourcc; 2] = [Fourcc::XRGB8888, Fourcc::NV12];

/// A recorded GPU, and the name of its file.
struct Gpu {
    name: String,
    machine: Machine,
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads the recorded GPUs. GPUs of the same driver are adjacent.
fn gpus() -> Vec<Gpu> {
    let mut gpus: Vec<Gpu> = std::fs::read_dir(tree().join("tests/gpus"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(|path| Gpu {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            machine: Machine::from_json(&std::fs::read(&path).unwrap()).unwrap(),
        })
        .collect();
    gpus.sort_by_key(|gpu| (gpu.participant().device.driver, gpu.name.clone()));
    gpus
}

impl Gpu {
    fn participant(&self) -> Participant {
        self.machine.declared[0].participants[0].to_participant()
    }

    /// Returns the modifiers of one format.
    fn modifiers(&self, fourcc: Fourcc) -> Vec<Modifier> {
        let participant = self.participant();
        let formats = participant.constraints().formats.iter();
        formats
            .flat_map(FormatSet::iter)
            .filter(|format| format.fourcc == fourcc)
            .map(|format| format.modifier)
            .collect()
    }
}

/// The modifiers that two GPUs have in common in one format, and the plan for a buffer that both import.
struct Common {
    modifiers: Vec<Modifier>,
    /// The modifier and the stride of the first plane in bytes, or the reason why there is no plan.
    plan: Result<(Modifier, u32), String>,
}

fn common(one: &Gpu, two: &Gpu, fourcc: Fourcc) -> Common {
    let theirs = two.modifiers(fourcc);
    let mut modifiers = one.modifiers(fourcc);
    modifiers.retain(|modifier| theirs.contains(modifier));
    modifiers.sort_unstable();
    let mut request = Request::new(Extent::new(1280, 720).unwrap());
    for gpu in [one, two] {
        let mut participant = gpu.participant();
        participant.for_each_choice(|choice| {
            let formats = choice.formats.iter().flat_map(FormatSet::iter);
            choice.formats = Some(formats.filter(|format| format.fourcc == fourcc).collect());
        });
        request.participants.push(participant);
        let declared = &gpu.machine.declared[0];
        let sources = declared.sources.iter();
        request.sources.extend(sources.map(|own| own.to_source()));
    }
    let plan = match solve(&request) {
        Solution::Share(plan) => {
            let layout = plan.layout();
            let stride = layout
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes);
            Ok((layout.format().modifier, stride))
        }
        Solution::Split(split) => Err(split
            .conflict()
            .iter()
            .map(|demand| format!("{} {}", demand.owner, demand.words))
            .collect::<Vec<_>>()
            .join("; ")),
    };
    Common { modifiers, plan }
}

/// Returns the pairs as JSON with one pair in each line.
fn as_json(pairs: &[Value]) -> String {
    let lines: Vec<String> = pairs.iter().map(Value::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The size of a cell, and the space for names on the left and at the top, in pixels.
const CELL: usize = 22;
const NAMES: usize = 90;
const TOP: usize = 110;

/// Draws an SVG table with the number of modifiers besides LINEAR that each pair of GPUs shares.
fn as_svg(names: &[String], tiled: &BTreeMap<(usize, usize), Option<usize>>) -> String {
    let width = NAMES + names.len() * CELL + 24;
    let height = TOP + names.len() * CELL + 60;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>Layouts that two GPUs share</title>\n\
         <desc>The number of modifiers besides LINEAR that the drivers of both GPUs list for XR24</desc>\n\
         <style>text{{font:11px ui-sans-serif,system-ui,'DejaVu Sans',sans-serif;fill:#1f2328}}.number{{font-size:10px;text-anchor:middle}}\
         .name{{text-anchor:end}}.paper{{fill:#ffffff}}.tiled{{fill:#8fd3b6}}.linear{{fill:#f6dfa6}}.none{{fill:#f8d9d2}}.same{{fill:#dde2e8}}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
         <text x=\"24\" y=\"24\" style=\"font-size:15px;font-weight:600\">Layouts that two GPUs share</text>\n\
         <text x=\"24\" y=\"42\">XR24 at 1280x720: the number of modifiers besides LINEAR that both drivers list</text>\n"
    );
    for (row, name) in names.iter().enumerate() {
        let y = TOP + row * CELL;
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"{}\" y=\"{}\">{name}</text>",
            NAMES - 6,
            y + 15
        );
        let x = NAMES + row * CELL + 14;
        let _ = writeln!(
            out,
            "<text transform=\"translate({x},{}) rotate(-60)\">{name}</text>",
            TOP - 6
        );
        for column in 0..names.len() {
            let x = NAMES + column * CELL;
            let pair = (row.min(column), row.max(column));
            let (class, number) = match tiled.get(&pair) {
                None => ("same", String::new()),
                Some(None) => ("none", String::new()),
                Some(Some(0)) => ("linear", String::new()),
                Some(Some(count)) => ("tiled", count.to_string()),
            };
            let (one, two) = (&names[row], &names[column]);
            let _ = writeln!(
                out,
                "<g><title>{one} and {two}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{0}\" height=\"{0}\"/><text class=\"number\" x=\"{1}\" y=\"{2}\">{number}</text></g>",
                CELL - 2,
                x + CELL / 2 - 1,
                y + 14
            );
        }
    }
    let y = TOP + names.len() * CELL + 24;
    for (place, (class, words)) in [
        ("tiled", "tiled layouts"),
        ("linear", "LINEAR alone"),
        ("none", "no layout"),
    ]
    .into_iter()
    .enumerate()
    {
        let x = 24 + place * 130;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"14\" height=\"14\"/><text x=\"{}\" y=\"{}\">{words}</text>",
            x + 20,
            y + 11
        );
    }
    out.push_str("</svg>\n");
    out
}

#[test]
fn pairs_of_gpus_are_what_their_recordings_have_in_common() {
    let gpus = gpus();
    let drivers: std::collections::BTreeSet<String> = gpus
        .iter()
        .map(|gpu| gpu.participant().device.driver)
        .collect();
    assert!(gpus.len() >= 20 && drivers.len() == 4, "{drivers:?}");
    let (mut pairs, mut tiled) = (Vec::new(), BTreeMap::new());
    for (row, one) in gpus.iter().enumerate() {
        for (column, two) in gpus.iter().enumerate().skip(row + 1) {
            let mut pair = json!({"gpus": [one.name, two.name]});
            for fourcc in FORMATS {
                let found = common(one, two, fourcc);
                let is_shared = !found.modifiers.is_empty();
                // Two GPUs have a plan if and only if they have a common modifier.
                assert_eq!(
                    found.plan.is_ok(),
                    is_shared,
                    "{} and {} in {fourcc}: {:?}",
                    one.name,
                    two.name,
                    found.plan
                );
                if fourcc == Fourcc::XRGB8888 {
                    let count = found
                        .modifiers
                        .iter()
                        .filter(|modifier| **modifier != Modifier::LINEAR)
                        .count();
                    tiled.insert((row, column), is_shared.then_some(count));
                }
                let names = found.modifiers.iter().map(|own| format!("{own:#}"));
                pair[fourcc.to_string()] = match found.plan {
                    Ok((Modifier::LINEAR, stride)) => {
                        json!({"modifiers": names.collect::<Vec<_>>(), "plan": "LINEAR", "stride_bytes": stride})
                    }
                    // The stride of a layout that is not LINEAR is chosen by the driver, so only the modifier is compared.
                    Ok((modifier, _)) => {
                        json!({"modifiers": names.collect::<Vec<_>>(), "plan": format!("{modifier:#}")})
                    }
                    Err(why) => json!({"modifiers": [], "why_not": why}),
                };
            }
            pairs.push(pair);
        }
    }
    let names: Vec<String> = gpus.iter().map(|gpu| gpu.name.clone()).collect();
    for (name, text) in [
        ("gpu-pairs.json", as_json(&pairs)),
        ("gpu-pairs.svg", as_svg(&names, &tiled)),
    ] {
        let path = tree().join("docs").join(name);
        if std::env::var_os("UPDATE_GPU_PAIRS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).is_ok_and(|written| written == text),
            "docs/{name} is out of date: UPDATE_GPU_PAIRS=1 cargo test -p covalent-cli --test gpu_pairs"
        );
    }
}

#[test]
fn board_that_was_recorded_by_hand_lists_the_layouts_of_its_driver() {
    for (board, participant, gpu) in [
        ("amd-rdna2", "amdgpu image", "navi21"),
        ("amd-rdna2", "amdgpu GBM", "navi21"),
        ("nvidia-volta", "nouveau GBM", "gv100"),
    ] {
        let path = tree().join(format!("tests/machines/{board}.json"));
        let machine = Machine::from_json(&std::fs::read(path).unwrap()).unwrap();
        let declared = machine.declared.iter().flat_map(|own| &own.participants);
        let by_hand = declared
            .map(|recorded| &recorded.participant)
            .find(|own| own.name == participant)
            .unwrap();
        let formats = by_hand.constraints().formats.iter();
        let mut listed: Vec<Modifier> = formats
            .flat_map(FormatSet::iter)
            .filter(|format| format.fourcc == Fourcc::XRGB8888)
            .map(|format| format.modifier)
            .collect();
        let gpus = gpus();
        let driver = gpus.iter().find(|other| other.name == gpu).unwrap();
        let mut drivers = driver.modifiers(Fourcc::XRGB8888);
        listed.sort_unstable();
        drivers.sort_unstable();
        assert_eq!(listed, drivers, "{participant} of {board}");
    }
}
