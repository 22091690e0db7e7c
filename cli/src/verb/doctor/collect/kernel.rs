//! Reads the kernel's options and modules.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use flate2::read::GzDecoder;

use super::super::snapshot::{Kernel, ModuleState};
use super::{MAX_FILE_BYTES, text};
use crate::input;

/// The kernel options that concern buffer sharing. A snapshot contains only these options.
const OPTIONS: [&str; 9] = [
    "UDMABUF",
    "DMABUF_HEAPS",
    "DMABUF_HEAPS_SYSTEM",
    "DMABUF_HEAPS_CMA",
    "DMA_CMA",
    "DRM",
    "DRM_VIRTIO_GPU",
    "SYNC_FILE",
    "SW_SYNC",
];
const MODULES: [&str; 8] = [
    "udmabuf",
    "system_heap",
    "cma_heap",
    "drm",
    "vgem",
    "vkms",
    "virtio_gpu",
    "sw_sync",
];
/// The longest line of a kernel configuration that is read, in bytes.
const LONGEST_LINE: usize = 4096;

/// Reads the release, the options and the modules of the running kernel.
pub(super) fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let packed = File::open("/proc/config.gz").ok();
    let packed = packed.and_then(|file| unpacked(file).ok());
    let modules = Path::new("/lib/modules").join(&release);
    let plain = [
        Path::new("/boot").join(format!("config-{release}")),
        modules.join("config"),
    ];
    let plain = || {
        let text = plain.iter().map(text).find(|text| !text.is_empty())?;
        options(text.as_bytes()).ok()
    };
    Kernel {
        options: packed.or_else(plain),
        modules: self::modules(
            &text("/proc/modules"),
            &text(modules.join("modules.builtin")),
            &text(modules.join("modules.dep")),
        ),
        release,
    }
}

/// Reads the kernel options from a compressed configuration line by line, because a file of a few KiB may decompress to
/// gigabytes.
///
/// # Errors
/// The file cannot be decompressed, or is longer than [`MAX_FILE_BYTES`].
fn unpacked(file: impl io::Read) -> io::Result<BTreeMap<String, String>> {
    let mut limited = GzDecoder::new(file).take(MAX_FILE_BYTES.saturating_add(1));
    let found = options(BufReader::new(&mut limited))?;
    if limited.limit() == 0 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(found)
}

/// Reads the values of the options in [`OPTIONS`] from a kernel configuration.
fn options(text: impl BufRead) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    input::each_line(text, LONGEST_LINE, |line| {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        let unset = line.strip_prefix("# CONFIG_");
        let unset = unset.and_then(|name| Some((name.strip_suffix(" is not set")?, "n")));
        let set = || line.strip_prefix("CONFIG_")?.split_once('=');
        if let Some((name, value)) = unset.or_else(set) {
            if OPTIONS.contains(&name) {
                found.insert(name.to_owned(), value.to_owned());
            }
        }
    })?;
    Ok(found)
}

/// Returns the state of each module in [`MODULES`] from the texts of `/proc/modules`, `modules.builtin` and `modules.dep`.
fn modules(loaded: &str, built_in: &str, files: &str) -> BTreeMap<String, ModuleState> {
    let name_of = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split('.').next().unwrap_or(file);
        // Module file names contain `-` or `_`. The kernel replaces `-` by `_` in module names.
        name.replace('-', "_")
    };
    let mut found = BTreeMap::new();
    let mut add = |name: String, module: ModuleState| {
        if MODULES.contains(&name.as_str()) {
            found.insert(name, module);
        }
    };
    for line in files.lines() {
        let path = line.split(':').next().unwrap_or_default();
        add(name_of(path), ModuleState::Available);
    }
    for line in built_in.lines() {
        add(name_of(line), ModuleState::BuiltIn);
    }
    for line in loaded.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        add(name.to_owned(), ModuleState::Loaded);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::sys::measured;

    #[test]
    fn options_that_do_not_concern_sharing_are_omitted() {
        let text = "#\n# Graphics\n#\nCONFIG_DRM=m\n# CONFIG_SW_SYNC is not set\nCONFIG_UDMABUF=y\nCONFIG_USB=y\n";
        let found = options(text.as_bytes()).unwrap();
        let expected = [("DRM", "m"), ("SW_SYNC", "n"), ("UDMABUF", "y")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn compressed_configuration_of_any_size_takes_bounded_memory() {
        let packed = |line: &[u8], count: usize| {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(b"CONFIG_DRM=m\n").unwrap();
            for _ in 0..count {
                packer.write_all(line).unwrap();
            }
            packer.write_all(b"\nCONFIG_UDMABUF=y\n").unwrap();
            packer.finish().unwrap()
        };
        // Each configuration decompresses to more than a MiB: one long line, very many short lines, or one option many times.
        for line in [
            &[b'#'; 1024][..],
            &[b'\n'; 1024],
            &b"CONFIG_DRM=y\nCONFIG_DRM=m\n".repeat(40),
        ] {
            let kept = packed(line, 1024);
            let (found, usage) = measured(|| unpacked(kept.as_slice()).unwrap());
            assert_eq!(found["UDMABUF"], "y");
            assert!(usage.peak_bytes < 256 << 10, "{}", usage.peak_bytes);
            let bomb = packed(line, 24 << 10);
            assert!(bomb.len() < 1 << 20);
            let (refused, usage) = measured(|| unpacked(bomb.as_slice()));
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
            assert!(usage.peak_bytes < 256 << 10, "{}", usage.peak_bytes);
        }
        assert!(unpacked(&b"no gzip"[..]).is_err());
    }

    #[test]
    fn modules_are_found_by_file_name_and_by_module_name() {
        let found = modules(
            "virtio_gpu 12 1 - Live 0x0\nusbcore 1 0 - Live 0x0\n",
            "kernel/drivers/dma-buf/udmabuf.ko\n",
            "kernel/drivers/gpu/drm/virtio/virtio-gpu.ko.xz: kernel/a.ko\nkernel/drivers/gpu/drm/vgem/vgem.ko.zst:\n",
        );
        let expected = [
            ("virtio_gpu", ModuleState::Loaded),
            ("udmabuf", ModuleState::BuiltIn),
            ("vgem", ModuleState::Available),
        ]
        .map(|(name, module)| (name.to_owned(), module));
        assert_eq!(found, BTreeMap::from(expected));
    }
}
