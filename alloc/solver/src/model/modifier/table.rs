//! The table of all modifiers with a name, by vendor.
//!
//! # References
//! Linux 7.3, `include/uapi/drm/drm_fourcc.h`, which is the authoritative list.

use super::family::{BitRange, Family, Field, Values, Written};

const INTEL: u64 = 0x01 << 56;
const AMD: u64 = 0x02 << 56;
const NVIDIA: u64 = 0x03 << 56;
const SAMSUNG: u64 = 0x04 << 56;
const QCOM: u64 = 0x05 << 56;
const VIVANTE: u64 = 0x06 << 56;
const BROADCOM: u64 = 0x07 << 56;
const ARM: u64 = 0x08 << 56;
const ALLWINNER: u64 = 0x09 << 56;
const AMLOGIC: u64 = 0x0a << 56;
const MTK: u64 = 0x0b << 56;
const APPLE: u64 = 0x0c << 56;

/// The type of Arm's modifiers is in the four bits below the vendor's number.
const ARM_MISC: u64 = ARM | 0x1 << 52;
const ARM_AFRC: u64 = ARM | 0x2 << 52;

/// Makes the entry for a modifier without fields.
const fn plain(name: &'static str, code: u64) -> Family {
    with(name, code, &[])
}

const fn with(name: &'static str, code: u64, fields: &'static [Field]) -> Family {
    Family { name, code, fields }
}

/// Makes a field that consists of one range of bits.
macro_rules! field {
    ($name:literal, $first:literal, $count:literal, $values:expr, $written:expr) => {
        Field {
            name: $name,
            bits: &[BitRange {
                first: $first,
                count: $count,
            }],
            values: $values,
            written: $written,
        }
    };
}

macro_rules! flag {
    ($name:literal, $bit:literal) => {
        field!($name, $bit, 1, Values::Flag, Written::NotZero)
    };
}

/// All families of modifiers. A modifier belongs to the first family that can decode it, so special families precede general
/// ones.
pub(super) static FAMILIES: &[Family] = &[
    plain("INTEL_X_TILED", INTEL | 1),
    plain("INTEL_Y_TILED", INTEL | 2),
    plain("INTEL_Yf_TILED", INTEL | 3),
    plain("INTEL_Y_TILED_CCS", INTEL | 4),
    plain("INTEL_Yf_TILED_CCS", INTEL | 5),
    plain("INTEL_Y_TILED_GEN12_RC_CCS", INTEL | 6),
    plain("INTEL_Y_TILED_GEN12_MC_CCS", INTEL | 7),
    plain("INTEL_Y_TILED_GEN12_RC_CCS_CC", INTEL | 8),
    plain("INTEL_4_TILED", INTEL | 9),
    plain("INTEL_4_TILED_DG2_RC_CCS", INTEL | 10),
    plain("INTEL_4_TILED_DG2_MC_CCS", INTEL | 11),
    plain("INTEL_4_TILED_DG2_RC_CCS_CC", INTEL | 12),
    plain("INTEL_4_TILED_MTL_RC_CCS", INTEL | 13),
    plain("INTEL_4_TILED_MTL_MC_CCS", INTEL | 14),
    plain("INTEL_4_TILED_MTL_RC_CCS_CC", INTEL | 15),
    plain("INTEL_4_TILED_LNL_CCS", INTEL | 16),
    plain("INTEL_4_TILED_BMG_CCS", INTEL | 17),
    with("AMD", AMD, AMD_GFX6),
    with("AMD", AMD, AMD_GFX9),
    with("AMD", AMD, AMD_GFX11),
    with("AMD", AMD, AMD_GFX12),
    plain("NVIDIA_TEGRA_TILED", NVIDIA | 1),
    // Block-linear modifiers without a page kind. These are the original modifiers, before page kinds were added.
    with(
        "NVIDIA_16BX2_BLOCK",
        NVIDIA | 0x10,
        &[field!("v", 0, 4, Values::Number(5), Written::Always)],
    ),
    with("NVIDIA_BLOCK_LINEAR_2D", NVIDIA | 0x10, BLOCK_LINEAR),
    plain("SAMSUNG_64_32_TILE", SAMSUNG | 1),
    plain("SAMSUNG_16_16_TILE", SAMSUNG | 2),
    plain("QCOM_COMPRESSED", QCOM | 1),
    plain("QCOM_TILED2", QCOM | 2),
    plain("QCOM_TILED3", QCOM | 3),
    with("VIVANTE_TILED", VIVANTE | 1, TILE_STATUS),
    with("VIVANTE_SUPER_TILED", VIVANTE | 2, TILE_STATUS),
    with("VIVANTE_SPLIT_TILED", VIVANTE | 3, TILE_STATUS),
    with("VIVANTE_SPLIT_SUPER_TILED", VIVANTE | 4, TILE_STATUS),
    plain("BROADCOM_VC4_T_TILED", BROADCOM | 1),
    with("BROADCOM_SAND32", BROADCOM | 2, COLUMNS),
    with("BROADCOM_SAND64", BROADCOM | 3, COLUMNS),
    with("BROADCOM_SAND128", BROADCOM | 4, COLUMNS),
    with("BROADCOM_SAND256", BROADCOM | 5, COLUMNS),
    plain("BROADCOM_UIF", BROADCOM | 6),
    with("ARM_AFBC", ARM, AFBC),
    plain("ARM_16X16_BLOCK_U_INTERLEAVED", ARM_MISC | 1),
    plain("ARM_INTERLEAVED_64K", ARM_MISC | 2),
    with("ARM_AFRC", ARM_AFRC, AFRC),
    plain("ALLWINNER_TILED", ALLWINNER | 1),
    with("AMLOGIC_FBC", AMLOGIC, AMLOGIC_FBC),
    with("MTK", MTK, MTK_LAYOUT),
    plain("APPLE_GPU_TILED", APPLE | 1),
    plain("APPLE_GPU_TILED_COMPRESSED", APPLE | 2),
];

