//! GPUs that this machine does not have. Their Mesa drivers run on Mesa's drm-shims and declare participants and sources.

use anyhow::{Result, bail};
use covalent_alloc::backend;
use covalent_alloc::machine::{
    Declared as RecordedSize, Machine, MissingDevice, Provenance, ProvenanceByPath,
    RecordedParticipant, RecordedSource,
};
use covalent_alloc::model::Extent;
use covalent_alloc::trial::{Environment, Helper, VendorGpu, environment};

/// The sizes in pixels at which the GPUs of a `gpu:` name are declared, so that they can be compared with another machine.
const SIZES: [(u32, u32); 3] = [(640, 480), (1280, 720), (1920, 1080)];

/// Declares a GPU for images of one size.
///
/// # Errors
/// The name is not known, the GPU's driver or its drm-shim is not installed, or the driver shares no images.
pub(crate) fn declare(name: &str, size: Extent) -> Result<backend::Declared> {
    let gpu = VendorGpu::find(name)?;
    let declared = Helper::find()?.with_gpu(gpu)?.declare_drivers(size);
    if declared.participants.is_empty() {
        let reasons: Vec<String> = declared
            .unavailable
            .iter()
            .map(ToString::to_string)
            .collect();
        bail!(
            "the driver of {name} ({}) shares no images: {}",
            gpu.title(),
            reasons.join("; ")
        );
    }
    Ok(declared)
}

/// Returns a machine that has only these GPUs. Each value has the GPU's driver as its provenance.
///
/// # Errors
/// As for [`declare`].
pub(crate) fn machine(names: &[String], sizes: &[Extent]) -> Result<Machine> {
    let origin = format!(
        "covalent probe --as {}, version {}",
        names.join(" --as "),
        env!("CARGO_PKG_VERSION")
    );
    let mut machine = Machine::new(names.join(" and "), origin);
    machine.environment = Environment {
        mesa: environment().mesa,
        ..Environment::default()
    };
    for size in sizes {
        machine.declared.push(recorded(names, *size)?);
    }
    Ok(machine)
}

/// Returns the machine with the GPUs in a name like `gpu:navi31+m1`; `None` for a name without the prefix `gpu:`.
///
/// # Errors
/// As for [`declare`].
pub(crate) fn machine_of_name(name: &str) -> Option<Result<Machine>> {
    let names: Vec<String> = name
        .strip_prefix("gpu:")?
        .split('+')
        .map(str::to_owned)
        .collect();
    let sizes = SIZES.map(|(width, height)| Extent::new(width, height));
    let sizes: Result<Vec<Extent>, _> = sizes.into_iter().collect();
    Some(
        sizes
            .map_err(Into::into)
            .and_then(|sizes| machine(&names, &sizes)),
    )
}

/// Returns the participants and sources of these GPUs at one size, in the format of a recorded machine.
///
/// # Errors
/// As for [`declare`], and for a name that is given twice.
pub(crate) fn recorded(names: &[String], size: Extent) -> Result<RecordedSize> {
    let mesa = environment().mesa;
    let mut all = RecordedSize {
        size: Some(size),
        ..RecordedSize::default()
    };
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|other| other == name) {
            bail!("the GPU {name} is named twice");
        }
        let gpu = VendorGpu::find(name)?;
        let declared = declare(name, size)?;
        let place = format!(
            "{} of Mesa {mesa}, as {name} on {}",
            gpu.driver(),
            gpu.library()
        );
        let provenance = ProvenanceByPath::default().and("", Provenance::DriverSource { place });
        let participants = declared.participants.into_iter();
        all.participants
            .extend(participants.map(|participant| RecordedParticipant {
                provenance: provenance.clone(),
                ..RecordedParticipant::measured(participant)
            }));
        let sources = declared.sources.into_iter();
        all.sources.extend(sources.map(|source| RecordedSource {
            provenance: provenance.clone(),
            ..RecordedSource::measured(source)
        }));
        let missing = declared.unavailable.into_iter();
        all.missing.extend(missing.map(|own| MissingDevice {
            name: own.name,
            reason: own.why,
            ..MissingDevice::default()
        }));
    }
    Ok(all)
}
