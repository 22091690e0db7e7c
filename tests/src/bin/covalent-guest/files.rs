//! The commands `put` and `get`, which transfer files through their stdin and stdout, so that the protocol needs no messages for
//! files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

/// `put PATH MODE`: writes stdin to a file. A rename puts the file in place when it is complete.
pub(crate) fn put(words: &[OsString]) -> ExitCode {
    let [path, mode] = words else {
        eprintln!("usage: covalent-guest put PATH MODE, with the mode in octal digits");
        return ExitCode::from(super::USAGE);
    };
    let Some(mode) = mode
        .to_str()
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
    else {
        eprintln!("covalent-guest put: the mode is not an octal number");
        return ExitCode::from(super::USAGE);
    };
    report("write", path, write(Path::new(path), mode))
}

/// `get PATH`: writes a file to stdout.
pub(crate) fn get(words: &[OsString]) -> ExitCode {
    let [path] = words else {
        eprintln!("usage: covalent-guest get PATH");
        return ExitCode::from(super::USAGE);
    };
    let result =
        File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::stdout().lock()));
    report("read", path, result.map(|_| ()))
}

/// Writes stdin to a file, which is replaced at once.
fn write(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = File::create(&partial)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    fs::rename(&partial, path)
}

/// Prints the error of a file operation and returns the exit code.
fn report(operation: &str, path: &OsString, result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "covalent-guest: {operation} {}: {error}",
                path.to_string_lossy()
            );
            ExitCode::FAILURE
        }
    }
}
