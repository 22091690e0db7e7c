//! The number of memory planes of an image with a modifier. Compression can store its metadata in further planes.

use super::{DecodedModifier, FormatModifier, Modifier};

impl FormatModifier {
    /// Returns how many memory planes an image has; `None` if this crate does not know the number.
    ///
    /// In addition to the planes of the pixel format, compression may need planes for metadata and for a clear colour.
    ///
    /// # References
    /// The comments on each modifier in `drm_fourcc.h`.
    #[must_use]
    pub fn memory_planes(self) -> Option<u32> {
        let colour = u32::try_from(self.fourcc.info()?.planes.len()).ok()?;
        if self.modifier == Modifier::LINEAR {
            return Some(colour);
        }
        let decoded = self.modifier.decode()?;
        match self.modifier.vendor()? {
            "INTEL" => intel(decoded.name, colour),
            "AMD" => amd(&decoded, colour),
            "VIVANTE" => Some(colour.saturating_add(u32::from(has(&decoded, "TS")))),
            // All data of a picture are in one memory plane, also if the pixel format has more planes in a linear layout.
            "AMLOGIC" => Some(1),
            _ => Some(colour),
        }
    }
}

/// Returns whether a field of the modifier is not 0.
fn has(decoded: &DecodedModifier, field: &str) -> bool {
    decoded.field(field).is_some_and(|value| value > 0)
}

/// Returns the number of memory planes of an Intel modifier for a format with `colour` colour planes.
fn intel(name: &str, colour: u32) -> Option<u32> {
    match name {
        // These GPUs store the compression metadata in memory that belongs to no plane. Only the clear colour has a plane.
        "INTEL_4_TILED_DG2_RC_CCS_CC" => colour.checked_add(1),
        "INTEL_4_TILED_DG2_RC_CCS"
        | "INTEL_4_TILED_DG2_MC_CCS"
        | "INTEL_4_TILED_LNL_CCS"
        | "INTEL_4_TILED_BMG_CCS" => Some(colour),
        _ if name.ends_with("_CCS_CC") => colour.checked_mul(2)?.checked_add(1),
        _ if name.ends_with("_CCS") => colour.checked_mul(2),
        _ => Some(colour),
    }
}

/// Returns the number of memory planes of an AMD modifier for a format with `colour` colour planes; `None` if it is not known.
fn amd(decoded: &DecodedModifier, colour: u32) -> Option<u32> {
    // Only GFX9 to GFX11 have planes for DCC metadata. GFX6 to GFX8 share images without metadata. GFX12 stores the metadata in
    // memory that belongs to no plane.
    let is_beside = matches!(decoded.field("TILE_VERSION")?, 1..=4);
    match (is_beside && has(decoded, "DCC"), colour) {
        (false, _) => Some(colour),
        (true, 1) => Some(if has(decoded, "DCC_RETILE") { 3 } else { 2 }),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{FormatModifier, Fourcc, Modifier};

    fn planes(fourcc: Fourcc, modifier: &str) -> Option<u32> {
        FormatModifier::new(fourcc, modifier.parse().unwrap()).memory_planes()
    }

    #[test]
    fn compression_has_the_memory_planes_that_the_kernel_documents() {
        let rgb = Fourcc::XRGB8888;
        for (modifier, expected) in [
            ("LINEAR", 1),
            ("INTEL_X_TILED", 1),
            ("INTEL_Y_TILED_CCS", 2),
            ("INTEL_Y_TILED_GEN12_RC_CCS", 2),
            ("INTEL_Y_TILED_GEN12_RC_CCS_CC", 3),
            ("INTEL_4_TILED_DG2_RC_CCS", 1),
            ("INTEL_4_TILED_DG2_RC_CCS_CC", 2),
            ("INTEL_4_TILED_MTL_RC_CCS_CC", 3),
            ("INTEL_4_TILED_BMG_CCS", 1),
            ("AMD(TILE_VERSION=GFX11,TILE=256K_R_X)", 1),
            (
                "AMD(TILE_VERSION=GFX11,TILE=256K_R_X,DCC,DCC_MAX_COMPRESSED_BLOCK=128B)",
                2,
            ),
            (
                "AMD(TILE_VERSION=GFX10,TILE=64K_R_X,DCC,DCC_RETILE,DCC_MAX_COMPRESSED_BLOCK=64B)",
                3,
            ),
            (
                "AMD(TILE_VERSION=GFX12,TILE=256K_2D,DCC,DCC_MAX_COMPRESSED_BLOCK=128B)",
                1,
            ),
            ("VIVANTE_SUPER_TILED", 1),
            ("VIVANTE_SUPER_TILED(TS_64_4)", 2),
            ("QCOM_COMPRESSED", 1),
            ("NVIDIA_BLOCK_LINEAR_2D(h=4,k=0x06,g=2,s=1,c=0)", 1),
            ("ARM_AFBC(16x16,SPARSE)", 1),
        ] {
            assert_eq!(planes(rgb, modifier), Some(expected), "{modifier}");
        }
        assert_eq!(planes(Fourcc::NV12, "INTEL_Y_TILED_GEN12_MC_CCS"), Some(4));
        assert_eq!(planes(Fourcc::NV12, "INTEL_4_TILED_MTL_MC_CCS"), Some(4));
        assert_eq!(planes(Fourcc::NV12, "INTEL_4_TILED_DG2_MC_CCS"), Some(2));
        assert_eq!(planes(Fourcc::NV12, "QCOM_COMPRESSED"), Some(2));
    }

    #[test]
    fn planes_of_unknown_modifiers_and_formats_are_unknown() {
        let rgb = Fourcc::XRGB8888;
        assert_eq!(planes(rgb, "INVALID"), None);
        assert_eq!(planes(rgb, "0x0c00000000000003"), None);
        assert_eq!(planes(Fourcc::of(*b"YU08"), "ARM_AFBC(16x16,SPARSE)"), None);
        let both = "AMD(TILE_VERSION=GFX11,TILE=256K_R_X,DCC,DCC_MAX_COMPRESSED_BLOCK=128B)";
        assert_eq!(planes(Fourcc::NV12, both), None);
        assert!(Modifier::named().count() > 40);
    }
}
