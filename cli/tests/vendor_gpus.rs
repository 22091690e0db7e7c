//! Runs the drivers of GPUs that this machine does not have on Mesa's drm-shims, and checks the layouts that they declare.
//!
//! Without the package mesa-drm-shim the tests are skipped; if the variable `COVALENT_TEST_SHIMS` is set, they fail.
//! `tests/gpus/record` records the GPUs again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use covalent_alloc::model::Modifier;
use covalent_alloc::trial::{Helper, VendorGpu};
use serde_json::Value;

/// The GPUs whose driver supports no modifiers, because their hardware (older than GFX9) has none.
const WITHOUT_MODIFIERS: [&str; 3] = ["stoney", "polaris10", "polaris12"];

/// The smallest number of GPUs whose drivers must list modifiers besides LINEAR.
const MIN_TILED_GPUS: usize = 20;

/// The exit code and the output of a command.
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_covalent"))
        .args(words)
        .output()
        .unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns whether all drm-shims and drivers are installed.
fn has_shims() -> bool {
    let program = Path::new(env!("CARGO_BIN_EXE_covalent")).with_file_name("covalent-prove");
    let found = VendorGpu::all().all(|gpu| Helper::new(program.clone()).with_gpu(gpu).is_ok());
    assert!(
        found || std::env::var_os("COVALENT_TEST_SHIMS").is_none(),
        "the shims or drivers are not installed"
    );
    found
}

/// Returns the JSON of what the driver of a GPU declares, or the error of the tool.
fn probe(name: &str) -> Result<Value, String> {
    let output = run(&["probe", "--as", name, "--size", "1280x720", "--json"]);
    match output.code {
        Some(0) => Ok(serde_json::from_str(&output.stdout).unwrap()),
        _ => Err(output.stderr),
    }
}

/// Returns the modifiers of the first participant for each format.
fn modifiers(found: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let listed = found["participants"][0]["constraints"]["formats"].as_array();
    let mut by_format: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in listed.into_iter().flatten() {
        let text = |key: &str| pair[key].as_str().unwrap_or_default().to_owned();
        let own = by_format.entry(text("fourcc")).or_default();
        own.insert(text("modifier"));
    }
    by_format
}

#[test]
fn every_driver_lists_its_layouts_by_names_that_are_read_back() {
    if !has_shims() {
        return;
    }
    let (mut tiled, mut drivers) = (0, BTreeSet::new());
    for gpu in VendorGpu::all() {
        let name = gpu.name();
        let found = match probe(name) {
            Ok(found) => found,
            Err(error) => {
                assert!(
                    WITHOUT_MODIFIERS.contains(&name)
                        && error.contains("VK_EXT_image_drm_format_modifier"),
                    "{name}: {error}"
                );
                continue;
            }
        };
        assert!(
            !WITHOUT_MODIFIERS.contains(&name),
            "{name} has modifiers now"
        );
        let by_format = modifiers(&found);
        let own = &by_format["XR24"];
        assert!(own.contains("LINEAR"), "{name}: {own:?}");
        for modifier in by_format.values().flatten() {
            let read: Modifier = modifier.parse().unwrap();
            assert!(
                !modifier.starts_with("0x"),
                "{name}: {modifier} has no name"
            );
            assert_eq!(format!("{read:#}"), *modifier, "{name}");
        }
        tiled += usize::from(own.len() > 1);
        drivers.insert(gpu.driver());
    }
    assert!(
        tiled >= MIN_TILED_GPUS,
        "{tiled} GPUs have layouts besides LINEAR"
    );
    assert_eq!(drivers.len(), 4, "only {drivers:?} declare anything");
}

#[test]
fn driver_that_aborts_loses_these_formats_alone() {
    if !has_shims() {
        return;
    }
    // NVK aborts its process when it is queried for some multi-planar formats.
    let found = probe("tu104").unwrap();
    let by_format = modifiers(&found);
    let own = &by_format["XR24"];
    assert!(own.contains("LINEAR") && own.len() > 1, "{own:?}");
    for lost in found["unavailable"].as_array().unwrap() {
        let name = lost["name"].as_str().unwrap();
        let fourcc = name.strip_prefix("NVK, ").unwrap();
        assert!(!by_format.contains_key(fourcc), "{fourcc} is declared too");
        let why = lost["why"].as_str().unwrap();
        assert!(why.contains("aborted") && why.contains("panicked"), "{why}");
    }
}

