//! Vendor drivers exchange buffers on Mesa's drm-shims, with this package's library in front of them.
//!
//! Without the package mesa-drm-shim the test is skipped; if the variable `COVALENT_TEST_SHIMS` is set, it fails. Without
//! `/dev/udmabuf` memfds replace the dma-bufs, and imports by covalent-alloc are not tried.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use covalent_alloc::trial::{Helper, VendorGpu};

/// Returns whether all drm-shims and drivers are installed, and prints the reason if they are not.
fn has_shims() -> bool {
    // The helper is never started, so its program need not exist.
    let missing = VendorGpu::all().find_map(|gpu| Helper::new(PathBuf::new()).with_gpu(gpu).err());
    let is_required = std::env::var_os("COVALENT_TEST_SHIMS").is_some();
    if let Some(error) = &missing {
        assert!(!is_required, "{error}");
        eprintln!("skipped, because {error}");
    }
    missing.is_none()
}

/// Returns the library that cargo has built with this test.
fn library() -> PathBuf {
    let library = std::env::current_exe()
        .unwrap()
        .with_file_name("libcovalent_prime.so");
    assert!(library.is_file(), "{} does not exist", library.display());
    library
}

#[test]
fn vendor_drivers_exchange_every_modifier_that_they_list() {
    if !has_shims() {
        return;
    }
    if !Path::new("/dev/udmabuf").exists() {
        eprintln!("memfds replace the dma-bufs, because there is no /dev/udmabuf");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_covalent-prime-trial"))
        .arg("--check")
        .arg("--library")
        .arg(library())
        .output()
        .unwrap();
    let [table, error] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    println!("{table}");
    assert!(output.status.success(), "{table}\n{error}");
}
