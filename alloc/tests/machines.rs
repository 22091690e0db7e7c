//! The boards in `tests/machines`: what is said of each has its origin, the usual jobs on it have the plans that are known, and
//! each of these hangs on the fact that is said to decide it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use covalent_alloc::constraint::{Constraints, Participant, Source};
use covalent_alloc::machine::{Difference, Grounds, GroundsByPlace, Job, Machine, MachineError};
use covalent_alloc::model::{Extent, FormatModifier, Modifier};
use covalent_alloc::solve::{Solution, solve};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/machines")
}

fn read(name: &str) -> Machine {
    let path = folder().join(name).with_extension("json");
    Machine::from_json(&std::fs::read(path).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The names of all files, those of guests too, which begin with `guest-`.
fn all() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn boards() -> Vec<String> {
    let mut names = all();
    names.retain(|name| !name.starts_with("guest-"));
    names
}

/// A job on a board, and the fact that decides its plan.
struct Golden {
    board: &'static str,
    name: &'static str,
    job: fn(&mut Job),
    /// Takes that fact out.
    without: fn(&mut Machine),
}

const fn golden(
    board: &'static str,
    name: &'static str,
    job: fn(&mut Job),
    without: fn(&mut Machine),
) -> Golden {
    Golden {
        board,
        name,
        job,
        without,
    }
}

fn push(list: &mut Vec<String>, name: &str) {
    list.push(name.to_owned());
}

/// What the participant of this name takes instead.
fn participant(machine: &mut Machine, name: &str, change: impl Fn(&mut Participant)) {
    let mut found = 0;
    for declared in &mut machine.declared {
        for recorded in &mut declared.participants {
            if recorded.participant.name == name {
                change(&mut recorded.participant);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "{name}");
}

fn choices(participant: &mut Participant) -> impl Iterator<Item = &mut Constraints> {
    std::iter::once(&mut participant.constraints).chain(&mut participant.alternatives)
}

/// The participant takes fewer pairs.
fn fewer(machine: &mut Machine, name: &str, gone: impl Fn(FormatModifier) -> bool) {
    participant(machine, name, |participant| {
        for choice in choices(participant) {
            let pairs = choice.formats.iter().flat_map(|formats| formats.iter());
            choice.formats = Some(pairs.filter(|pair| !gone(*pair)).collect());
        }
    });
}

fn is_arranged(pair: FormatModifier) -> bool {
    pair.modifier != Modifier::LINEAR
}

fn is_of(modifier: &str) -> impl Fn(FormatModifier) -> bool {
    move |pair| pair.modifier.to_string().starts_with(modifier)
}

fn source(machine: &mut Machine, id: &str, change: impl Fn(&mut Source)) {
    let mut found = 0;
    for declared in &mut machine.declared {
        for recorded in &mut declared.sources {
            if recorded.source.id.as_str() == id {
                change(&mut recorded.source);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "{id}");
}

fn scattered(machine: &mut Machine, id: &str) {
    source(machine, id, |source| {
        source.guarantees.contiguous_up_to_bytes = 0
    });
}

fn gone(machine: &mut Machine, id: &str) {
    for declared in &mut machine.declared {
        let before = declared.sources.len();
        declared
            .sources
            .retain(|recorded| recorded.source.id.as_str() != id);
        assert_eq!(declared.sources.len() + 1, before, "{id}");
    }
}

/// Each with the fact without which it is another: that a source promises one piece or is there at all, that a device takes
/// an arrangement, that strides meet.
const GOLDEN: &[Golden] = &[
    golden(
        "raspberry-pi-4",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "vc4");
        },
        |machine| scattered(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-4",
        "camera_to_encoder_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.outputs, "/dev/video11");
            push(&mut job.displays, "vc4");
        },
        |machine| {
            fewer(machine, "bcm2835-codec output", |pair| {
                ["RG24", "BG24", "RG16"].contains(&pair.fourcc.to_string().as_str())
            });
        },
    ),
    golden(
        "raspberry-pi-4",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video19");
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "vc4");
        },
        |machine| fewer(machine, "v3d GBM", is_of("BROADCOM_SAND128(")),
    ),
    golden(
        "raspberry-pi-4",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "vc4");
        },
        |machine| gone(machine, "dumb:vc4@platform:gpu"),
    ),
    golden(
        "raspberry-pi-5",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video20");
            push(&mut job.displays, "vc4");
        },
        |machine| scattered(machine, "dumb:vc4@platform:axi:gpu"),
    ),
    golden(
        "raspberry-pi-5",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video19");
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "vc4");
        },
        |machine| fewer(machine, "vc4 primary plane", is_of("BROADCOM_SAND128(")),
    ),
    golden(
        "rk3399",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "rockchip");
        },
        |machine| gone(machine, "dumb:rockchip@platform:display-subsystem"),
    ),
    golden(
        "rk3399",
        "camera_to_encoder_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.outputs, "/dev/video3");
            push(&mut job.displays, "rockchip");
        },
        |machine| {
            fewer(machine, "hantro-vpu output", |pair| {
                pair.fourcc.to_string() == "NV12"
            });
        },
    ),
    golden(
        "rk3399",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video1");
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "rockchip");
        },
        |machine| {
            participant(machine, "rkvdec capture", |decoder| {
                decoder.constraints.image.rows_multiple_of = 1;
            });
        },
    ),
    golden(
        "rk3399",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "rockchip");
        },
        |machine| fewer(machine, "rockchip primary plane", is_of("ARM_AFBC")),
    ),
    golden(
        "rk3588",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.others, "rockchip overlay plane");
        },
        |machine| {
            fewer(machine, "rockchip overlay plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "rk3588",
        "camera_to_encoder_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.outputs, "/dev/video3");
            push(&mut job.others, "rockchip overlay plane");
        },
        |machine| {
            participant(machine, "hantro-vpu output", |encoder| {
                encoder.constraints.image.rows_multiple_of = 1;
            });
        },
    ),
    golden(
        "rk3588",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video1");
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.others, "rockchip overlay plane");
        },
        |machine| gone(machine, "dumb:rockchip@platform:display-subsystem"),
    ),
    golden(
        "rk3588",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "rockchip");
        },
        |machine| fewer(machine, "rockchip primary plane", is_arranged),
    ),
    golden(
        "imx8m-plus",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "imx-lcdif");
        },
        |machine| {
            scattered(
                machine,
                "dumb:imx-lcdif@platform:32fc6000.display-controller",
            )
        },
    ),
    golden(
        "imx8m-plus",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video1");
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "imx-lcdif");
        },
        |machine| {
            fewer(machine, "hantro-vpu capture", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "qualcomm-sm8250",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video2");
            push(&mut job.displays, "msm");
        },
        |machine| {
            fewer(machine, "msm primary plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "qualcomm-sm8250",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "msm");
        },
        |machine| fewer(machine, "msm primary plane", is_of("QCOM_COMPRESSED")),
    ),
    golden(
        "qualcomm-sm8250",
        "decoder_to_encoder_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.outputs, "/dev/video1");
            push(&mut job.displays, "msm");
        },
        |machine| {
            // That the decoder writes rows too.
            participant(machine, "qcom-venus capture", |decoder| {
                decoder.alternatives.clear()
            });
        },
    ),
    golden(
        "qualcomm-sm8250",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "msm");
            job.format = "XR24".parse().ok();
        },
        |machine| fewer(machine, "msm GBM", is_of("QCOM_COMPRESSED")),
    ),
    golden(
        "mediatek-mt8195",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video8");
            push(&mut job.displays, "mediatek");
        },
        |machine| {
            fewer(machine, "mediatek primary plane", |pair| {
                pair.fourcc.to_string() == "YUYV"
            });
        },
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card1");
        },
        |machine| fewer(machine, "panfrost GBM", is_of("MTK")),
    ),
    golden(
        "mediatek-mt8195",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "mediatek");
        },
        // What the decoder and the GPU still share; without it there are three pictures.
        |machine| fewer(machine, "panfrost GBM", is_of("MTK")),
    ),
    golden(
        "allwinner-a20",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video1");
            push(&mut job.displays, "sun4i-drm");
        },
        |machine| scattered(machine, "v4l2:sun4i_csi@platform:1c09000.csi:capture"),
    ),
    golden(
        "allwinner-a20",
        "decoder_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "sun4i-drm");
        },
        |machine| fewer(machine, "sun4i-drm primary plane", is_of("ALLWINNER_TILED")),
    ),
    golden(
        "allwinner-a20",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "sun4i-drm");
        },
        |machine| gone(machine, "dumb:sun4i-drm@platform:display-engine"),
    ),
    golden(
        "tegra-x1",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "tegra");
        },
        |machine| {
            fewer(machine, "tegra primary plane", |pair| {
                pair.fourcc.to_string() == "XR24"
            });
        },
    ),
    golden(
        "tegra-x1",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.displays, "tegra");
        },
        |machine| {
            fewer(machine, "tegra primary plane", |pair| {
                pair.modifier == Modifier::LINEAR
            })
        },
    ),
    golden(
        "intel-tiger-lake",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "i915");
        },
        |machine| gone(machine, "dumb:i915@pci:0000:00:02.0"),
    ),
    golden(
        "intel-tiger-lake",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "i915 VA-API decoder");
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "i915");
        },
        |machine| {
            fewer(
                machine,
                "i915 primary plane",
                is_of("INTEL_Y_TILED_GEN12_MC_CCS"),
            )
        },
    ),
    golden(
        "intel-tiger-lake",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "i915");
        },
        |machine| fewer(machine, "i915 GBM", is_of("INTEL_Y_TILED_GEN12_RC_CCS")),
    ),
    golden(
        "amd-rdna2",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "amdgpu");
        },
        |machine| {
            // That a camera's rows have no gap is what the display's steps of 256 bytes break on.
            participant(machine, "uvcvideo capture", |camera| {
                camera.constraints.per_fourcc.clear();
            });
        },
    ),
    golden(
        "amd-rdna2",
        "camera_to_gpu",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card0");
        },
        |machine| gone(machine, "dumb:amdgpu@pci:0000:03:00.0"),
    ),
    golden(
        "amd-rdna2",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "amdgpu");
        },
        |machine| fewer(machine, "amdgpu primary plane", is_arranged),
    ),
    golden(
        "amd-rdna2",
        "gpu_by_vulkan_to_display",
        |job| {
            job.vulkan = true;
            push(&mut job.displays, "amdgpu");
        },
        |machine| fewer(machine, "amdgpu image", is_arranged),
    ),
    golden(
        "amd-rdna2",
        "gl_to_vulkan",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            job.vulkan = true;
        },
        |machine| {
            fewer(machine, "amdgpu GBM", |pair| {
                let decoded = pair.modifier.decode();
                decoded.is_some_and(|modifier| modifier.field("DCC") == Some(1))
            });
        },
    ),
    golden(
        "nvidia-volta",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.displays, "nouveau");
        },
        |machine| gone(machine, "dumb:nouveau@pci:0000:01:00.0"),
    ),
    golden(
        "nvidia-volta",
        "gpu_to_display",
        |job| {
            push(&mut job.gbm, "/dev/dri/card0");
            push(&mut job.displays, "nouveau");
        },
        |machine| {
            fewer(
                machine,
                "nouveau primary plane",
                is_of("NVIDIA_BLOCK_LINEAR_2D"),
            )
        },
    ),
    golden(
        "amlogic-g12b",
        "camera_to_display",
        |job| {
            push(&mut job.cameras, "/dev/video8");
            push(&mut job.others, "meson overlay plane");
        },
        |machine| gone(machine, "dumb:meson@platform:ff900000.vpu"),
    ),
    golden(
        "amlogic-g12b",
        "decoder_to_gpu_and_display",
        |job| {
            push(&mut job.cameras, "/dev/video0");
            push(&mut job.gbm, "/dev/dri/card1");
            push(&mut job.others, "meson overlay plane");
        },
        |machine| {
            scattered(
                machine,
                "v4l2:meson-vdec@platform:ff620000.video-decoder:capture",
            )
        },
    ),
];

