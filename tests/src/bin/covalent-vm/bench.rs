//! `bench`: measures the cost of a frame in Covalent's programs and in the programs of other projects, in one guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use covalent_alloc::files::replace;
use covalent_tests::bench::{PipelineCosts, Row, Rows, Scenario, Subject, draw, measure};
use covalent_tests::vm::accel::Accelerator;
use covalent_tests::vm::config::{Config, Memory, Size};
use covalent_tests::vm::guest::{BootOptions, Guest};
use covalent_tests::vm::progress::Progress;
use covalent_tests::vm::{build, image, platform::Platform};

/// The time limit of a short command in the guest.
const SOON: Duration = Duration::from_secs(120);

/// The size of the display and of the camera's picture.
const SIZE: Size = Size {
    width: 1280,
    height: 720,
};

/// The numbers of frames of the two runs in which system calls are counted. The count is exact, and each call takes long while it
/// is counted.
const TRACED_FRAMES: [u32; 2] = [10, 40];

/// The commands that print the versions of the programs.
const VERSIONS: [(&str, &str); 6] = [
    ("weston", "weston --version"),
    ("sway", "sway --version"),
    ("cage", "cage -v"),
    ("gstreamer", "gst-launch-1.0 --version"),
    ("mpv", "mpv --version"),
    ("ffmpeg", "ffmpeg -version"),
];

/// Measures the cost of a frame in Covalent's programs and in the programs of other projects, in the same guest.
///
/// Prints a table, and writes `bench-SUBJECT.json` and `.svg`. The first use downloads about 120 MB of these programs. A camera
/// bench takes about five minutes a round on two emulated processors. All numbers are a presented frame's: the difference of a
/// long run and a short one. Emulated processors make every program slower, so only the ratio of two rows means something.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    ./x bench camera\n  \
    ./x bench compositor --rounds 5\n  \
    ./x bench camera --only kms --rounds 1      the pipelines whose name contains kms\n  \
    ./x bench camera --list                     the pipelines and their commands")]
