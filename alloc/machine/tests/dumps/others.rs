//! Dumps of Vulkan devices, compositors, lists of dma-bufs and devicetrees.

use covalent_machine::devicetree::Tree;
use covalent_machine::dump::{DumpFile, DumpKind, import};
use covalent_solver::constraint::{Interface, Role};

use super::{dumps, formats, imported, imported_text, names, participant, sources, unknown};

fn missing(machine: &covalent_machine::Machine) -> String {
    let all = machine.declared.iter().flat_map(|own| &own.missing);
    let all: Vec<String> = all
        .map(|own| format!("{}: {}", own.name, own.reason))
        .collect();
    all.join("; ")
}

#[test]
fn table_of_a_compositor_is_its_formats() {
    let machine = imported("11-table-of-weston-info");
    let name = "compositor (composited)";
    assert_eq!(names(&machine), [name]);
    assert_eq!(
        participant(&machine, name).participant.role,
        Role::Compositor
    );
    let mut pairs = formats(&machine, name);
    pairs.sort();
    assert_eq!(
        pairs,
        [
            "AR24 LINEAR",
            "XR24 INTEL_Y_TILED",
            "XR24 LINEAR",
            "YV24 INTEL_X_TILED"
        ]
    );
}

#[test]
fn implicit_modifier_is_read_from_its_number() {
    let machine = imported("12-tranche-with-implicit-modifiers");
    let mut pairs = formats(&machine, "compositor (composited)");
    pairs.sort();
    assert_eq!(
        pairs,
        [
            "NV16 INVALID",
            "NV16 LINEAR",
            "P012 INTEL_X_TILED",
            "P012 INVALID",
            "P012 LINEAR"
        ]
    );
}

#[test]
fn tranche_for_the_display_is_a_participant_of_its_own() {
    let text = "interface: 'zwp_linux_dmabuf_v1', version: 5, name: 26\n\tmain device: 0xE280\n\ttranche\n\t\ttarget device: 0xE280\n\t\tflags: scanout\n\t\tformats (fourcc) and modifiers (names):\n\t\t0x34325258 = 'XR24'; 0x0100000000000001 = INTEL_X_TILED\n\ttranche\n\t\tflags: none\n\t\tformats (fourcc) and modifiers (names):\n\t\t0x34325258 = 'XR24'; 0x0000000000000000 = LINEAR\n";
    let machine = imported_text(text).unwrap();
    assert_eq!(
        formats(&machine, "compositor (composited)"),
        ["XR24 LINEAR"]
    );
    let shown = formats(&machine, "compositor (to the display)");
    assert_eq!(shown, ["XR24 INTEL_X_TILED"]);
    let error = imported_text(&text.replace("; 0x0100000000000001", "; 0x1 0x2 0x3")).unwrap_err();
    assert!(
        error.starts_with("text, line 7: expected a format and a modifier"),
        "{error}"
    );
}

#[test]
fn list_of_dma_bufs_shows_the_heaps_that_exported() {
    let machine = imported("13-list-of-dma-bufs");
    assert_eq!(sources(&machine), [""; 0]);
    let text = "Dma-buf Objects:\n00004096\t00000002\t00080007\t00000001\tsystem\t00000018\t<none>\n\tAttached Devices:\nTotal 0 devices attached\n00004096\t00000002\t00080007\t00000001\tudmabuf\t00000019\t<none>\n\tAttached Devices:\nTotal 0 devices attached\n\nTotal 2 objects, 8192 bytes\n";
    assert_eq!(
        sources(&imported_text(text).unwrap()),
        ["heap:system", "udmabuf"]
    );
    let error = imported_text(&text.replace("Total 2 objects", "Total 3 objects")).unwrap_err();
    assert!(
        error.starts_with("text, line 9: expected the list of dma-bufs"),
        "{error}"
    );
}

#[test]
fn list_of_dma_bufs_without_tabs_may_have_devices_whose_names_begin_with_a_digit() {
    let text = "Dma-buf Objects:\n00004096  00000002  00080007  00000001  system  00000018  <none>\n        Attached Devices:\n        0000:03:00.0\n        32e00000.isi\nTotal 2 devices attached\n\nTotal 1 objects, 4096 bytes\n";
    assert_eq!(sources(&imported_text(text).unwrap()), ["heap:system"]);
}

