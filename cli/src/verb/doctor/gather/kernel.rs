//! The kernel's options and modules.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;

use super::super::snapshot::{Kernel, Module};
use super::text;

/// What sharing has to do with. All else is left out of recordings.
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
/// No configuration is longer: what is, is none.
const LONGEST: u64 = 16 << 20;

pub(super) fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let packed = File::open("/proc/config.gz").ok().and_then(|file| {
        let mut text = String::new();
        let read = GzDecoder::new(file).take(LONGEST).read_to_string(&mut text);
        read.ok().map(|_| text)
    });
    let modules = Path::new("/lib/modules").join(&release);
    let plain = [
        Path::new("/boot").join(format!("config-{release}")),
        modules.join("config"),
    ];
    let plain = plain.iter().map(text).find(|text| !text.is_empty());
    Kernel {
        options: packed.or(plain).map(|text| options(&text)),
        modules: self::modules(
            &text("/proc/modules"),
            &text(modules.join("modules.builtin")),
            &text(modules.join("modules.dep")),
        ),
        release,
    }
}

fn options(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            if let Some(name) = line.strip_prefix("# CONFIG_") {
                return Some((name.strip_suffix(" is not set")?, "n"));
            }
            line.strip_prefix("CONFIG_")?.split_once('=')
        })
        .filter(|(name, _)| OPTIONS.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn modules(loaded: &str, built_in: &str, files: &str) -> BTreeMap<String, Module> {
    let name_of = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split('.').next().unwrap_or(file);
        // Files have either, the kernel has underscores.
        name.replace('-', "_")
    };
    let mut found = BTreeMap::new();
    let mut add = |name: String, module: Module| {
        if MODULES.contains(&name.as_str()) {
            found.insert(name, module);
        }
    };
    for line in files.lines() {
        let path = line.split(':').next().unwrap_or_default();
        add(name_of(path), Module::Available);
    }
    for line in built_in.lines() {
        add(name_of(line), Module::BuiltIn);
    }
    for line in loaded.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        add(name.to_owned(), Module::Loaded);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_that_matter() {
        let found = options(
            "#\n# Graphics\n#\nCONFIG_DRM=m\n# CONFIG_SW_SYNC is not set\nCONFIG_UDMABUF=y\nCONFIG_USB=y\n",
        );
        let expected = [("DRM", "m"), ("SW_SYNC", "n"), ("UDMABUF", "y")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn modules_are_known_by_file_and_by_name() {
        let found = modules(
            "virtio_gpu 12 1 - Live 0x0\nusbcore 1 0 - Live 0x0\n",
            "kernel/drivers/dma-buf/udmabuf.ko\n",
            "kernel/drivers/gpu/drm/virtio/virtio-gpu.ko.xz: kernel/a.ko\nkernel/drivers/gpu/drm/vgem/vgem.ko.zst:\n",
        );
        let expected = [
            ("virtio_gpu", Module::Loaded),
            ("udmabuf", Module::BuiltIn),
            ("vgem", Module::Available),
        ]
        .map(|(name, module)| (name.to_owned(), module));
        assert_eq!(found, BTreeMap::from(expected));
    }
}
