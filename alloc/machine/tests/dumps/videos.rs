//! V4L2 devices that v4l2-ctl describes.

use covalent_solver::constraint::{Contiguity, PlanePlacement};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::{Solution, solve};

use super::{
    formats, imported, imported_text, names, participant, request, size, sources, unknown,
};

#[test]
fn camera_has_the_node_of_the_command_line_and_the_stride_that_is_set() {
    let machine = imported("06-capture-card");
    assert_eq!(names(&machine), ["uvcvideo capture"]);
    let own = participant(&machine, "uvcvideo capture");
    let device = &own.participant.device;
    assert_eq!(device.node, "/dev/video2");
    assert_eq!(device.location, "usb-0000:06:00.1-1.4");
    // The driver uses videobuf2-vmalloc, so the CPU accesses the buffers. The importer knows this by the driver's name.
    assert!(own.participant.maps);
    let constraints = own.participant.constraints();
    assert_eq!(constraints.memory.contiguity, Contiguity::Scattered);
    let stride = &constraints.per_fourcc[&Fourcc::YUYV].stride;
    assert_eq!((stride.minimum, stride.maximum), (3840, 3840));
    assert_eq!(machine.sizes().collect::<Vec<_>>(), [size("1920x1080")]);
    assert_eq!(machine.environment.kernel, "5.9.9");
    assert_eq!(
        sources(&machine),
        ["v4l2:uvcvideo@usb-0000:06:00.1-1.4:capture"]
    );
    let words = unknown(&machine, "uvcvideo capture");
    assert!(words.contains("--list-formats-ext"), "{words}");
    let resolved = request(&machine, "1920x1080", &["video2"], &[]);
    let Solution::Share(plan) = solve(&resolved.request) else {
        panic!("no plan");
    };
    assert_eq!(plan.source_name(), "uvcvideo MMAP");
}

#[test]
fn two_texts_of_one_device_are_one_device() {
    let machine = imported("07-isp-with-planes");
    let name = "rkisp1_v0 capture";
    assert_eq!(names(&machine), [name]);
    let mut pairs = formats(&machine, name);
    pairs.sort();
    assert_eq!(pairs, ["NV12 LINEAR", "YUYV LINEAR"]);
    let own = &participant(&machine, name).participant;
    assert_eq!(own.device.location, "platform:ff910000.rkisp1");
    let image = &own.constraints().per_fourcc[&Fourcc::NV12];
    assert_eq!(image.minimum_size_bytes, 3_110_400);
    assert_eq!((image.stride.minimum, image.stride.maximum), (1920, 1920));
    assert_eq!(image.placement, PlanePlacement::Together);
    assert!(image.packed_planes);
    let words = unknown(&machine, name);
    assert!(!words.contains("--list-formats-ext"), "{words}");
    assert!(words.contains("contiguous"), "{words}");
}

#[test]
fn list_of_formats_alone_is_valid_at_every_size_of_its_range() {
    let machine = imported("08-old-list-of-formats");
    let name = "unknown capture";
    let mut pairs = formats(&machine, name);
    pairs.sort();
    assert_eq!(pairs, ["BG24 LINEAR", "YU12 LINEAR", "YUYV LINEAR"]);
    assert_eq!(machine.sizes().count(), 0);
    let own = &participant(&machine, name).participant;
    assert_eq!(own.device.node, "/dev/video0");
    let image = &own.constraints().per_fourcc[&Fourcc::YUYV];
    assert_eq!((image.width.minimum, image.width.maximum), (32, 2592));
    assert_eq!(image.height.multiple_of, 2);
    let words = unknown(&machine, name);
    assert!(
        words.contains("which strides the driver accepts"),
        "{words}"
    );
    let plan = |at: &str| solve(&request(&machine, at, &["video0"], &[]).request);
    assert!(matches!(plan("640x480"), Solution::Share(_)));
    assert!(matches!(plan("4096x2160"), Solution::Split(_)));
}