/// Other names of the same modifiers, such as marketing names or names of other vendors.
pub(super) static ALIASES: &[(&str, &str)] = &[
    ("GENERIC_16_16_TILE", "SAMSUNG_16_16_TILE"),
    ("QCOM_UBWC", "QCOM_COMPRESSED"),
    ("MTK_16L_32S_TILE", "MTK(TILE=16L32S)"),
    ("NVIDIA_16BX2_BLOCK_ONE_GOB", "NVIDIA_16BX2_BLOCK(v=0)"),
    ("NVIDIA_16BX2_BLOCK_TWO_GOB", "NVIDIA_16BX2_BLOCK(v=1)"),
    ("NVIDIA_16BX2_BLOCK_FOUR_GOB", "NVIDIA_16BX2_BLOCK(v=2)"),
    ("NVIDIA_16BX2_BLOCK_EIGHT_GOB", "NVIDIA_16BX2_BLOCK(v=3)"),
    ("NVIDIA_16BX2_BLOCK_SIXTEEN_GOB", "NVIDIA_16BX2_BLOCK(v=4)"),
    (
        "NVIDIA_16BX2_BLOCK_THIRTYTWO_GOB",
        "NVIDIA_16BX2_BLOCK(v=5)",
    ),
];

/// The bit for AMD's delta colour compression (DCC). If it is set, the text contains the fields of DCC.
const DCC: u64 = 1 << 13;

/// Defines the fields of AMD's modifiers from GFX9 on. They are equal for all generations except for the names of the tilings.
macro_rules! amd {
    ($versions:expr, $tiles:expr) => {
        &[
            field!(
                "TILE_VERSION",
                0,
                8,
                Values::Named($versions),
                Written::Always
            ),
            field!("TILE", 8, 5, Values::Named($tiles), Written::Always),
            flag!("DCC", 13),
            flag!("DCC_RETILE", 14),
            flag!("DCC_PIPE_ALIGN", 15),
            flag!("DCC_INDEPENDENT_64B", 16),
            flag!("DCC_INDEPENDENT_128B", 17),
            field!(
                "DCC_MAX_COMPRESSED_BLOCK",
                18,
                2,
                Values::Named(&[(0, "64B"), (1, "128B"), (2, "256B")]),
                Written::With(DCC)
            ),
            flag!("DCC_CONSTANT_ENCODE", 20),
            field!("PIPE_XOR_BITS", 21, 3, Values::Number(7), Written::NotZero),
            field!("BANK_XOR_BITS", 24, 3, Values::Number(7), Written::NotZero),
            field!("PACKERS", 27, 3, Values::Number(7), Written::NotZero),
            field!("RB", 30, 3, Values::Number(7), Written::NotZero),
            field!("PIPE", 33, 3, Values::Number(7), Written::NotZero),
        ]
    };
}

