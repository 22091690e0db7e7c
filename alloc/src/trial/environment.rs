//! The properties of this machine that a driver's refusal may depend on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use covalent_machine::trial_results::Environment;

/// The memory size is rounded up to a multiple of this many MiB, because the kernel reserves a slightly different amount at each
/// boot.
const MEMORY_ROUNDING_MEBIBYTES: u64 = 256;

/// The folders in which distributions install Mesa's library, from whose file name the version is read. The name contains the
/// version since Mesa 24.1.
const LIBRARY_FOLDERS: [&str; 5] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
];

/// Reads the properties of this machine that trial results depend on. A property that cannot be read is empty.
#[must_use]
pub fn environment() -> Environment {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    Environment {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        mesa: LIBRARY_FOLDERS
            .iter()
            .find_map(|folder| mesa_in(Path::new(folder)))
            .unwrap_or_default(),
        memory_mebibytes: memory_mebibytes(&memory).unwrap_or_default(),
        iommu: fs::read_dir("/sys/class/iommu").is_ok_and(|mut entries| entries.next().is_some()),
        swiotlb: parameter(&command_line, "swiotlb").unwrap_or_default(),
        host: virtio_features(Path::new("/sys/bus/virtio/devices")),
    }
}

fn mesa_in(folder: &Path) -> Option<String> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("libgallium-")?.strip_suffix(".so")?;
        Some(version.to_owned())
    })
}

fn memory_mebibytes(meminfo: &str) -> Option<u64> {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    (kilobytes / 1024).checked_next_multiple_of(MEMORY_ROUNDING_MEBIBYTES)
}

/// Returns the value of a parameter of the kernel's command line.
fn parameter(command_line: &str, name: &str) -> Option<String> {
    command_line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
}

/// Returns the feature bits that the driver of each virtio GPU has negotiated with the host, with the GPU's name.
///
/// # References
/// Virtual I/O Device (VIRTIO), "GPU Device", feature bits: 0 is 3D, 3 is blob resources.
fn virtio_features(folder: &Path) -> BTreeSet<String> {
    /// The id of a GPU among virtio devices, as sysfs prints it.
    const GPU: &str = "0x0010";
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        if read("device").trim() != GPU {
            continue;
        }
        let bits = read("features");
        let set: Vec<String> = bits
            .trim()
            .chars()
            .enumerate()
            .filter(|(_, bit)| *bit == '1')
            .map(|(number, _)| number.to_string())
            .collect();
        let name = entry.file_name().to_string_lossy().into_owned();
        found.insert(format!("{name} gpu features {}", set.join(" ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_size_is_rounded_up_to_a_step() {
        assert_eq!(memory_mebibytes("MemTotal: 2000000 kB\n"), Some(2048));
        assert_eq!(memory_mebibytes("MemTotal: 1990000 kB\n"), Some(2048));
        assert_eq!(memory_mebibytes("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn kernel_parameter_is_found_only_by_its_whole_name() {
        let line = "quiet swiotlb=force cma=128M";
        assert_eq!(parameter(line, "swiotlb").as_deref(), Some("force"));
        assert_eq!(parameter(line, "swio"), None);
    }

    #[test]
    fn virtio_gpu_features_are_its_negotiated_bits() {
        let folder = tempfile::tempdir().unwrap();
        for (name, device, bits) in [
            ("virtio0", "0x0010", "10010\n"),
            ("virtio1", "0x0001", "1\n"),
        ] {
            let own = folder.path().join(name);
            fs::create_dir(&own).unwrap();
            fs::write(own.join("device"), format!("{device}\n")).unwrap();
            fs::write(own.join("features"), bits).unwrap();
        }
        fs::write(folder.path().join("libgallium-26.1.6-1.so"), "").unwrap();
        assert_eq!(
            virtio_features(folder.path()),
            BTreeSet::from(["virtio0 gpu features 0 3".to_owned()])
        );
        assert_eq!(mesa_in(folder.path()).as_deref(), Some("26.1.6-1"));
    }
}