#[test]
fn several_devices_in_one_text_are_told_apart_by_their_nodes() {
    let machine = imported("09-several-decoders");
    let node = |name: &str| participant(&machine, name).participant.device.node.clone();
    assert_eq!(node("bcm2835-codec capture"), "/dev/video10");
    assert_eq!(node("rpivid capture"), "/dev/video19");
    assert_eq!(formats(&machine, "rpivid capture"), ["V4L2 NC12"]);
    // A queue of a bitstream exports no frames.
    assert_eq!(formats(&machine, "bcm2835-codec output"), [""; 0]);
    assert_eq!(
        sources(&machine),
        [
            "v4l2:bcm2835-codec@platform:bcm2835-codec:capture",
            "v4l2:rpivid@platform:rpivid:capture"
        ]
    );
}

#[test]
fn device_with_both_queues_has_two_participants_at_the_size_that_is_set() {
    let machine = imported("10-loopback");
    assert_eq!(
        names(&machine),
        ["v4l2 loopback capture", "v4l2 loopback output"]
    );
    assert_eq!(machine.sizes().collect::<Vec<_>>(), [size("1280x720")]);
    for name in names(&machine) {
        assert_eq!(formats(&machine, &name), ["NV12 LINEAR"]);
    }
}

#[test]
fn sizes_of_a_list_are_declared_each_the_one_that_is_set_first() {
    let text = "Driver Info:\nDriver name : uvcvideo\nFormat Video Capture:\nWidth/Height : 1280/720\nPixel Format : 'MJPG' (Motion-JPEG)\nioctl: VIDIOC_ENUM_FMT\nType: Video Capture\n[0]: 'MJPG' (Motion-JPEG, compressed)\nSize: Discrete 1280x720\n[1]: 'YUYV' (YUYV 4:2:2)\nSize: Discrete 640x480\nInterval: Discrete 0.033s (30.000 fps)\nSize: Discrete 1280x720\n";
    let machine = imported_text(text).unwrap();
    let sizes: Vec<_> = machine.sizes().collect();
    assert_eq!(sizes, [size("1280x720"), size("640x480")]);
    assert_eq!(formats(&machine, "uvcvideo capture"), ["YUYV LINEAR"]);
}

#[test]
fn line_that_v4l2_ctl_does_not_write_is_an_error_with_its_number() {
    let format = "Driver Info:\nDriver name : x\nFormat Video Capture:\n";
    for (below, line, expected) in [
        ("Width/Height : 0/480\n", 4, "a width and a height"),
        (
            "Pixel Format : YUYV\n",
            4,
            "a pixel format of four characters",
        ),
        (
            "Pixel Format : 'YUYVX'\n",
            4,
            "a pixel format of four characters",
        ),
        ("Bytes per Line : -1\n", 4, "a number of bytes"),
        (
            "Width/Height : 640/480\n",
            3,
            "Width/Height and Pixel Format below it",
        ),
        (
            "Width/Height : 8/8\nPixel Format : 'YUYV'\nioctl: VIDIOC_ENUM_FMT\nType: Video Capture\n[0]: 'YUYV'\nSize: Discrete 0x0\n",
            9,
            "a size",
        ),
    ] {
        let error = imported_text(&format!("{format}{below}")).unwrap_err();
        let start = format!("text, line {line}: expected {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
    let error = imported_text("nothing that is known").unwrap_err();
    assert!(
        error.contains("drm_info's JSON") && error.contains("v4l2-ctl's text"),
        "{error}"
    );
}

#[test]
fn format_that_is_not_set_yet_does_not_prevent_the_import() {
    for code in ["''", "'NV12' (Y/UV 4:2:0)"] {
        let text = format!(
            "Driver Info:\n\tDriver name : decoder\n\tBus info : platform:decoder\nFormat Video Capture Multiplanar:\n\tWidth/Height : 0/0\n\tPixel Format : {code}\nioctl: VIDIOC_ENUM_FMT\n\tType: Video Capture Multiplanar\n\t[0]: 'NV12' (Y/UV 4:2:0)\n"
        );
        let machine = imported_text(&text).unwrap();
        assert_eq!(formats(&machine, "decoder capture"), ["NV12 LINEAR"]);
        assert_eq!(machine.sizes().count(), 0);
    }
    let error =
        imported_text("Driver Info:\nDriver name : x\nFormat Video Capture:\nWidth/Height : 0/8\n");
    let error = error.unwrap_err();
    assert!(
        error.starts_with("text, line 4: expected a width and a height"),
        "{error}"
    );
}