const AMD_GFX9: &[Field] = amd!(
    &[(1, "GFX9"), (2, "GFX10"), (3, "GFX10_RBPLUS")],
    &[
        (9, "64K_S"),
        (10, "64K_D"),
        (22, "4K_D_X"),
        (25, "64K_S_X"),
        (26, "64K_D_X"),
        (27, "64K_R_X"),
    ]
);

const AMD_GFX11: &[Field] = amd!(
    &[(4, "GFX11")],
    &[
        (9, "64K_S"),
        (10, "64K_D"),
        (22, "4K_D_X"),
        (25, "64K_S_X"),
        (26, "64K_D_X"),
        (27, "64K_R_X"),
        (31, "256K_R_X"),
    ]
);

const AMD_GFX12: &[Field] = amd!(
    &[(5, "GFX12")],
    &[(1, "256B_2D"), (2, "4K_2D"), (3, "64K_2D"), (4, "256K_2D"),]
);

/// The bit of the two-dimensional tilings of GFX6 to GFX8. Only these tilings depend on banks and pipes.
const MACRO_TILED: u64 = 4 << 8;

const AMD_GFX6: &[Field] = &[
    field!(
        "TILE_VERSION",
        0,
        8,
        Values::Named(&[(0, "GFX6")]),
        Written::Always
    ),
    field!(
        "TILE",
        8,
        5,
        Values::Named(&[(2, "1D_TILED_THIN1"), (4, "2D_TILED_THIN1")]),
        Written::Always
    ),
    flag!("DCC", 13),
    field!(
        "MICROTILE",
        14,
        3,
        Values::Named(&[(0, "DISPLAY"), (1, "THIN")]),
        Written::Always
    ),
    field!(
        "PIPE_CONFIG",
        17,
        5,
        Values::Named(&[
            (0x0, "P2"),
            (0x4, "P4_8x16"),
            (0x5, "P4_16x16"),
            (0x6, "P4_16x32"),
            (0x7, "P4_32x32"),
            (0x8, "P8_16x16_8x16"),
            (0x9, "P8_16x32_8x16"),
            (0xa, "P8_32x32_8x16"),
            (0xb, "P8_16x32_16x16"),
            (0xc, "P8_32x32_16x16"),
            (0xd, "P8_32x32_16x32"),
            (0xe, "P8_32x64_32x32"),
            (0x10, "P16_32x32_8x16"),
            (0x11, "P16_32x32_16x16"),
        ]),
        Written::With(MACRO_TILED)
    ),
    field!(
        "TILE_SPLIT",
        22,
        3,
        Values::Named(&[
            (0, "64B"),
            (1, "128B"),
            (2, "256B"),
            (3, "512B"),
            (4, "1KB"),
            (5, "2KB"),
            (6, "4KB"),
        ]),
        Written::With(MACRO_TILED)
    ),
    field!(
        "BANK_WIDTH",
        25,
        2,
        Values::Named(&[(0, "1"), (1, "2"), (2, "4"), (3, "8")]),
        Written::With(MACRO_TILED)
    ),
    field!(
        "BANK_HEIGHT",
        27,
        2,
        Values::Named(&[(0, "1"), (1, "2"), (2, "4"), (3, "8")]),
        Written::With(MACRO_TILED)
    ),
    field!(
        "MACRO_TILE_ASPECT",
        29,
        2,
        Values::Named(&[(0, "1:1"), (1, "4:1"), (2, "16:1"), (3, "64:1")]),
        Written::With(MACRO_TILED)
    ),
    field!(
        "NUM_BANKS",
        31,
        2,
        Values::Named(&[(0, "2"), (1, "4"), (2, "8"), (3, "16")]),
        Written::With(MACRO_TILED)
    ),
];