#[test]
fn vulkan_device_that_imports_no_images_is_missing_with_the_extension() {
    let machine = imported("14-vulkan-without-modifiers");
    assert_eq!(names(&machine), [""; 0]);
    let words = missing(&machine);
    assert!(
        words.contains("it lacks VK_EXT_image_drm_format_modifier"),
        "{words}"
    );
    let words = missing(&imported("15-vulkan-summary"));
    assert!(
        words.contains("RADV MULLINS") && words.contains("without --summary"),
        "{words}"
    );
}

#[test]
fn vulkan_device_has_the_formats_of_its_linear_images() {
    let machine = imported("16-vulkan-json-with-formats");
    let mut pairs = formats(&machine, "radv image");
    pairs.sort();
    assert_eq!(pairs, ["AR24 LINEAR", "XR24 LINEAR"]);
    let own = &participant(&machine, "radv image").participant;
    assert_eq!(own.interface, Some(Interface::Vulkan));
    let words = unknown(&machine, "radv image");
    assert!(
        words.contains("which modifiers the device imports"),
        "{words}"
    );
    let profile = "{\"capabilities\":{\"device\":{\"extensions\":{\"VK_EXT_image_drm_format_modifier\":2,\"VK_EXT_external_memory_dma_buf\":1},\"formats\":{\"VK_FORMAT_R8_UNORM\":{\"VkFormatProperties\":{\"linearTilingFeatures\":[\"VK_FORMAT_FEATURE_SAMPLED_IMAGE_BIT\"]}}}}}}";
    let machine = imported_text(profile).unwrap();
    assert_eq!(formats(&machine, "vulkan image"), ["R8 LINEAR"]);
}

#[test]
fn formats_of_a_group_have_the_features_below_it() {
    let text = "VULKANINFO\nGPU0:\n\tdeviceName = llvmpipe\n\tdeviceType = PHYSICAL_DEVICE_TYPE_CPU\n\tdriverName = llvmpipe\nDevice Extensions: count = 3\n\tVK_EXT_external_memory_dma_buf : extension revision 1\n\tVK_EXT_image_drm_format_modifier : extension revision 2\nCommon Format Group[0]:\n\tFORMAT_R8_UNORM\n\tFORMAT_R8G8B8A8_UNORM\n\tProperties:\n\t\tlinearTilingFeatures: count = 1\n\t\t\tFORMAT_FEATURE_2_SAMPLED_IMAGE_BIT\n\t\toptimalTilingFeatures: count = 0\nCommon Format Group[1]:\n\tFORMAT_B8G8R8A8_UNORM\n\tProperties:\n\t\tlinearTilingFeatures: count = 0\n\t\toptimalTilingFeatures: count = 1\n\t\t\tFORMAT_FEATURE_2_SAMPLED_IMAGE_BIT\n";
    let machine = imported_text(text).unwrap();
    let mut pairs = formats(&machine, "llvmpipe image");
    pairs.sort();
    assert_eq!(pairs, ["AB24 LINEAR", "R8 LINEAR", "XB24 LINEAR"]);
    assert!(participant(&machine, "llvmpipe image").participant.maps);
}

#[test]
fn vulkan_device_with_the_card_of_another_dump_is_the_same_device() {
    let card = "Node: /dev/dri/card1\nDriver: amdgpu (AMD) version 3.49.0\nDRM_CAP_PRIME = 3\n";
    let gpu = "VULKANINFO\nGPU0:\n\tdeviceName = AMD\n\tdriverName = radv\n\tprimaryMinor = 1\n\trenderMinor = 128\nDevice Extensions: count = 2\n\tVK_EXT_external_memory_dma_buf : extension revision 1\n\tVK_EXT_image_drm_format_modifier : extension revision 2\n";
    let file = |name, text: &'static str| DumpFile {
        name,
        bytes: text.as_bytes(),
    };
    let machine = import(&[file("gpu", gpu), file("card", card)]).unwrap();
    let image = &participant(&machine, "amdgpu image").participant.device;
    let importer = &participant(&machine, "amdgpu import").participant.device;
    assert!(image.same_device(importer), "{image} {importer}");
    assert_eq!(image.node, "/dev/dri/renderD128");
}

