//! Cards that drm_info describes.

use covalent_machine::Provenance;
use covalent_solver::constraint::{Contiguity, Imports, PlaneKind};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::{Solution, solve};

use super::{formats, imported, imported_text, names, participant, request, sources, unknown};

#[test]
fn card_that_failed_and_the_framebuffer_of_a_plane_add_nothing() {
    let machine = imported("01-rockchip-ebc");
    let plane = "rockchip-ebc primary plane 32";
    assert_eq!(names(&machine), [plane, "rockchip-ebc import"]);
    assert_eq!(formats(&machine, plane), ["XR24 LINEAR"]);
    let own = participant(&machine, plane);
    let image = &own.participant.constraints().image;
    assert_eq!((image.width.minimum, image.width.maximum), (1, 4096));
    let kms = own.participant.plane.unwrap();
    assert_eq!((kms.id, kms.possible_crtcs), (Some(32), 1));
    assert_eq!(own.participant.device.node, "/dev/dri/card0");
    assert_eq!(sources(&machine), ["dumb:rockchip-ebc@card0"]);
    let reported = Provenance::Reported {
        place: "drm_info.txt, drm_info's text".to_owned(),
    };
    let formats = own.provenance.of("participant.constraints.formats");
    assert_eq!(formats, Some(&reported));
}

#[test]
fn plan_for_an_imported_card_has_its_dumb_buffers_and_lists_what_is_not_known() {
    let machine = imported("01-rockchip-ebc");
    for name in ["card0", "/dev/dri/card0", "rockchip-ebc"] {
        let resolved = request(&machine, "640x480", &[], &[name]);
        let solution = solve(&resolved.request);
        let Solution::Share(plan) = &solution else {
            panic!("{}", solution.explain());
        };
        assert_eq!(plan.source_name(), "rockchip-ebc dumb");
        assert_eq!(plan.layout().format().fourcc, Fourcc::XRGB8888);
        let unknown = resolved.unverified(&solution);
        assert!(unknown.iter().any(|own| own.what.contains("contiguous")));
    }
}

#[test]
fn cards_of_one_text_keep_their_nodes_and_modifiers() {
    let machine = imported("02-two-display-controllers");
    let tiled = formats(&machine, "imx-dcss primary plane 31");
    assert_eq!(tiled.len(), 7, "{tiled:?}");
    for pair in ["XR24 VIVANTE_SUPER_TILED", "XR30 LINEAR"] {
        assert!(tiled.contains(&pair.to_owned()), "{tiled:?}");
    }
    let linear = formats(&machine, "mxsfb-drm primary plane 31");
    assert_eq!(linear.len(), 2, "{linear:?}");
    assert!(linear.iter().all(|pair| pair.ends_with(" LINEAR")));
    let node = |name: &str| participant(&machine, name).participant.device.node.clone();
    assert_eq!(node("imx-dcss import"), "/dev/dri/card2");
    assert_eq!(node("mxsfb-drm import"), "/dev/dri/card1");
}

#[test]
fn card_without_modifiers_is_linear_and_its_cursor_has_a_size() {
    let machine = imported("03-virtio-gpu-without-modifiers");
    assert_eq!(
        formats(&machine, "virtio_gpu primary plane 31"),
        ["XR24 LINEAR"]
    );
    let cursor = &participant(&machine, "virtio_gpu cursor plane 33").participant;
    assert_eq!(cursor.plane.unwrap().kind, PlaneKind::Cursor);
    let image = &cursor.constraints().image;
    assert_eq!((image.width.minimum, image.width.maximum), (32, 64));
    let imports = &cursor.constraints().memory.imports;
    assert!(matches!(imports, Imports::Unknown { .. }), "{imports:?}");
    let words = unknown(&machine, "virtio_gpu import");
    assert!(words.contains("renders on its host"), "{words}");
}