#[test]
fn plan_of_two_gpus_has_what_both_drivers_take() {
    if !has_shims() {
        return;
    }
    let plan = |one: &str, two: &str| -> Value {
        let gpus = ["plan", "--gpu", one, "--gpu", two];
        let rest = ["--size", "1280x720", "--format", "XR24", "--json"];
        let output = run(&[gpus.as_slice(), &rest].concat());
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        serde_json::from_str(&output.stdout).unwrap()
    };
    // Two GPUs of one generation share a tiled layout. GPUs of two vendors share only LINEAR.
    let (alike, unlike) = (plan("navi31", "navi33"), plan("navi31", "m1"));
    let modifier = |solution: &Value| {
        let modifier = &solution["share"]["layout"]["format"]["modifier"];
        modifier.as_str().unwrap_or_default().to_owned()
    };
    assert!(modifier(&alike).starts_with("AMD("), "{alike}");
    assert_eq!(modifier(&unlike), "LINEAR", "{unlike}");
    // AMD GPUs need strides that are multiples of 256 bytes.
    let stride = unlike["share"]["layout"]["planes"][0]["stride_bytes"].as_u64();
    assert!(
        stride.is_some_and(|stride| stride >= 5120 && stride % 256 == 0),
        "{unlike}"
    );
    // The driver accepts the import without the hardware, so the import is not guaranteed and the verdict is `possible`.
    for solution in [alike, unlike] {
        assert_eq!(solution["share"]["verdict"], "possible", "{solution}");
    }
}

#[test]
fn matrix_of_gpus_is_untested_and_nothing_is_learnt_from_it() {
    if !has_shims() {
        return;
    }
    let words = [
        "matrix", "--gpu", "navi31", "--gpu", "m1", "--format", "XR24",
    ];
    let output = run(&[words.as_slice(), &["--json"]].concat());
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let matrix: Value = serde_json::from_str(&output.stdout).unwrap();
    let cells = matrix["cells"].as_array().unwrap();
    assert!(cells.len() > 4, "{} cells", cells.len());
    for cell in cells {
        let outcome = &cell["outcome"];
        assert!(
            outcome.is_null() || outcome.get("untestable").is_some(),
            "{cell}"
        );
    }
    assert_eq!(matrix["summary"]["mismatches"], 0);
    assert_eq!(matrix["learnt"].as_array().unwrap().len(), 0);
}

/// Every recording in `tests/gpus` equals what the driver declares. If a new version of Mesa declares other layouts, record the
/// GPU again.
#[test]
fn recordings_are_what_the_drivers_say() {
    if !has_shims() {
        return;
    }
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/gpus");
    let now = tempfile::tempdir().unwrap();
    let mut by_driver: BTreeMap<&str, usize> = BTreeMap::new();
    for gpu in VendorGpu::all() {
        let name = gpu.name();
        if WITHOUT_MODIFIERS.contains(&name) {
            continue;
        }
        let file = format!("{name}.json");
        let (recorded, new) = (folder.join(&file), now.path().join(&file));
        let (recorded, new) = (recorded.to_str().unwrap(), new.to_str().unwrap());
        let output = run(&["probe", "--as", name, "--size", "1280x720", "--record", new]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        let output = run(&["diff", recorded, new]);
        assert_eq!(
            output.code,
            Some(0),
            "{name} differs from its recording, which `tests/gpus/record` makes anew: {} {}",
            output.stdout,
            output.stderr
        );
        *by_driver.entry(gpu.driver()).or_default() += 1;
    }
    for (driver, least) in [("RADV", 12), ("Turnip", 4), ("NVK", 4), ("Honeykrisp", 1)] {
        let found = by_driver.get(driver).copied().unwrap_or_default();
        assert!(found >= least, "{found} GPUs of {driver} are recorded");
    }
}
