//! The manifest of a finished image. A check of the manifest detects a damaged image, which is then built again.
//!
//! There are two checks. The quick check runs at every start. It compares the size, the time and a sample of the content of each
//! file within milliseconds, and detects truncated and overwritten files. The full check runs on request and after a failed boot,
//! and reads every byte.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The name of the manifest file. This file is written last, so its existence shows that the image is complete.
const FILE_NAME: &str = "manifest.json";
/// The version of the manifest's format.
const FORMAT: u32 = 2;
/// The number of blocks in the sample of a file. The blocks are spread evenly over the file, and include the first and the last
/// block.
const SAMPLE_BLOCKS: u64 = 64;
/// The size of one block of a sample in bytes.
const SAMPLE_BLOCK_BYTES: u64 = 16 * 1024;

/// The reason why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The image is not complete.
    #[error("{0} has no manifest, so its build was not completed")]
    Missing(PathBuf),
    /// The manifest cannot be parsed.
    #[error("{path} is not a valid manifest: {reason}")]
    Unreadable {
        /// The path of the manifest.
        path: PathBuf,
        /// The reason why the manifest cannot be parsed.
        reason: String,
    },
    /// A file has changed since the image was built.
    #[error("{path} is damaged: {what} has changed since the file was built")]
    Damaged {
        /// The path of the changed file.
        path: PathBuf,
        /// The property of the file that differs, such as its size.
        what: &'static str,
    },
    /// A file operation failed.
    #[error("read {path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// The list of an image's files with their checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    artefacts: Vec<Artefact>,
}

/// The entry of one file of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Artefact {
    name: String,
    size_bytes: u64,
    modified_seconds: i64,
    sample_sha256: String,
    sha256: String,
}

impl Manifest {
    /// Computes sizes, times and checksums of the files `names` of `image`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn measure(image: &Path, names: &[&str]) -> Result<Self, ManifestError> {
        let measure =
            |name: &&str| Artefact::measure(image, name).map_err(file_error(&image.join(name)));
        let artefacts = names.iter().map(measure).collect::<Result<_, _>>()?;
        Ok(Self {
            format: FORMAT,
            artefacts,
        })
    }

    /// Reads the manifest of `image`.
    ///
    /// # Errors
    /// There is no manifest, or it has another format.
    pub fn read(image: &Path) -> Result<Self, ManifestError> {
        let path = image.join(FILE_NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ManifestError::Missing(image.to_owned()));
            }
            Err(error) => return Err(file_error(&path)(error)),
        };
        let unreadable = |reason: String| ManifestError::Unreadable {
            path: path.clone(),
            reason,
        };
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(unreadable(format!(
                "format {}, expected {FORMAT}",
                manifest.format
            )));
        }
        Ok(manifest)
    }

    /// Writes the manifest of `image`, which marks the image as complete.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, image: &Path) -> Result<(), ManifestError> {
        let (path, new) = (image.join(FILE_NAME), image.join("manifest.new"));
        let write = || {
            let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
            fs::write(&new, text)?;
            // All files are flushed to the disk before the manifest is renamed to its final name.
            File::open(&new)?.sync_all()?;
            for artefact in &self.artefacts {
                File::open(image.join(&artefact.name))?.sync_all()?;
            }
            fs::rename(&new, &path)
        };
        write().map_err(file_error(&path))
    }

    /// Checks the item in `folder` by its manifest: quickly, or with every byte if `in_full` is set.
    ///
    /// # Errors
    /// [`ManifestError::Missing`] if there is no manifest, because the item is not complete; otherwise the first file that has
    /// changed.
    pub fn check(folder: &Path, in_full: bool) -> Result<(), ManifestError> {
        let manifest = Self::read(folder)?;
        manifest.check_quickly(folder)?;
        if in_full {
            manifest.check_in_full(folder)?;
        }
        Ok(())
    }

    /// Checks the size, the time and a sample of each file, which takes milliseconds.
    ///
    /// # Errors
    /// The first file that has changed.
    pub fn check_quickly(&self, image: &Path) -> Result<(), ManifestError> {
        self.artefacts
            .iter()
            .try_for_each(|artefact| artefact.check(image, false))
    }

    /// Checks every byte of the image's files. The root file system is checked by another function.
    ///
    /// # Errors
    /// The first file that has changed.
    pub fn check_in_full(&self, image: &Path) -> Result<(), ManifestError> {
        self.artefacts
            .iter()
            .try_for_each(|artefact| artefact.check(image, true))
    }
}

impl Artefact {
    /// Makes the entry of a file.
    fn measure(image: &Path, name: &str) -> io::Result<Self> {
        let file = File::open(image.join(name))?;
        let metadata = file.metadata()?;
        Ok(Self {
            name: name.to_owned(),
            size_bytes: metadata.len(),
            modified_seconds: metadata.mtime(),
            sample_sha256: sample(&file, metadata.len())?,
            sha256: digest_of_file(file)?,
        })
    }