pub(crate) struct Arguments {
    /// Compare the pipelines of this subject.
    #[arg(value_enum)]
    subject: Subject,
    /// Run every pipeline this many times, in rounds with one run of each pipeline.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Set the number of frames of the long run. The short run has a quarter of them.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(40..=100_000))]
    frames: u32,
    /// Run only the pipelines whose name contains this text.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Print the pipelines and their commands, and run nothing.
    #[arg(long)]
    list: bool,
    /// Print the results as one JSON object on stdout instead of the table.
    #[arg(long)]
    json: bool,
    /// Write the results and a chart to this folder.
    #[arg(long, value_name = "DIR", default_value = "out/bench")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let word = arguments.only.as_deref().unwrap_or_default();
    let scenarios: Vec<&Scenario> = arguments
        .subject
        .scenarios()
        .iter()
        .filter(|scenario| scenario.name.contains(word))
        .collect();
    ensure!(
        !scenarios.is_empty(),
        "no pipeline has {word:?} in its name; --list prints all names"
    );
    if arguments.list {
        for scenario in scenarios {
            println!("{}", scenario.name);
            for (what, command) in [
                ("compositor", scenario.compositor),
                ("client", scenario.client),
            ] {
                if !command.is_empty() {
                    println!("    {what:<10} {command}");
                }
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let progress = Progress::stderr();
    let options = image::Options {
        peers: true,
        ..image::Options::default()
    };
    let image = image::ensure_with(Platform::Pc, options, &progress)?;
    let programs = build::release_programs(&image.root)?;
    let named = || format!("the folder of the results, {}", arguments.out.display());
    fs::create_dir_all(&arguments.out).with_context(named)?;

    let mut boot = BootOptions::new(Config::Virtio, &programs);
    boot.machine.memory = "3G".parse::<Memory>().map_err(anyhow::Error::msg)?;
    boot.machine.size = SIZE;
    let step = progress.step("boot the guest");
    let guest = Guest::boot(&image, &boot)?;
    step.done();
    let mut versions = versions(&guest)?;
    versions.insert("kernel".to_owned(), image.versions.kernel.clone());
    versions.insert("mesa".to_owned(), image.versions.mesa.clone());
    versions.insert("qemu".to_owned(), image.versions.qemu);

    let frames = [arguments.frames / 4, arguments.frames];
    let results = run_rounds(&guest, &scenarios, frames, arguments.rounds, &progress)?;
    let rows = Rows {
        subject: arguments.subject.name().to_owned(),
        versions,
        emulated: guest.accelerator() != Accelerator::Kvm,
        frames,
        rounds: arguments.rounds,
        rows: scenarios
            .iter()
            .zip(&results)
            .map(|(scenario, rounds)| Row::new(scenario, rounds))
            .collect(),
    };
    guest.stop()?;
    write(&arguments.out, &rows)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print(&rows);
        println!("\nwritten to {}", arguments.out.display());
    }
    if rows.rows.iter().all(|row| row.columns.is_empty()) {
        bail!("no pipeline could be measured");
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `rounds` rounds with one run of every pipeline, and one more round to count system calls. Returns the measurements of
/// each pipeline in all rounds. A pipeline that failed is not run again.
fn run_rounds(
    guest: &Guest,
    scenarios: &[&Scenario],
    frames: [u32; 2],
    rounds: u32,
    progress: &Progress,
) -> anyhow::Result<Vec<Vec<PipelineCosts>>> {
    let mut results: Vec<Vec<_>> = vec![Vec::new(); scenarios.len()];
    for round in 0..=rounds {
        let traced = round == rounds;
        let title = if traced {
            "count system calls".to_owned()
        } else {
            format!("round {} of {rounds}", round + 1)
        };
        let step = progress.step(&title);
        for (scenario, results) in scenarios.iter().zip(&mut results) {
            if results.last().is_some_and(Result::is_err) {
                continue;
            }
            step.detail(scenario.name);
            let frames = if traced { TRACED_FRAMES } else { frames };
            let measured = measure(guest, scenario, frames, traced);
            if guest.has_ended() {
                bail!("the guest ended while it ran {}", scenario.name);
            }
            results.push(measured.map_err(|error| format!("{error:#}")));
        }
        step.done();
    }
    Ok(results)
}

/// Sets the camera's format and test pattern, and returns the versions of the programs.
fn versions(guest: &Guest) -> anyhow::Result<BTreeMap<String, String>> {
    let output = guest.sh(
        "v4l2-ctl -d /dev/video0 -v width=1280,height=720,pixelformat=XR24 -c test_pattern=1 && v4l2-ctl -d /dev/video0 -p 30",
        SOON,
    )?;
    ensure!(
        output.status.success(),
        "v4l2-ctl cannot prepare the camera: {}",
        output.text()
    );
    let mut versions = BTreeMap::new();
    for (name, command) in VERSIONS {
        let output = guest.sh(&format!("{command} 2>&1 | head -n 1"), SOON)?;
        versions.insert(name.to_owned(), output.text().trim().to_owned());
    }
    Ok(versions)
}

/// Writes the table as JSON, and the chart as SVG.
fn write(folder: &Path, rows: &Rows) -> anyhow::Result<()> {
    let path = |extension: &str| folder.join(format!("bench-{}.{extension}", rows.subject));
    replace(&path("json"), &serde_json::to_vec_pretty(rows)?)?;
    replace(&path("svg"), draw(rows).as_bytes())?;
    Ok(())
}

/// Prints the table.
fn print(rows: &Rows) {
    println!("\n{}", rows.table());
    println!(
        "median of {} rounds; the difference of {} and {} frames{}",
        rows.rounds,
        rows.frames[1],
        rows.frames[0],
        if rows.emulated {
            "; emulated processors, so only ratios apply to real hardware"
        } else {
            ""
        }
    );
    for line in rows.lost_columns() {
        println!("behind: {line}");
    }
}