fn job(golden: &Golden) -> Job {
    let mut job = Job::new(Extent::new(1920, 1080).unwrap(), 4);
    (golden.job)(&mut job);
    job
}

/// What of a solution a fact decides: source, format, arrangements, layout and sureness; or the copies and the conflict.
fn outcome(solution: &Solution) -> Value {
    match solution {
        Solution::Share(plan) => json!({
            "source": plan.source().as_str(),
            "format": plan.layout().format().to_string(),
            "modifiers": plan.modifiers(),
            "memory": plan.layout().memory_sizes(),
            "verdict": format!("{:?}", plan.verdict()),
        }),
        Solution::Split(split) => json!({
            "groups": split.groups().len(),
            "copied": split.copied_bytes_per_frame(),
            "conflict": split.conflict().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "explanation": split.explain(),
        }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn usual_jobs_on_each_board_have_the_plans_that_are_known() {
    for golden in GOLDEN {
        let asked = read(golden.board).request(&job(golden)).unwrap();
        let solution = solve(&asked.request);
        let mut text = solution.explain();
        for words in asked.unknown_of(&solution) {
            text.push_str(&format!("not known of this machine: {words}\n"));
        }
        insta::assert_snapshot!(format!("{}__{}", golden.board, golden.name), text);
    }
    for board in boards() {
        let jobs = GOLDEN.iter().filter(|golden| golden.board == board).count();
        assert!(jobs >= 2, "{board} has {jobs} golden plans");
    }
}

#[test]
fn golden_plan_changes_or_splits_without_the_fact_that_decides_it() {
    for golden in GOLDEN {
        let name = format!("{} {}", golden.board, golden.name);
        let before = solve(&read(golden.board).request(&job(golden)).unwrap().request);
        let mut machine = read(golden.board);
        (golden.without)(&mut machine);
        let after = solve(&machine.request(&job(golden)).unwrap().request);
        assert_ne!(outcome(&before), outcome(&after), "{name}");
        if let Solution::Split(split) = &after {
            assert!(
                !split.conflict().is_empty(),
                "{name} splits without a conflict"
            );
        }
        let difference = Difference::between(&read(golden.board), &machine);
        assert!(!difference.is_empty(), "{name}");
        assert!(!difference.explain().is_empty());
    }
}

/// The places of everything that a participant or a source asks or promises beyond nothing.
fn places(value: &Value, place: &str, nothing: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !place.ends_with("per_fourcc") => {
            for (name, value) in fields {
                let none = nothing.get(name).unwrap_or(&Value::Null);
                places(value, &format!("{place}.{name}"), none, found);
            }
        }
        value if value != nothing => found.push(place.to_owned()),
        _ => {}
    }
}

fn check_grounds(board: &str, name: &str, found: Vec<String>, grounds: &GroundsByPlace) {
    for place in found {
        match grounds.of(&place) {
            Some(Grounds::Measured) => panic!("{board}, {name}: nobody measured {place}"),
            Some(grounds) => assert!(grounds.to_string().len() > 20, "{board}, {name}: {place}"),
            None => panic!("{board}, {name}: nothing tells where {place} is from"),
        }
    }
}

#[test]
fn every_value_of_a_board_says_where_it_is_from() {
    assert!(boards().len() >= 12);
    for board in boards() {
        let machine = read(&board);
        assert!(machine.origin.len() > 40, "{board}");
        assert_eq!(machine.recorded_at, 0, "{board}");
        for declared in &machine.declared {
            for recorded in &declared.participants {
                let own = &recorded.participant;
                let nothing = Participant::new(own.name.clone(), own.device.clone(), own.role);
                let nothing = json!({"constraints": nothing.constraints});
                let value =
                    json!({"constraints": own.constraints, "alternatives": own.alternatives});
                let mut found = Vec::new();
                places(&value, "participant", &nothing, &mut found);
                // What demands nothing may be so because nobody knows: that is said too.
                for always in [
                    "formats",
                    "image.stride",
                    "memory.contiguity",
                    "memory.address",
                ] {
                    found.push(format!("participant.constraints.{always}"));
                }
                found.retain(|place| {
                    !place.ends_with("alternatives") || !own.alternatives.is_empty()
                });
                check_grounds(&board, &own.name, found, &recorded.grounds);
            }
            for recorded in &declared.sources {
                let own = &recorded.source;
                let nothing = json!(Source::new(own.id.clone(), own.name.clone()));
                let mut found = Vec::new();
                places(&json!(own), "source", &nothing, &mut found);
                found.push("source.guarantees.contiguous_up_to_bytes".to_owned());
                check_grounds(&board, own.id.as_str(), found, &recorded.grounds);
            }
        }
    }
}

#[test]
fn every_file_is_written_as_it_was_read() {
    for name in all() {
        let path = folder().join(&name).with_extension("json");
        let given: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let machine = read(&name);
        let written = machine.to_json().unwrap();
        assert_eq!(
            Machine::from_json(written.as_bytes()).unwrap(),
            machine,
            "{name}"
        );
        let written: Value = serde_json::from_str(&written).unwrap();
        // Whatever was given is there; what was left out is written in full.
        assert_contains(&written, &given, &name);
        assert!(Difference::between(&machine, &machine).is_empty(), "{name}");
    }
}

fn assert_contains(whole: &Value, part: &Value, place: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                let place = format!("{place}.{name}");
                let found = whole.get(name).unwrap_or_else(|| panic!("{place} is lost"));
                assert_contains(found, value, &place);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{place}");
            if !place.ends_with("formats") && !place.ends_with("sync") {
                for (number, (whole, part)) in whole.iter().zip(part).enumerate() {
                    assert_contains(whole, part, &format!("{place}.{number}"));
                }
            }
        }
        (whole, part) => assert_eq!(whole, part, "{place}"),
    }
}

