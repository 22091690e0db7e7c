//! `covalent-interop-check`: shares buffers between Vulkan and the other drivers of this machine, and checks the pixels and the
//! waits for sw_sync fences that are signalled late.
//!
//! Each row prints one line: `passed BEHAVIOUR/ROW`, `failed BEHAVIOUR/ROW: why` or `skipped BEHAVIOUR/ROW: why`; with `--json`
//! it prints one array of all rows instead. Rows run in a child process, because drivers may crash their process. The parent
//! prints the rows, and starts a new child after the row that crashed.

mod application_device;
mod decoder_to_kms;
mod display;
#[path = "../../../../alloc/tests/engine/mod.rs"]
mod engine;
mod exchange;
mod frames;
mod hdmi_loopback;
mod held_picture;
mod memory;
mod peer;
mod process_resources;
mod rows;
mod socket;
mod split_to_kms;
mod supervisor;
mod test_machine;
mod v4l2_to_vulkan;
#[cfg(feature = "gbm")]
mod vulkan_and_gbm;
mod vulkan_and_heap;
mod vulkan_and_udmabuf;
mod vulkan_to_encoder;
mod vulkan_to_kms;
mod vulkan_to_v4l2_output;
mod vulkan_to_vulkan;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use covalent_tests::interop::{BEHAVIOURS, Row};
use covalent_tests::verdict::Verdict;

use rows::{ParentMessage, Rows, send_to_parent};
use test_machine::{TestMachine, TestOptions};

/// Checks buffer sharing between Vulkan and the other drivers of this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run only the checks of these behaviours, such as vulkan_to_kms; without any, run all checks.
    behaviours: Vec<String>,
    /// Print one JSON array of all rows; the lines of the rows are printed on standard error.
    #[arg(long)]
    json: bool,
    /// Run every format rather than one of each kind.
    #[arg(long)]
    full: bool,
    /// Let two processes exchange this many frames.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(400..))]
    frames: u64,
    /// Load VK_LAYER_KHRONOS_validation with synchronisation validation; a message fails the row.
    #[arg(long)]
    validated: bool,
    /// Show one picture on this card until standard input ends, so that another program can check it.
    #[arg(long, value_name = "CARD")]
    show: Option<String>,
    /// Set the seed of the picture that --show shows.
    #[arg(long, default_value_t = 1)]
    seed: usize,
    /// Show a decoded picture with 1080 visible rows of 1088 on this card until standard input ends.
    #[arg(long, value_name = "CARD")]
    show_decoded: Option<String>,
    /// Copy with Vulkan to buffers of this card, as the solver's split solution says, and show one copy until standard input
    /// ends.
    #[arg(long, value_name = "CARD")]
    show_split: Option<String>,
    /// Skip this many rows, which an earlier child process ran.
    #[arg(long, hide = true)]
    after: Option<usize>,
    /// Run as the child process of a row, in this role.
    #[arg(long, hide = true, value_enum)]
    role: Option<Role>,
    /// Set the index of the Vulkan device for --role.
    #[arg(long = "place", hide = true, default_value_t = 0)]
    device_index: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Peer,
    Producer,
    Consumer,
}

impl Arguments {
    /// Returns whether the behaviour is to be checked, according to the arguments.
    fn wants(&self, behaviour: &str) -> bool {
        self.behaviours.is_empty() || self.behaviours.iter().any(|wanted| wanted == behaviour)
    }

    /// Returns the arguments of the child process that runs the rows.
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
            "there is no behaviour {unknown:?}; the behaviours are {}",
            BEHAVIOURS.join(", ")
        );
    }
    if let Some(role) = arguments.role {
        let machine = TestMachine::open(&TestOptions::default());
        match role {
            Role::Peer => peer::serve(&machine)?,
            Role::Producer => frames::serve(&machine, "producer", arguments.device_index)?,
            Role::Consumer => frames::serve(&machine, "consumer", arguments.device_index)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(card) = &arguments.show {
        vulkan_to_kms::show(
            &TestMachine::open(&TestOptions::default()),
            card,
            arguments.seed,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(card) = &arguments.show_decoded {
        decoder_to_kms::show(&TestMachine::open(&TestOptions::default()), card)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(card) = &arguments.show_split {
        split_to_kms::show(&TestMachine::open(&TestOptions::default()), card)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(done) = arguments.after {
        attempt(arguments, done);
        return Ok(ExitCode::SUCCESS);
    }
    let mut found: Vec<Row> = Vec::new();
    supervisor::run_rows(&arguments.words(), |row| {
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

/// The rows of one behaviour.
type Behaviour = fn(&TestMachine, &mut Rows);

/// Runs all rows in the child process, except the first `done` rows.
fn attempt(arguments: &Arguments, done: usize) {
    let machine = TestMachine::open(&TestOptions {
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
        if machine.gpus.is_empty() {
            let why = format!(
                "no Vulkan device of this machine can share images: {}",
                machine.lacking.join("; ")
            );
            rows.skip("any", &why);
            continue;
        }
        for why in &machine.lacking {
            rows.skip("a device that takes no part", why);
        }
        behaviour(&machine, &mut rows);
        if let Some(validation_messages) = &machine.validation_messages {
            rows.row("validation layer reports nothing", || {
                test_machine::expect_no_messages(validation_messages)
            });
        }
    }
    validated(machine, &mut rows);
    send_to_parent(&ParentMessage::Done);
}

/// Checks that the validation layer reports a deliberate write hazard, and that it reports nothing after all devices are
/// destroyed.
fn validated(machine: TestMachine, rows: &mut Rows) {
    let Some(validation_messages) = machine.validation_messages.clone() else {
        return;
    };
    rows.row("validation layer detects a deliberate write hazard", || {
        for (gpu, _) in &machine.gpus {
            gpu.submit_write_hazard()?;
            let messages = validation_messages.take();
            ensure!(
                messages
                    .iter()
                    .any(|message| message.contains("WRITE-AFTER-WRITE")
                        || message.contains("WRITE_AFTER_WRITE")),
                "the validation layer does not report a hazard on {}, but reports {messages:?}",
                gpu.name()
            );
        }
        Ok(rows::RowOutcome::Passed)
    });
    drop(machine);
    rows.row("validation layer reports no leak", || {
        test_machine::expect_no_messages(&validation_messages)
    });
}
