//! `covalent-interop-check`: every way between Vulkan and the other drivers of this machine, with pixels, and fences that are held
//! back.
//!
//! Each row prints one line: `passed BEHAVIOUR/ROW`, `failed BEHAVIOUR/ROW: why` or `skipped BEHAVIOUR/ROW: why`; with `--json` there is one
//! array of them. Rows are tried in a process of their own, since drivers abort: the one that prints goes on behind such a row.

mod application_device;
mod display;
#[path = "../../../../alloc/tests/engine/mod.rs"]
mod engine;
mod exchange;
mod frames;
mod hdmi;
mod memory;
mod peer;
mod rows;
mod socket;
mod v4l2_to_vulkan;
#[cfg(feature = "gbm")]
mod vulkan_and_gbm;
mod vulkan_and_heap;
mod vulkan_and_udmabuf;
mod vulkan_to_encoder;
mod vulkan_to_kms;
mod vulkan_to_v4l2_output;
mod vulkan_to_vulkan;
mod watch;
mod world;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use covalent_tests::interop::{BEHAVIOURS, Row};
use covalent_tests::verdict::Verdict;

use rows::{Rows, Told, tell};
use world::{Scope, World};

/// Tries every way between Vulkan and the other drivers of this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these behaviours.
    behaviours: Vec<String>,
    /// Prints one JSON array of all rows; their lines go to standard error as they come.
    #[arg(long)]
    json: bool,
    /// Tries every format rather than one of each kind.
    #[arg(long)]
    full: bool,
    /// How many frames two processes exchange.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(400..))]
    frames: u64,
    /// Loads VK_LAYER_KHRONOS_validation with checks of synchronisation; whatever it says fails the row.
    #[arg(long)]
    validated: bool,
    /// Shows one picture on this card until standard input ends, for who judges it from outside.
    #[arg(long, value_name = "CARD")]
    show: Option<String>,
    /// The number of that picture.
    #[arg(long, default_value_t = 1)]
    seed: usize,
    /// Leaves out what an earlier process has tried.
    #[arg(long, hide = true)]
    after: Option<usize>,
    /// Serves another process.
    #[arg(long, hide = true, value_enum)]
    role: Option<Role>,
    /// With which device.
    #[arg(long, hide = true, default_value_t = 0)]
    place: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Peer,
    Producer,
    Consumer,
}

impl Arguments {
    fn wants(&self, behaviour: &str) -> bool {
        self.behaviours.is_empty() || self.behaviours.iter().any(|wanted| wanted == behaviour)
    }

    /// The words by which the process that tries is started.
    fn words(&self) -> Vec<String> {
        let mut words = self.behaviours.clone();
        for (is_asked, word) in [(self.full, "--full"), (self.validated, "--validated")] {
            if is_asked {
                words.push(word.to_owned());
            }
        }
        words.extend(["--frames".to_owned(), self.frames.to_string()]);
        words
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(unknown) = arguments
        .behaviours
        .iter()
        .find(|wanted| !BEHAVIOURS.contains(&wanted.as_str()))
    {
        bail!(
            "there is no behaviour {unknown:?}; there are {}",
            BEHAVIOURS.join(", ")
        );
    }
    if let Some(role) = arguments.role {
        let world = World::open(&Scope::default());
        match role {
            Role::Peer => peer::serve(&world)?,
            Role::Producer => frames::serve(&world, "producer", arguments.place)?,
            Role::Consumer => frames::serve(&world, "consumer", arguments.place)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(card) = &arguments.show {
        vulkan_to_kms::show(&World::open(&Scope::default()), card, arguments.seed)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(done) = arguments.after {
        attempt(arguments, done);
        return Ok(ExitCode::SUCCESS);
    }
    let mut found: Vec<Row> = Vec::new();
    watch::watch(&arguments.words(), |row| {
        if arguments.json {
            eprintln!("{row}");
        } else {
            println!("{row}");
        }
        found.push(row);
    })?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    }
    let failed = found.iter().any(|row| row.verdict == Verdict::Failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

type Behaviour = fn(&World, &mut Rows);

/// Tries all rows, in the process that may die.
fn attempt(arguments: &Arguments, done: usize) {
    let world = World::open(&Scope {
        full: arguments.full,
        validated: arguments.validated,
        #[cfg(feature = "gbm")]
        gbm: arguments.wants("vulkan_and_gbm"),
        frames: arguments.frames,
    });
    let mut rows = Rows::after(done);
    let behaviours: &[(&'static str, Behaviour)] = &[
        ("vulkan_and_heap", vulkan_and_heap::run),
        ("vulkan_and_udmabuf", vulkan_and_udmabuf::run),
        #[cfg(feature = "gbm")]
        ("vulkan_and_gbm", vulkan_and_gbm::run),
        ("vulkan_to_vulkan", vulkan_to_vulkan::run),
        ("application_device", application_device::run),
        ("v4l2_to_vulkan", v4l2_to_vulkan::run),
        ("vulkan_to_v4l2_output", vulkan_to_v4l2_output::run),
        ("vulkan_to_encoder", vulkan_to_encoder::run),
        ("vulkan_to_kms", vulkan_to_kms::run),
    ];
    for (name, behaviour) in behaviours {
        if !arguments.wants(name) {
            continue;
        }
        rows.of(name);
        if world.gpus.is_empty() {
            let why = format!(
                "no Vulkan device here shares images: {}",
                world.lacking.join("; ")
            );
            rows.skip("any", &why);
            continue;
        }
        for why in &world.lacking {
            rows.skip("a device that takes no part", why);
        }
        behaviour(&world, &mut rows);
        if let Some(protocol_errors) = &world.protocol_errors {
            rows.row("says nothing to the validation layer", || {
                world::judge_complaints(protocol_errors)
            });
        }
    }
    validated(world, &mut rows);
    tell(&Told::Done);
}

/// That the layer looks at all, and what it says when everything has gone.
fn validated(world: World, rows: &mut Rows) {
    let Some(protocol_errors) = world.protocol_errors.clone() else {
        return;
    };
    rows.row("a planted hazard is found by the validation layer", || {
        for (gpu, _) in &world.gpus {
            gpu.plant_hazard()?;
            let said = protocol_errors.take();
            ensure!(
                said.iter().any(|words| words.contains("WRITE-AFTER-WRITE")
                    || words.contains("WRITE_AFTER_WRITE")),
                "of a hazard on {} it says {said:?}",
                gpu.name()
            );
        }
        Ok(rows::Seen::Passed)
    });
    drop(world);
    rows.row("nothing is left when all is closed", || {
        world::judge_complaints(&protocol_errors)
    });
}