/// The fields of NVIDIA's block-linear modifiers: block height, page kind, page kind generation, sector layout and compression.
/// Reserved values are not decoded.
const BLOCK_LINEAR: &[Field] = &[
    field!("h", 0, 4, Values::Number(15), Written::Always),
    field!("k", 12, 8, Values::Hex, Written::Always),
    field!("g", 20, 2, Values::Number(2), Written::Always),
    Field {
        name: "s",
        bits: &[
            BitRange {
                first: 22,
                count: 1,
            },
            BitRange {
                first: 26,
                count: 2,
            },
        ],
        values: Values::Number(3),
        written: Written::Always,
    },
    field!("c", 23, 3, Values::Number(4), Written::Always),
];

/// The fields for Vivante's tile status buffer, which records the cleared and compressed tiles, and for Vivante's compression.
const TILE_STATUS: &[Field] = &[
    field!(
        "TS",
        48,
        4,
        Values::Bare(&[
            (0, ""),
            (1, "TS_64_4"),
            (2, "TS_64_2"),
            (3, "TS_128_4"),
            (4, "TS_256_4"),
        ]),
        Written::NotZero
    ),
    field!(
        "COMP",
        52,
        4,
        Values::Bare(&[(0, ""), (1, "DEC400")]),
        Written::NotZero
    ),
];

/// The field for the height of a column in rows, for Broadcom's SAND modifiers.
const COLUMNS: &[Field] = &[field!(
    "COL_HEIGHT",
    8,
    48,
    Values::Number(0xffff_ffff_ffff),
    Written::NotZero
)];

const AFBC: &[Field] = &[
    field!(
        "BLOCK_SIZE",
        0,
        4,
        Values::Bare(&[(1, "16x16"), (2, "32x8"), (3, "64x4"), (4, "32x8_64x4")]),
        Written::Always
    ),
    flag!("YTR", 4),
    flag!("SPLIT", 5),
    flag!("SPARSE", 6),
    flag!("CBR", 7),
    flag!("TILED", 8),
    flag!("SC", 9),
    flag!("DB", 10),
    flag!("BCH", 11),
    flag!("USM", 12),
];

/// The fields for the bytes of a coding unit in the first plane and in the other planes. For an image with a single plane, the
/// second field is 0.
const AFRC: &[Field] = &[
    field!(
        "CU_SIZE_P0",
        0,
        4,
        Values::Named(&[(1, "16"), (2, "24"), (3, "32")]),
        Written::Always
    ),
    field!(
        "CU_SIZE_P12",
        4,
        4,
        Values::Named(&[(0, ""), (1, "16"), (2, "24"), (3, "32")]),
        Written::NotZero
    ),
    field!(
        "LAYOUT",
        8,
        1,
        Values::Bare(&[(0, "ROT"), (1, "SCAN")]),
        Written::Always
    ),
];

const AMLOGIC_FBC: &[Field] = &[
    field!(
        "LAYOUT",
        0,
        8,
        Values::Bare(&[(1, "BASIC"), (2, "SCATTER")]),
        Written::Always
    ),
    flag!("MEM_SAVING", 8),
];

const MTK_LAYOUT: &[Field] = &[
    field!(
        "TILE",
        0,
        8,
        Values::Named(&[(0, "NONE"), (1, "16L32S")]),
        Written::Always
    ),
    field!(
        "COMPRESS",
        8,
        8,
        Values::Named(&[(0, "NONE"), (1, "V1")]),
        Written::NotZero
    ),
    field!(
        "10BIT_LAYOUT",
        16,
        8,
        Values::Named(&[(0, "PACKED"), (1, "LSBTILED"), (2, "LSBRASTER")]),
        Written::NotZero
    ),
];
