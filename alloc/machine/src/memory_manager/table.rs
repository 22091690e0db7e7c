//! The memory managers of DRM drivers, from the sources of Linux 6.1, 6.12 and 7.3. An entry follows from the helpers that a
//! driver's `struct drm_driver` names, and from its functions `gem_prime_import_sg_table`, `gem_prime_import` and
//! `prime_fd_to_handle`.

use super::ManagerKind::{self, Dma, Own, Shmem, Ttm, VramHelper};
use super::MemoryManager;
use crate::KernelVersion;

const V6_1: KernelVersion = KernelVersion::new(6, 1);
const V6_12: KernelVersion = KernelVersion::new(6, 12);
const V7_3: KernelVersion = KernelVersion::new(7, 3);
/// The entry is true of the newest kernel whose source was read, and is assumed to be true of later kernels.
const LATER: Option<KernelVersion> = None;

/// Makes the entry of a driver that imports the memory of other devices and lets other devices attach to its buffers.
const fn shares(
    driver: &'static str,
    kind: ManagerKind,
    since: KernelVersion,
    until: Option<KernelVersion>,
    source_file: &'static str,
) -> MemoryManager {
    MemoryManager {
        driver,
        kind,
        shares: true,
        since,
        until,
        source_file,
    }
}

/// Makes the entry of a driver that imports only its own buffers and lets no other device attach to them.
const fn isolated(
    driver: &'static str,
    kind: ManagerKind,
    since: KernelVersion,
    until: Option<KernelVersion>,
    source_file: &'static str,
) -> MemoryManager {
    MemoryManager {
        shares: false,
        ..shares(driver, kind, since, until, source_file)
    }
}