#[test]
fn gbm_of_a_card_is_found_by_either_of_its_nodes() {
    // GBM of this guest's first card is on the render node, as the card has one.
    let machine = read("guest-venus");
    let size = Extent::new(640, 480).unwrap();
    for node in ["/dev/dri/card0", "/dev/dri/renderD128", "virtio_gpu GBM"] {
        let mut job = Job::new(size, 4);
        push(&mut job.gbm, node);
        let asked = machine.request(&job).unwrap();
        assert_eq!(
            asked.request.participants[0].name, "virtio_gpu GBM",
            "{node}"
        );
    }
}

#[test]
fn device_that_is_not_there_or_may_be_several_is_told() {
    let machine = read("raspberry-pi-4");
    let size = Extent::new(1920, 1080).unwrap();
    let ask = |change: fn(&mut Job)| {
        let mut job = Job::new(size, 4);
        change(&mut job);
        machine.request(&job).map(|_| ()).unwrap_err().to_string()
    };
    let absent = ask(|job| push(&mut job.cameras, "/dev/video7"));
    assert!(
        absent.contains("unicam capture (/dev/video0), rpi-hevc-dec capture (/dev/video19)"),
        "{absent}"
    );
    let several = ask(|job| push(&mut job.others, "vc4"));
    assert!(
        several.contains("vc4 primary plane") && several.contains("vc4 overlay plane"),
        "{several}"
    );
    assert!(matches!(
        machine.request(&Job::new(size, 4)),
        Err(MachineError::NobodyNamed)
    ));
    let mut other = Job::new(Extent::new(640, 480).unwrap(), 4);
    push(&mut other.cameras, "unicam");
    let unrecorded = machine.request(&other).map(|_| ()).unwrap_err().to_string();
    assert!(
        unrecorded.contains("recorded at 1920x1080, and not at 640x480"),
        "{unrecorded}"
    );
}
