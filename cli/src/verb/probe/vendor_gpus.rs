//! `covalent probe --as`: shows GPUs that this machine does not have, as their drivers declare them.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use covalent_alloc::backend::Unavailable;
use covalent_alloc::machine::Declared;
use covalent_alloc::model::Extent;
use covalent_alloc::trial::VendorGpu;
use serde::Serialize;

use super::{Found, Options, print};
use crate::out::{self, line};
use crate::vendor_gpus::machine;
use crate::{file, json};

/// A GPU in the list that `--as list` prints.
#[derive(Serialize)]
struct ListedGpu {
    name: &'static str,
    title: &'static str,
    driver: &'static str,
    shim: String,
}

/// The JSON object that contains the list.
#[derive(Serialize)]
struct GpuList {
    gpus: Vec<ListedGpu>,
}

/// Prints the GPUs that `--as` accepts.
pub(super) fn list(as_json: bool) -> Result<ExitCode> {
    let gpus: Vec<ListedGpu> = VendorGpu::all()
        .map(|gpu| ListedGpu {
            name: gpu.name(),
            title: gpu.title(),
            driver: gpu.driver(),
            shim: gpu.library(),
        })
        .collect();
    if as_json {
        json::print(&GpuList { gpus })?;
    } else {
        let mut out = out::stdout();
        for gpu in &gpus {
            line!(out, "{:<10} {:<52} {}", gpu.name, gpu.title, gpu.driver)?;
        }
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the GPUs that `--as` names, and writes them to the file of `--record`.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let sizes = options.distinct_sizes();
    let machine = machine(&options.gpus, &sizes)?;
    if let Some(path) = &options.record {
        file::write(path, (machine.to_json()? + "\n").as_bytes())?;
    }
    let declared = machine.declared.into_iter();
    let all: Vec<Found> = sizes.into_iter().zip(declared).map(found).collect();
    print(options, &all)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the declarations of these GPUs at one size, for the output.
fn found((size, declared): (Extent, Declared)) -> Found {
    let participants = declared.participants.into_iter();
    let sources = declared.sources.into_iter();
    let missing = declared.missing.into_iter();
    Found {
        size,
        participants: participants.map(|own| own.participant).collect(),
        sources: sources.map(|own| own.source).collect(),
        copiers: Vec::new(),
        unavailable: missing
            .map(|own| Unavailable {
                name: own.name,
                why: own.reason,
            })
            .collect(),
        pipelines: Vec::new(),
        reserved_memory: None,
    }
}