    /// Checks the size, the time and a sample of a file; with `in_full` also every byte.
    fn check(&self, image: &Path, in_full: bool) -> Result<(), ManifestError> {
        let path = image.join(&self.name);
        let damaged = |what| {
            Err(ManifestError::Damaged {
                path: path.clone(),
                what,
            })
        };
        let file = File::open(&path).map_err(file_error(&path))?;
        let metadata = file.metadata().map_err(file_error(&path))?;
        if metadata.len() != self.size_bytes {
            return damaged("its size");
        }
        if metadata.mtime() != self.modified_seconds {
            return damaged("its time");
        }
        if sample(&file, self.size_bytes).map_err(file_error(&path))? != self.sample_sha256 {
            return damaged("a sample of its content");
        }
        if in_full && digest_of_file(file).map_err(file_error(&path))? != self.sha256 {
            return damaged("its content");
        }
        Ok(())
    }
}

/// Returns the digest of blocks that are spread evenly over the file.
fn sample(file: &File, size_bytes: u64) -> io::Result<String> {
    let mut digest = Sha256::new();
    let last = size_bytes.saturating_sub(SAMPLE_BLOCK_BYTES);
    let mut block = Vec::new();
    for index in 0..SAMPLE_BLOCKS {
        // The product fits a u128 for every file size.
        let offset = u128::from(last) * u128::from(index) / u128::from(SAMPLE_BLOCKS - 1);
        let offset = u64::try_from(offset).map_err(io::Error::other)?;
        let length_bytes = SAMPLE_BLOCK_BYTES.min(size_bytes.saturating_sub(offset));
        block.resize(usize::try_from(length_bytes).map_err(io::Error::other)?, 0);
        file.read_exact_at(&mut block, offset)?;
        digest.update(&block);
    }
    Ok(hexadecimal(&digest.finalize()))
}

fn digest_of_file(mut file: File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hexadecimal(&digest.finalize())),
            length => digest.update(&block[..length]),
        }
    }
}

/// Returns a short key of an item that is built from `parts`. If any part differs, the key differs.
pub(crate) fn key(parts: &[String]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        // No part contains a zero byte, so different lists of parts give different input to the digest.
        digest.update([0]);
    }
    let mut key = hexadecimal(&digest.finalize());
    // Sixteen hexadecimal digits are enough to be unique among the items of one machine.
    key.truncate(16);
    key
}

/// Writes bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ManifestError {
    let path = path.to_owned();
    move |source| ManifestError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE_BYTES: u64 = 3_000_000;

    fn image() -> (tempfile::TempDir, Manifest) {
        let scratch = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..SIZE_BYTES)
            .map(|index| index.to_le_bytes()[1])
            .collect();
        fs::write(scratch.path().join("disk"), content).unwrap();
        fs::write(scratch.path().join("kernel"), "small").unwrap();
        let manifest = Manifest::measure(scratch.path(), &["disk", "kernel"]).unwrap();
        manifest.write(scratch.path()).unwrap();
        (scratch, manifest)
    }

    /// Changes the content of a file without changing its modification time, as a failing disk does.
    fn change_silently(path: &Path, change: impl FnOnce(&File)) {
        let file = File::options().write(true).open(path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        change(&file);
        file.set_modified(modified).unwrap();
    }

    #[test]
    fn manifest_written_is_read_back_and_valid() {
        let (scratch, manifest) = image();
        assert_eq!(Manifest::read(scratch.path()).unwrap(), manifest);
        manifest.check_quickly(scratch.path()).unwrap();
        manifest.check_in_full(scratch.path()).unwrap();
    }

    #[test]
    fn manifest_with_invalid_json_is_unreadable() {
        let (scratch, _) = image();
        fs::write(scratch.path().join(FILE_NAME), "{").unwrap();
        assert!(matches!(
            Manifest::read(scratch.path()),
            Err(ManifestError::Unreadable { .. })
        ));
    }

    #[test]
    fn quick_check_of_a_truncated_file_reports_damage() {
        let (scratch, manifest) = image();
        change_silently(&scratch.path().join("disk"), |file| {
            file.set_len(SIZE_BYTES - 1).unwrap()
        });
        let error = manifest.check_quickly(scratch.path()).unwrap_err();
        assert!(
            matches!(
                error,
                ManifestError::Damaged {
                    what: "its size",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn quick_check_of_an_overwritten_last_block_reports_damage() {
        let (scratch, manifest) = image();
        change_silently(&scratch.path().join("disk"), |file| {
            file.write_all_at(b"damage", SIZE_BYTES - 6).unwrap()
        });
        let error = manifest.check_quickly(scratch.path()).unwrap_err();
        assert!(
            matches!(
                error,
                ManifestError::Damaged {
                    what: "a sample of its content",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn full_check_of_a_byte_between_samples_reports_damage() {
        let (scratch, manifest) = image();
        // Block 0 ends at 16 KiB, and block 1 begins at (3,000,000 - 16 Ki) / 63, about 47 KB.
        change_silently(&scratch.path().join("disk"), |file| {
            file.write_all_at(b"!", 20_000).unwrap()
        });
        manifest.check_quickly(scratch.path()).unwrap();
        let error = manifest.check_in_full(scratch.path()).unwrap_err();
        assert!(
            matches!(
                error,
                ManifestError::Damaged {
                    what: "its content",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn quick_check_of_a_missing_file_is_an_error() {
        let (scratch, manifest) = image();
        fs::remove_file(scratch.path().join("kernel")).unwrap();
        assert!(matches!(
            manifest.check_quickly(scratch.path()),
            Err(ManifestError::File { .. })
        ));
    }
}
