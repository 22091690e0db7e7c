//! Makes hbm's source code a public module of this crate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"ash\"))");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let source = source().join("src");
    let copy = out.join("hbm");
    copy_as_public(&source, &copy).expect("hbm's source can be read");
    let module = format!("#[path = {:?}]\npub mod hbm;\n", copy.join("lib.rs"));
    fs::write(out.join("hbm.rs"), module).expect("OUT_DIR can be written");
}

/// Returns the folder in which cargo stores hbm's source code.
fn source() -> PathBuf {
    let cargo = env::var_os("CARGO").expect("cargo sets CARGO");
    let asked = Command::new(cargo)
        .args(["metadata", "--format-version", "1"])
        .output()
        .expect("cargo answers");
    let text = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{text}");
    let known: serde_json::Value =
        serde_json::from_slice(&asked.stdout).expect("cargo writes JSON");
    let packages = known["packages"].as_array().expect("cargo lists packages");
    let hbm = packages
        .iter()
        .find(|package| package["name"] == "hbm")
        .expect("this package depends on hbm");
    let manifest = hbm["manifest_path"]
        .as_str()
        .expect("a package has a manifest");
    Path::new(manifest)
        .parent()
        .expect("a manifest lies in a folder")
        .to_owned()
}

/// Copies a folder of Rust files of hbm. Items with `pub(crate)` become public, and paths from `crate` become paths from this
/// crate's module `hbm`.
fn copy_as_public(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_as_public(&path, &target)?;
        } else {
            let text = fs::read_to_string(&path)?.replace("pub(crate)", "pub");
            fs::write(
                target,
                text.replace("use crate::", "use crate::peer::hbm::"),
            )?;
        }
    }
    Ok(())
}