#[rustfmt::skip]
pub(super) const TABLE: &[MemoryManager] = &[
    shares("adp", Dma, V7_3, LATER, "adp/adp_drv.c"),
    shares("amdgpu", Ttm, V6_1, LATER, "amd/amdgpu/amdgpu_drv.c"),
    shares("appletbdrm", Shmem, V7_3, LATER, "tiny/appletbdrm.c"),
    shares("arcpgu", Dma, V6_1, LATER, "tiny/arcpgu.c"),
    shares("armada-drm", Own, V6_1, LATER, "armada/armada_drv.c"),
    shares("aspeed-gfx-drm", Dma, V6_1, LATER, "aspeed/aspeed_gfx_drv.c"),
    isolated("ast", VramHelper, V6_1, Some(V6_1), "ast/ast_drv.c"),
    shares("ast", Shmem, V6_12, LATER, "ast/ast_drv.c"),
    shares("atmel-hlcdc", Dma, V6_1, LATER, "atmel-hlcdc/atmel_hlcdc_dc.c"),
    isolated("bochs-drm", VramHelper, V6_1, Some(V6_12), "tiny/bochs.c"),
    shares("bochs-drm", Shmem, V7_3, LATER, "tiny/bochs.c"),
    shares("cirrus", Shmem, V6_1, Some(V6_12), "tiny/cirrus.c"),
    shares("cirrus-qemu", Shmem, V7_3, LATER, "tiny/cirrus-qemu.c"),
    shares("corebootdrm", Shmem, V7_3, LATER, "sysfb/corebootdrm.c"),
    shares("efidrm", Shmem, V7_3, LATER, "sysfb/efidrm.c"),
    shares("etnaviv", Own, V6_1, LATER, "etnaviv/etnaviv_drv.c"),
    shares("exynos", Own, V6_1, LATER, "exynos/exynos_drm_drv.c"),
    shares("fsl-dcu-drm", Dma, V6_1, LATER, "fsl-dcu/fsl_dcu_drm_drv.c"),
    shares("gm12u320", Shmem, V6_1, LATER, "tiny/gm12u320.c"),
    isolated("gma500", Own, V6_1, LATER, "gma500/psb_drv.c"),
    shares("gud", Shmem, V6_1, LATER, "gud/gud_drv.c"),
    shares("hdlcd", Dma, V6_1, LATER, "arm/hdlcd_drv.c"),
    isolated("hibmc", VramHelper, V6_1, Some(V6_12), "hisilicon/hibmc/hibmc_drm_drv.c"),
    shares("hibmc", Shmem, V7_3, LATER, "hisilicon/hibmc/hibmc_drm_drv.c"),
    shares("hx8357d", Dma, V6_1, LATER, "tiny/hx8357d.c"),
    shares("hyperv_drm", Shmem, V6_1, LATER, "hyperv/hyperv_drm_drv.c"),
    shares("i915", Own, V6_1, LATER, "i915/i915_driver.c"),
    shares("ili9163", Dma, V6_1, LATER, "tiny/ili9163.c"),
    shares("ili9225", Dma, V6_1, LATER, "tiny/ili9225.c"),
    shares("ili9341", Dma, V6_1, LATER, "tiny/ili9341.c"),
    shares("ili9486", Dma, V6_1, LATER, "tiny/ili9486.c"),
    shares("imx-dcss", Dma, V6_1, LATER, "imx/dcss/dcss-kms.c"),
    shares("imx-drm", Dma, V6_1, LATER, "imx/ipuv3/imx-drm-core.c"),
    shares("imx-lcdc", Dma, V6_12, LATER, "imx/lcdc/imx-lcdc.c"),
    shares("imx-lcdif", Dma, V6_1, LATER, "mxsfb/lcdif_drv.c"),
    shares("imx8-dc", Dma, V7_3, LATER, "imx/dc/dc-drv.c"),
    shares("ingenic-drm", Dma, V6_1, LATER, "ingenic/ingenic-drm-drv.c"),
    shares("kirin", Dma, V6_1, LATER, "hisilicon/kirin/kirin_drm_ade.c"),
    shares("kmb-drm", Dma, V6_1, LATER, "kmb/kmb_drv.c"),
    shares("komeda", Dma, V6_1, LATER, "arm/display/komeda/komeda_kms.c"),
    shares("lima", Shmem, V6_1, LATER, "lima/lima_drv.c"),
    shares("logicvc-drm", Dma, V6_1, LATER, "logicvc/logicvc_drm.c"),
    shares("loongson", Ttm, V6_12, LATER, "loongson/lsdc_drv.c"),
    shares("mali-dp", Dma, V6_1, LATER, "arm/malidp_drv.c"),
    shares("mcde", Dma, V6_1, LATER, "mcde/mcde_drv.c"),
    shares("mediatek", Own, V6_1, Some(V6_12), "mediatek/mtk_drm_drv.c"),
    shares("mediatek", Dma, V7_3, LATER, "mediatek/mtk_drm_drv.c"),
    shares("meson", Dma, V6_1, LATER, "meson/meson_drv.c"),
    shares("mgag200", Shmem, V6_1, LATER, "mgag200/mgag200_drv.c"),
    shares("mi0283qt", Dma, V6_1, LATER, "tiny/mi0283qt.c"),
    shares("msm", Own, V6_1, LATER, "msm/msm_drv.c"),
    shares("msm-kms", Own, V7_3, LATER, "msm/msm_drv.c"),
    shares("mxsfb-drm", Dma, V6_1, LATER, "mxsfb/mxsfb_drv.c"),
    shares("nouveau", Ttm, V6_1, LATER, "nouveau/nouveau_drm.c"),
    shares("ofdrm", Shmem, V6_12, LATER, "sysfb/ofdrm.c"),
    shares("omapdrm", Own, V6_1, LATER, "omapdrm/omap_drv.c"),
    shares("panel-mipi-dbi", Dma, V6_1, LATER, "tiny/panel-mipi-dbi.c"),
    shares("panfrost", Shmem, V6_1, LATER, "panfrost/panfrost_drv.c"),
    shares("panthor", Shmem, V6_12, LATER, "panthor/panthor_drv.c"),
    shares("pixpaper", Shmem, V7_3, LATER, "tiny/pixpaper.c"),
    shares("pl111", Dma, V6_1, LATER, "pl111/pl111_drv.c"),
    shares("powervr", Shmem, V6_12, LATER, "imagination/pvr_drv.c"),
    isolated("qxl", Ttm, V6_1, LATER, "qxl/qxl_drv.c"),
    shares("radeon", Ttm, V6_1, LATER, "radeon/radeon_drv.c"),
    shares("rcar-du", Dma, V6_1, LATER, "renesas/rcar-du/rcar_du_drv.c"),
    shares("repaper", Dma, V6_1, LATER, "tiny/repaper.c"),
    shares("rockchip", Own, V6_1, LATER, "rockchip/rockchip_drm_drv.c"),
    shares("rzg2l-du", Dma, V6_12, LATER, "renesas/rz-du/rzg2l_du_drv.c"),
    shares("sharp_memory_display", Dma, V7_3, LATER, "tiny/sharp-memory.c"),
    shares("shmob-drm", Dma, V6_1, LATER, "renesas/shmobile/shmob_drm_drv.c"),
    shares("simpledrm", Shmem, V6_1, LATER, "sysfb/simpledrm.c"),
    shares("sitronix_st7920", Shmem, V7_3, LATER, "sitronix/st7920.c"),
    shares("sprd", Dma, V6_1, LATER, "sprd/sprd_drm.c"),
    shares("ssd130x", Shmem, V6_1, LATER, "solomon/ssd130x.c"),
    shares("st7571", Shmem, V7_3, LATER, "sitronix/st7571.c"),
    shares("st7586", Dma, V6_1, LATER, "sitronix/st7586.c"),
    shares("st7735r", Dma, V6_1, LATER, "sitronix/st7735r.c"),
    shares("sti", Dma, V6_1, LATER, "sti/sti_drv.c"),
    shares("stm", Dma, V6_1, LATER, "stm/drv.c"),
    shares("sun4i-drm", Dma, V6_1, LATER, "sun4i/sun4i_drv.c"),
    shares("tegra", Own, V6_1, LATER, "tegra/drm.c"),
    shares("tidss", Dma, V6_1, LATER, "tidss/tidss_drv.c"),
    shares("tilcdc", Dma, V6_1, LATER, "tilcdc/tilcdc_drv.c"),
    shares("tve200", Dma, V6_1, LATER, "tve200/tve200_drv.c"),
    shares("udl", Shmem, V6_1, LATER, "udl/udl_drv.c"),
    shares("v3d", Shmem, V6_1, LATER, "v3d/v3d_drv.c"),
    isolated("vboxvideo", VramHelper, V6_1, LATER, "vboxvideo/vbox_drv.c"),
    shares("vc4", Dma, V6_1, LATER, "vc4/vc4_drv.c"),
    shares("verisilicon", Dma, V7_3, LATER, "verisilicon/vs_drm.c"),
    shares("vesadrm", Shmem, V7_3, LATER, "sysfb/vesadrm.c"),
    shares("vgem", Shmem, V6_1, LATER, "vgem/vgem_drv.c"),
    shares("virtio_gpu", Shmem, V6_1, LATER, "virtio/virtgpu_drv.c"),
    shares("vkms", Shmem, V6_1, LATER, "vkms/vkms_drv.c"),
    isolated("vmwgfx", Ttm, V6_1, Some(V6_1), "vmwgfx/vmwgfx_drv.c"),
    shares("vmwgfx", Ttm, V6_12, LATER, "vmwgfx/vmwgfx_drv.c"),
    shares("xe", Ttm, V6_12, LATER, "xe/xe_device.c"),
    shares("xendrm-du", Own, V6_1, LATER, "xen/xen_drm_front.c"),
    shares("zynqmp-dpsub", Dma, V6_1, LATER, "xlnx/zynqmp_kms.c"),
];