#[test]
fn compressed_tiles_are_of_the_formats_that_name_them() {
    let machine = imported("04-intel-compressed-planes");
    let plane = "i915 primary plane 52";
    let pairs = formats(&machine, plane);
    assert_eq!(pairs.len(), 4, "{pairs:?}");
    let with = |fourcc: &str, modifier: &str| {
        pairs
            .iter()
            .any(|pair| pair.starts_with(fourcc) && pair.contains(modifier))
    };
    assert!(with("XR24", "CCS") && !with("NV12", "CCS"), "{pairs:?}");
    assert!(
        with("NV12", "YF_TILED") || with("NV12", "Yf_TILED"),
        "{pairs:?}"
    );
    let own = &participant(&machine, plane).participant;
    assert_eq!(own.constraints().memory.contiguity, Contiguity::Scattered);
    assert_eq!(own.plane.unwrap().possible_crtcs, 0b101);
}

#[test]
fn plane_whose_modifiers_have_no_formats_shows_nothing() {
    let machine = imported("05-in-formats-without-formats");
    let plane = "sun4i-drm primary plane 31";
    assert_eq!(formats(&machine, plane), [""; 0]);
    let solution = solve(&request(&machine, "640x480", &[], &["card1"]).request);
    assert!(matches!(solution, Solution::Split(_)));
}

#[test]
fn json_of_a_card_with_numbers_in_every_form_is_read() {
    let card = |planes: &str| {
        format!(
            "{{\"/dev/dri/card0\": {{\"driver\": {{\"name\": \"vkms\", \"kernel\": {{\"release\": \"6.12.1\"}}, \"caps\": {{\"PRIME\": 3, \"ADDFB2_MODIFIERS\": 1, \"DUMB_BUFFER\": null}}}}, \"planes\": [{planes}]}}, \"/dev/dri/card1\": {{\"driver\": null}}}}"
        )
    };
    let plane = "{\"id\": 7, \"formats\": [875713112], \"properties\": {\"type\": {\"raw_value\": 2}, \"IN_FORMATS\": {\"data\": [{\"modifier\": \"0xffffffffffffff\", \"formats\": [875713112]}, {\"modifier\": -1, \"formats\": []}]}}}";
    let machine = imported_text(&card(plane)).unwrap();
    assert_eq!(machine.environment.kernel, "6.12.1");
    assert_eq!(formats(&machine, "vkms cursor plane 7"), ["XR24 INVALID"]);
    // A capability whose value is null is not supported.
    assert_eq!(sources(&machine), [""; 0]);
    let error = imported_text(&card("{\"id\":\n\"x\"}")).unwrap_err();
    assert!(
        error.starts_with("text, line 2: expected the JSON of drm_info -j"),
        "{error}"
    );
}

#[test]
fn line_that_drm_info_does_not_write_is_an_error_with_its_number() {
    let with = |line: &str| {
        format!(
            "Node: /dev/dri/card0\nDriver: x (y) version 1.0.0\n{line}\nPlanes\nPlane 0\nObject ID: 1\n"
        )
    };
    assert!(imported_text(&with("DRM_CAP_PRIME = 3")).is_ok());
    for (text, line, expected) in [
        (with("DRM_CAP_PRIME = x"), 3, "the value of a capability"),
        (
            with("Framebuffer size\nWidth: [1]"),
            4,
            "the minimum and the maximum size",
        ),
        (with("") + "CRTCs: {99}", 7, "the numbers of CRTCs"),
        (with("") + "Formats:\nXRGB8888", 8, "a format or a modifier"),
        (
            with("") + "\"IN_FORMATS\": blob = 1\nXRGB8888 (0x34325258)",
            8,
            "a format or a modifier",
        ),
        (
            "Node: /dev/dri/card0\n".to_owned(),
            1,
            "a card with its driver",
        ),
    ] {
        let error = imported_text(&text).unwrap_err();
        assert!(
            error.starts_with(&format!("text, line {line}: expected {expected}")),
            "{error}"
        );
    }
}
