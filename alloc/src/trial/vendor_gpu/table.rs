//! The table of GPUs for which Mesa has a drm-shim.

use super::{Shim, VendorGpu};

const AMDGPU: Shim = Shim {
    library: "amdgpu",
    variable: Some("AMDGPU_GPU_ID"),
    manifest: "radeon_icd",
    driver: "RADV",
};

const FREEDRENO: Shim = Shim {
    library: "freedreno",
    variable: Some("FD_GPU_ID"),
    manifest: "freedreno_icd",
    driver: "Turnip",
};

const NOUVEAU: Shim = Shim {
    library: "nouveau",
    variable: Some("NOUVEAU_CHIPSET"),
    manifest: "nouveau_icd",
    driver: "NVK",
};

const ASAHI: Shim = Shim {
    library: "asahi",
    variable: None,
    manifest: "asahi_icd",
    driver: "Honeykrisp",
};

const fn gpu(
    name: &'static str,
    title: &'static str,
    shim: &'static Shim,
    value: &'static str,
) -> VendorGpu {
    VendorGpu {
        name,
        title,
        shim,
        value,
    }
}

/// The GPUs that the shims of Mesa 26.1 support, from the oldest to the newest of each vendor.
///
/// # References
/// Mesa, `src/amd/drm-shim/amdgpu_devices.c`, `src/freedreno/drm-shim/freedreno_noop.c`; the chipsets of NVIDIA are those of
/// `src/nouveau/winsys/nouveau_device.c`.
pub(super) const GPUS: &[VendorGpu] = &[
    gpu("stoney", "AMD Radeon R3 (GFX8)", &AMDGPU, "stoney"),
    gpu(
        "polaris10",
        "AMD Radeon RX 480 to 580 (GFX8)",
        &AMDGPU,
        "polaris10",
    ),
    gpu(
        "polaris12",
        "AMD Radeon RX 550 (GFX8)",
        &AMDGPU,
        "polaris12",
    ),
    gpu("vega10", "AMD Radeon RX Vega (GFX9)", &AMDGPU, "vega10"),
    gpu("vega20", "AMD Radeon VII (GFX9)", &AMDGPU, "vega20"),
    gpu("raven", "AMD Ryzen 2000 to 3000 (GFX9)", &AMDGPU, "raven"),
    gpu(
        "raven2",
        "AMD Ryzen 3000 mobile, Athlon 3000 (GFX9)",
        &AMDGPU,
        "raven2",
    ),
    gpu("renoir", "AMD Ryzen 4000 to 5000 (GFX9)", &AMDGPU, "renoir"),
    gpu(
        "navi10",
        "AMD Radeon RX 5700 (RDNA1, GFX10.1)",
        &AMDGPU,
        "navi10",
    ),
    gpu(
        "navi21",
        "AMD Radeon RX 6800 to 6950 (RDNA2, GFX10.3)",
        &AMDGPU,
        "navi21",
    ),
    gpu(
        "vangogh",
        "AMD Steam Deck (RDNA2, GFX10.3)",
        &AMDGPU,
        "vangogh",
    ),
    gpu(
        "rembrandt",
        "AMD Ryzen 6000 (RDNA2, GFX10.3)",
        &AMDGPU,
        "rembrandt",
    ),
    gpu(
        "raphael",
        "AMD Ryzen 7000 desktop, Mendocino (RDNA2, GFX10.3)",
        &AMDGPU,
        "raphael_mendocino",
    ),
    gpu(
        "navi31",
        "AMD Radeon RX 7900 (RDNA3, GFX11)",
        &AMDGPU,
        "navi31",
    ),
    gpu(
        "navi33",
        "AMD Radeon RX 7600 (RDNA3, GFX11)",
        &AMDGPU,
        "navi33",
    ),
    gpu(
        "phoenix",
        "AMD Ryzen 7040 to 8040 (RDNA3, GFX11)",
        &AMDGPU,
        "phoenix",
    ),
    gpu(
        "strix1",
        "AMD Ryzen AI 300 (RDNA3.5, GFX11.5)",
        &AMDGPU,
        "strix1",
    ),
    gpu(
        "gfx1201",
        "AMD Radeon RX 9070 (RDNA4, GFX12)",
        &AMDGPU,
        "gfx1201",
    ),
    gpu("a618", "Qualcomm Adreno 618", &FREEDRENO, "618"),
    gpu(
        "a630",
        "Qualcomm Adreno 630 (Snapdragon 845)",
        &FREEDRENO,
        "630",
    ),
    gpu(
        "a660",
        "Qualcomm Adreno 660 (Snapdragon 888)",
        &FREEDRENO,
        "660",
    ),
    gpu(
        "a730",
        "Qualcomm Adreno 730 (Snapdragon 8 Gen 1)",
        &FREEDRENO,
        "730",
    ),
    gpu(
        "a740",
        "Qualcomm Adreno 740 (Snapdragon 8 Gen 2)",
        &FREEDRENO,
        "740",
    ),
    gpu(
        "a750",
        "Qualcomm Adreno 750 (Snapdragon 8 Gen 3)",
        &FREEDRENO,
        "750",
    ),
    gpu(
        "a830",
        "Qualcomm Adreno 830 (Snapdragon 8 Elite)",
        &FREEDRENO,
        "830",
    ),
    gpu(
        "gk104",
        "NVIDIA GeForce GTX 600 to 700 (Kepler)",
        &NOUVEAU,
        "e4",
    ),
    gpu("gm107", "NVIDIA GeForce GTX 750 (Maxwell)", &NOUVEAU, "117"),
    gpu(
        "gm204",
        "NVIDIA GeForce GTX 970 to 980 (Maxwell)",
        &NOUVEAU,
        "124",
    ),
    gpu(
        "gp104",
        "NVIDIA GeForce GTX 1070 to 1080 (Pascal)",
        &NOUVEAU,
        "134",
    ),
    gpu("gv100", "NVIDIA Titan V (Volta)", &NOUVEAU, "140"),
    gpu(
        "tu104",
        "NVIDIA GeForce RTX 2070 to 2080 (Turing)",
        &NOUVEAU,
        "164",
    ),
    gpu("tu116", "NVIDIA GeForce GTX 1660 (Turing)", &NOUVEAU, "168"),
    gpu(
        "ga102",
        "NVIDIA GeForce RTX 3080 to 3090 (Ampere)",
        &NOUVEAU,
        "172",
    ),
    gpu("ga106", "NVIDIA GeForce RTX 3060 (Ampere)", &NOUVEAU, "176"),
    gpu("m1", "Apple M1 (G13G)", &ASAHI, ""),
];