#[test]
fn vulkan_device_without_a_primary_node_is_not_the_first_card() {
    let card =
        "Node: /dev/dri/card0\nDriver: rockchip (Rockchip) version 1.0.0\nDRM_CAP_PRIME = 3\n";
    let text = "VULKANINFO\nGPU0:\n\tdeviceName = Mali\n\tdriverName = panvk\n\thasPrimary = false\n\thasRender = true\n\tprimaryMinor = 0\n\trenderMinor = 128\nDevice Extensions: count = 2\n\tVK_EXT_external_memory_dma_buf : extension revision 1\n\tVK_EXT_image_drm_format_modifier : extension revision 2\n";
    let profile = "{\"capabilities\":{\"device\":{\"extensions\":{\"VK_EXT_image_drm_format_modifier\":2,\"VK_EXT_external_memory_dma_buf\":1},\"properties\":{\"VkPhysicalDeviceDriverProperties\":{\"driverName\":\"panvk\"},\"VkPhysicalDeviceDrmPropertiesEXT\":{\"hasPrimary\":false,\"hasRender\":true,\"primaryMinor\":0,\"renderMinor\":128}}}}}";
    let file = |name, text: &'static str| DumpFile {
        name,
        bytes: text.as_bytes(),
    };
    for gpu in [text, profile] {
        let machine = import(&[file("gpu", gpu), file("card", card)]).unwrap();
        let image = &participant(&machine, "panvk image").participant.device;
        assert_eq!(image.node, "/dev/dri/renderD128");
        let importer = &participant(&machine, "rockchip import").participant.device;
        assert!(!image.same_device(importer), "{image} {importer}");
    }
}

#[test]
fn source_of_a_devicetree_gives_its_pools() {
    let machine = imported("17-devicetree-with-a-pool");
    assert_eq!(machine.name, "A board with a pool");
    let reserved = machine.devicetree.as_ref().unwrap();
    let region = &reserved.regions[0];
    assert_eq!(region.path, "/reserved-memory/buffer@0");
    assert_eq!(
        (region.window().lowest, region.window().highest),
        (0x3c00_0000, 0x3fff_ffff)
    );
    assert_eq!(reserved.users[0].node, "/camera@40000000");
    assert_eq!(reserved.users[0].regions, ["/reserved-memory/buffer@0"]);
}

#[test]
fn camera_has_the_node_of_the_devicetree_that_its_bus_names() {
    let camera = "Driver Info:\nDriver name : isi\nBus info : platform:32e00000.isi\nFormat Video Capture:\nWidth/Height : 8/8\nPixel Format : 'YUYV'\n";
    let tree = "/dts-v1/;\n/ {\n\tsoc {\n\t\tisi@32e00000 { };\n\t};\n};\n";
    let files = [("a", camera), ("b", tree)].map(|(name, text)| DumpFile {
        name,
        bytes: text.as_bytes(),
    });
    let machine = import(&files).unwrap();
    let node = participant(&machine, "isi capture").tree_node.as_deref();
    assert_eq!(node, Some("/soc/isi@32e00000"));
}

#[test]
fn sources_of_trees_are_read_as_what_dtc_compiled_of_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("trees");
    for name in ["pi-4", "camera-pool", "bare"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.dts"))).unwrap();
        let hex = std::fs::read_to_string(folder.join(format!("{name}.dtb.hex"))).unwrap();
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let compiled = Tree::from_flat(&bytes).unwrap();
        let own = Tree::from_source(&text).unwrap();
        let paths = |tree: &Tree| -> Vec<String> { tree.nodes().map(|node| node.path()).collect() };
        assert_eq!(paths(&own), paths(&compiled), "{name}");
        assert_eq!(
            covalent_machine::ReservedMemory::of(&own),
            covalent_machine::ReservedMemory::of(&compiled),
            "{name}"
        );
    }
}

#[test]
fn every_dump_is_of_the_kind_that_its_content_shows() {
    let kinds = |folder: &str| -> Vec<DumpKind> {
        super::files(&dumps().join(folder))
            .map(|path| DumpKind::detect(&std::fs::read(path).unwrap()).unwrap())
            .collect()
    };
    assert_eq!(
        kinds("05-in-formats-without-formats"),
        [DumpKind::DrmInfoText]
    );
    assert_eq!(
        kinds("12-tranche-with-implicit-modifiers"),
        [DumpKind::WaylandInfo]
    );
    assert_eq!(kinds("13-list-of-dma-bufs"), [DumpKind::Bufinfo]);
    assert_eq!(kinds("15-vulkan-summary"), [DumpKind::VulkaninfoText]);
    assert_eq!(
        kinds("16-vulkan-json-with-formats"),
        [DumpKind::VulkaninfoJson]
    );
    assert_eq!(
        kinds("17-devicetree-with-a-pool"),
        [DumpKind::DevicetreeSource]
    );
    assert_eq!(
        DumpKind::detect(b"\xd0\x0d\xfe\xed"),
        Some(DumpKind::DevicetreeBlob)
    );
    assert_eq!(
        DumpKind::detect(b"{\"format\": \"covalent-machine\", \"VK_EXT\": 1}"),
        None
    );
}
