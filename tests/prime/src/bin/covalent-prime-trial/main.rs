//! `covalent-prime-trial`: vendor drivers exchange buffers without their hardware. It prints what each driver answers.
//!
//! For each GPU, and each modifier that its driver lists, a process allocates an image, reads its layout back and exports it.
//! Other processes import the image with this layout: the same driver for the same GPU, the same driver for another GPU, and
//! another vendor's driver. GBM allocates an image in the same modifier for Vulkan to import, and GBM and EGL import Vulkan's.
//! Then one value of the layout is made wrong at a time: a pitch, an offset, the number of planes, the modifier.
//!
//! Every process runs one driver on a drm-shim, with `libcovalent_prime.so` in front of it. A driver that aborts ends only its
//! process. Nothing is drawn, so a refusal of a layout is a fact, and an acceptance is no promise.

mod covalent;
mod egl;
mod exchange;
mod gbm;
mod judge;
mod message;
mod table;
mod vulkan;
mod worker;
mod wrong;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::trial::VendorGpu;

/// The option by which this program starts itself as the process of a driver.
const WORKER: &str = "--worker";
const USAGE: &str =
    "usage: covalent-prime-trial [--check] [--json FILE] [--library libcovalent_prime.so] [GPU...]";

/// What the command line asks for.
struct Options {
    /// Whether the program ends with an error if a driver does not answer as expected.
    is_checked: bool,
    json: Option<PathBuf>,
    library: PathBuf,
    gpus: Vec<&'static VendorGpu>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = if words.first().is_some_and(|word| word == WORKER) {
        worker::serve()
    } else {
        run(&words)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr fails, there is no other place to report that.
            let _ = writeln!(io::stderr(), "covalent-prime-trial: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let options = parse(words)?;
    let report = exchange::run(&options.gpus, &options.library)?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    io::stdout().write_all(table::text(&report).as_bytes())?;
    let problems = judge::problems(&report);
    if options.is_checked && !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn parse(words: &[String]) -> Result<Options> {
    let (mut json, mut library, mut gpus) = (None, None, Vec::new());
    let mut is_checked = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().map(PathBuf::from).context(USAGE);
        match word.as_str() {
            "--check" => is_checked = true,
            "--json" => json = Some(value()?),
            "--library" => library = Some(value()?),
            option if option.starts_with('-') => bail!(USAGE),
            name => gpus.push(VendorGpu::find(name)?),
        }
    }
    if gpus.is_empty() {
        gpus = VendorGpu::all().collect();
    }
    Ok(Options {
        is_checked,
        json,
        library: library.map_or_else(find_library, Ok)?,
        gpus,
    })
}

/// Finds the library beside this program, where cargo and the guest's image have it.
fn find_library() -> Result<PathBuf> {
    const NAME: &str = "libcovalent_prime.so";
    let program = std::env::current_exe().context("the path of this program is not known")?;
    let beside = program.with_file_name(NAME);
    let candidates = [program.with_file_name("deps").join(NAME), beside.clone()];
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{} does not exist; build it (`cargo build -p covalent-prime`) or name it by --library",
                beside.display()
            )
        })
}
