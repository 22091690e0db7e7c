//! Tests of the dumps that take the most memory and work for their length.

use covalent_machine::dump::{DumpFile, import};

use super::{Bound, assert_bounded};

/// The memory bound that the documentation of `dump` states.
const BOUND: Bound = Bound {
    multiple: 64,
    constant: 64 << 10,
};

fn read(bytes: &[u8]) -> Result<(), String> {
    let file = DumpFile {
        name: "long",
        bytes,
    };
    import(&[file]).map(drop).map_err(|error| error.to_string())
}

/// Makes a text that begins with `head` and then repeats a line.
fn repeated(head: &'static str, line: &'static str) -> impl Fn(usize) -> Vec<u8> {
    move |bytes: usize| (head.to_owned() + &line.repeat(bytes / line.len())).into_bytes()
}

#[test]
fn dump_of_any_length_takes_bounded_memory_and_work() {
    let plane = "Node: /dev/dri/card0\nDriver: x (y) version 1.0.0\nDRM_CAP_ADDFB2_MODIFIERS = 1\nPlanes\nPlane 0\nObject ID: 1\n\"IN_FORMATS\": blob = 1\nX (0x0)\n";
    for (name, head, line) in [
        ("formats", plane, "A (0x34325258)\n"),
        ("modifiers", plane, "X (0x1)\n"),
        ("planes", plane, "Plane 1\n"),
        (
            "cards",
            "Node: /dev/x\nDriver: x (y) version 1\n",
            "Node: /\n",
        ),
        (
            "videos",
            "Driver Info\nDriver name: x\n",
            "Driver Info\nDriver name: x\n",
        ),
        (
            "sizes",
            "ioctl: VIDIOC_ENUM_FMT\nType: Video Capture\n[0]: 'YUYV'\n",
            "Size: Discrete 8x8\n",
        ),
        (
            "listed",
            "ioctl: VIDIOC_ENUM_FMT\nType: Video Capture\n",
            "[0]: 'YUYV'\n",
        ),
        ("empty lines", "Driver Info\n", "\n"),
        (
            "groups",
            "VULKANINFO\nGPU0:\ndeviceName = x\nDevice Extensions: count = 1\n",
            "FORMAT_R8_UNORM\nlinear\nSAMPLED_IMAGE_BIT\n",
        ),
        (
            "extensions",
            "VULKANINFO\nGPU0:\ndeviceName = x\n",
            "VK_A: extension revision 1\n",
        ),
        (
            "pairs",
            "interface: 'zwp_linux_dmabuf_v1'\n",
            "0x1 = 'XR24'; 0x0 = L\n",
        ),
        ("nodes", "/dts-v1/;\n/ {\n", "a{};\n"),
        ("cells", "/dts-v1/;\n/ {\na = <\n", "1 "),
        ("properties", "/dts-v1/;\n/ {\n", "a;"),
        ("references", "/dts-v1/;\n/ {\na = <\n", "&a "),
        ("deep", "/dts-v1/;\n/ {\n", "a{"),
        ("cards of JSON", "{\"/dev/dri/card0\": {}, ", "\"a\":{},"),
        (
            "formats of JSON",
            "{\"/dev/dri/card0\": {\"planes\": [{\"id\": 1, \"formats\": [",
            "1,",
        ),
        (
            "caps of JSON",
            "{\"/dev/dri/card0\": {\"driver\": {\"name\": \"x\", \"caps\": {",
            "\"a\":1,",
        ),
        ("deep JSON", "{\"/dev/dri/card0\": ", "["),
        (
            "formats of Vulkan's JSON",
            "{\"capabilities\": {\"device\": {\"formats\": {\"VK_A\": {},",
            "\"a\":{},",
        ),
    ] {
        let _ = assert_bounded(name, BOUND, repeated(head, line), read);
    }
}

#[test]
fn whole_dump_of_many_formats_takes_bounded_memory() {
    let card = |bytes: usize| {
        // A plane has at most 65,536 formats.
        let formats = "1,".repeat(bytes / 2 / 16);
        let plane = format!("{{\"id\": 1, \"formats\": [{formats}1]}},");
        let planes = plane.repeat(16);
        let planes = planes.trim_end_matches(',');
        format!(
            "{{\"/dev/dri/card0\": {{\"driver\": {{\"name\": \"x\"}}, \"planes\": [{planes}]}}}}"
        )
        .into_bytes()
    };
    // The planes have the same ID, so their participants would have the same name, which a machine must not have twice.
    let error = assert_bounded("planes", BOUND, card, read).unwrap_err();
    assert!(error.contains("twice"), "{error}");
}
