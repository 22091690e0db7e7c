//! The requests for which the benchmarks measure the solver.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each benchmark uses only some of these functions"
)]

use std::hint::black_box;

use covalent_solver::constraint::{
    AddressWindow, Contiguity, FormatSet, Guarantees, ImageConstraints, Imports, MemoryCost,
    Participant, PlanePlacement, Role, SideConstraints, Source, SourceId, StrideConstraints,
    SyncMechanism,
};
use covalent_solver::model::{
    DeviceIdentity, Extent, FormatInfo, FormatModifier, Fourcc, Modifier,
};
use covalent_solver::solve::{Request, Solution, solve, solve_within};

/// The number of formats that each participant accepts.
pub const FORMATS: u64 = 50;
/// The number of modifiers of each format.
pub const MODIFIERS: u64 = 100;
/// The number of participants in a request.
pub const PARTICIPANTS: u64 = 16;

fn device(driver: &str, location: &str) -> DeviceIdentity {
    DeviceIdentity {
        driver: driver.to_owned(),
        location: location.to_owned(),
        node: format!("/dev/{driver}"),
    }
}

/// Returns fifty formats: the known formats, and invented ones.
fn fourccs() -> Vec<Fourcc> {
    let known = FormatInfo::all().map(|info| info.fourcc);
    let others = (0..FORMATS).map(|number| Fourcc(0x7a7a_0000 + u32::try_from(number).unwrap()));
    known.chain(others).take(50).collect()
}

/// Returns 5,000 pairs of format and modifier. Nine tenths of them are common to all participants of the vendor, and one tenth is
/// unique to this participant.
fn many(participant: u64, vendor: u64) -> FormatSet {
    let modifiers = (0..MODIFIERS).map(|number| match number {
        0 => Modifier::LINEAR,
        _ if number % 10 == 9 => Modifier(vendor << 56 | (participant + 2) << 32 | number),
        _ => Modifier(vendor << 56 | number),
    });
    let modifiers: Vec<_> = modifiers.collect();
    fourccs()
        .into_iter()
        .flat_map(|fourcc| {
            modifiers
                .iter()
                .map(move |modifier| FormatModifier::new(fourcc, *modifier))
        })
        .collect()
}

fn crowd(vendor: impl Fn(u64) -> u64, linear: bool) -> Request {
    let participants = (0..PARTICIPANTS).map(|number| {
        let role = if number == 0 {
            Role::Capture
        } else {
            Role::Import
        };
        let name = format!("device {number}");
        let mut participant = Participant::new(name, device("gpu", &format!("{number}")), role);
        let mut formats = many(number, vendor(number));
        if !linear {
            formats = formats
                .iter()
                .filter(|pair| pair.modifier != Modifier::LINEAR)
                .collect();
        }
        participant.for_each_choice(|own| {
            own.formats = Some(formats.clone());
            own.buffers_held = 1;
            own.image.stride.alignment = 16 << (number % 3);
            own.image.width.maximum = 16_384;
            own.image.height.maximum = 16_384;
        });
        participant
    });
    let participants: Vec<_> = participants.collect();
    let mut sources = heaps();
    for number in [0, 1, 15] {
        let mut gbm = Source::new(
            SourceId::new(format!("gbm:{number}")),
            format!("gbm {number}"),
        );
        gbm.device = Some(device("gpu", &format!("{number}")));
        gbm.constraints.formats = Some(many(number, vendor(number)));
        sources.push(gbm);
    }
    Request {
        participants,
        sources,
        ..Request::new(Extent::new(1920, 1080).unwrap())
    }
}

/// Makes a request of 16 participants with 5,000 pairs of format and modifier each. Nine tenths of the pairs are common to all.
pub fn crowd_that_shares() -> Request {
    crowd(|_| 1, true)
}

/// Makes the request of [`crowd_that_shares`] with participants of two vendors and without linear formats. The vendors have no
/// pair in common.
pub fn crowd_of_two_vendors() -> Request {
    crowd(|number| 1 + number / 8, false)
}

/// Makes the request of [`crowd_that_shares`] with two participants that import nothing.
pub fn crowd_with_two_that_import_nothing() -> Request {
    let mut request = crowd(|_| 1, true);
    for number in [3, 12] {
        request.participants[number].for_each_choice(|own| {
            own.memory.imports = Imports::Nothing {
                reason: "its driver has no PRIME import".to_owned(),
            }
        });
    }
    request
}

/// Makes a request of participants with common pairs and two further alternatives each. The first and the last participant never
/// agree on a stride.
pub fn crowd_with_alternatives(participants: usize) -> Request {
    let mut request = crowd(|_| 1, true);
    request.participants.truncate(participants);
    let last = participants - 1;
    for (place, participant) in request.participants.iter_mut().enumerate() {
        for stride_bytes in [512, 1024] {
            let mut alternative = participant.constraints().clone();
            alternative.image.stride.alignment = stride_bytes;
            participant.push_alternative(alternative);
        }
        for choice in participant.choices_mut() {
            let linear = choice.formats.take().unwrap();
            let linear = linear
                .iter()
                .filter(|pair| pair.modifier == Modifier::LINEAR);
            choice.formats = Some(linear.collect());
            if place == 0 {
                choice.image.stride.maximum = 1 << 13;
            } else if place == last {
                choice.image.stride.minimum = 1 << 14;
            }
        }
    }
    request
}

fn heaps() -> Vec<Source> {
    let heap = |id: &str, guarantees: Guarantees| {
        let mut source = Source::new(
            SourceId::new(format!("heap:{id}")),
            format!("dma-heap {id}"),
        );
        source.guarantees = guarantees;
        source
    };
    let ram = AddressWindow {
        lowest: 0,
        highest: (4 << 30) - 1,
    };
    vec![
        heap(
            "system",
            Guarantees {
                contiguous_up_to_bytes: 4096,
                address: ram,
                cached: Some(true),
                available_bytes: Some(1 << 31),
                ..Guarantees::default()
            },
        ),
        heap(
            "default_cma_region",
            Guarantees {
                contiguous_up_to_bytes: 128 << 20,
                address: ram,
                cached: Some(true),
                cost: MemoryCost::Reserved,
                maximum_bytes: Some(128 << 20),
                available_bytes: Some(100 << 20),
                ..Guarantees::default()
            },
        ),
    ]
}

/// Makes a request of a camera, a GPU, a display and a compositor's feedback. Their formats were recorded: vivid's formats, an
/// Intel GPU's modifiers, and a plane's `IN_FORMATS`.
pub fn usual() -> Request {
    let card = device("i915", "0000:00:02.0");
    let rgb = [
        Fourcc::XRGB8888,
        Fourcc::ARGB8888,
        Fourcc::XBGR8888,
        Fourcc::ABGR8888,
        Fourcc::RGB565,
        Fourcc::XRGB2101010,
        Fourcc::ARGB2101010,
        Fourcc::XBGR2101010,
        Fourcc::ABGR2101010,
    ];
    let yuv = [
        Fourcc::YUYV,
        Fourcc::UYVY,
        Fourcc::NV12,
        Fourcc::P010,
        Fourcc::YVYU,
        Fourcc::VYUY,
    ];
    // LINEAR and Intel's modifiers 1 to 15 of `drm_fourcc.h`: X, Y, Yf and Tile4, without and with CCS.
    let tilings: Vec<_> = std::iter::once(Modifier::LINEAR)
        .chain((1..=15).map(|number| Modifier(0x0100_0000_0000_0000 | number)))
        .collect();
    let table = |fourccs: &[Fourcc], tilings: &[Modifier]| -> FormatSet {
        fourccs
            .iter()
            .flat_map(|fourcc| {
                tilings
                    .iter()
                    .map(move |modifier| FormatModifier::new(*fourcc, *modifier))
            })
            .collect()
    };
    let mut camera = Participant::new(
        "vivid capture",
        device("vivid", "platform:vivid-000"),
        Role::Capture,
    );
    let formats: Vec<Fourcc> = rgb.iter().take(5).chain(&yuv[..3]).copied().collect();
    camera.for_each_choice(|own| {
        own.formats = Some(table(&formats, &tilings[..1]));
        own.buffers_held = 2;
    });
    for fourcc in formats {
        let info = fourcc.info().unwrap();
        let least = info.planes[0].row_bytes(1280).unwrap();
        let several = info.planes.len() > 1;
        let constraints = ImageConstraints {
            width: SideConstraints::exactly(1280),
            height: SideConstraints::exactly(720),
            stride: StrideConstraints {
                minimum: least,
                maximum: least * 8,
                ..StrideConstraints::default()
            },
            packed_planes: several,
            placement: if several {
                PlanePlacement::Together
            } else {
                PlanePlacement::Either
            },
            ..ImageConstraints::default()
        };
        camera.for_each_choice(|own| {
            own.per_fourcc.insert(fourcc, constraints.clone());
        });
    }
    let mut display = Participant::new("i915 primary plane", card.clone(), Role::Display);
    display.for_each_choice(|own| {
        own.formats = Some(table(&rgb, &tilings[..8]));
        own.image.stride.alignment = 64;
        own.image.width.maximum = 16_384;
        own.buffers_held = 2;
    });
    let mut gpu = Participant::new("i915 render", card.clone(), Role::Import);
    gpu.for_each_choice(|own| {
        own.formats = Some(table(&[&rgb[..], &yuv[..]].concat(), &tilings));
        own.image.stride.alignment = 4;
    });
    let mut compositor = Participant::new("compositor", card.clone(), Role::Compositor);
    compositor.for_each_choice(|own| {
        own.formats = Some(table(&[&rgb[..], &yuv[..3]].concat(), &tilings));
        own.buffers_held = 3;
    });
    for participant in [&mut display, &mut gpu] {
        participant.for_each_choice(|own| {
            own.sync
                .extend([SyncMechanism::Implicit, SyncMechanism::SyncFile]);
            own.memory.contiguity = Contiguity::Scattered;
        });
    }
    let mut sources = heaps();
    let mut udmabuf = sources[0].clone();
    udmabuf.id = SourceId::new("udmabuf");
    udmabuf.guarantees.maximum_bytes = Some(64 << 20);
    let mut dumb = Source::new(SourceId::new("dumb:i915"), "i915 dumb");
    dumb.device = Some(card.clone());
    dumb.constraints.image.placement = PlanePlacement::Together;
    dumb.constraints.image.stride.alignment = 64;
    let mut gbm = Source::new(SourceId::new("gbm:i915"), "i915 gbm");
    gbm.device = Some(card);
    gbm.constraints.formats = gpu.constraints().formats.clone();
    let mut queue = Source::new(SourceId::new("v4l2:vivid"), "vivid capture MMAP");
    queue.device = Some(camera.device.clone());
    queue.constraints.formats = camera.constraints().formats.clone();
    queue.constraints.per_fourcc = camera.constraints().per_fourcc.clone();
    queue.guarantees.cost = MemoryCost::Queue;
    sources.extend([udmabuf, dumb, gbm, queue]);
    Request {
        count: 4,
        participants: vec![camera, display, gpu, compositor],
        sources,
        ..Request::new(Extent::new(1280, 720).unwrap())
    }
}

/// Makes the request of [`usual`] with a display that accepts none of the camera's formats.
pub fn usual_without_a_common_format() -> Request {
    let mut request = usual();
    request.participants[1].for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(Fourcc::P010)]))
    });
    request
}

/// Returns all requests. Each entry has a name, and whether one buffer serves all participants of the request.
pub fn all() -> Vec<(&'static str, Request, bool)> {
    vec![
        ("usual", usual(), true),
        (
            "usual_without_a_common_format",
            usual_without_a_common_format(),
            false,
        ),
        ("crowd_that_shares", crowd_that_shares(), true),
        ("crowd_of_two_vendors", crowd_of_two_vendors(), false),
        (
            "crowd_with_two_that_import_nothing",
            crowd_with_two_that_import_nothing(),
            false,
        ),
        (
            "crowd_of_8_with_alternatives",
            crowd_with_alternatives(8),
            false,
        ),
        (
            "crowd_of_16_with_alternatives",
            crowd_with_alternatives(16),
            false,
        ),
    ]
}

/// Solves a request, and asserts whether one buffer serves all participants.
#[inline(never)]
pub fn solve_job(request: &Request, shares: bool) -> Solution {
    let solution = solve(black_box(request));
    assert_eq!(matches!(solution, Solution::Share(_)), shares);
    solution
}

/// Solves a request within a budget of steps, and returns how many steps were taken.
#[inline(never)]
pub fn solve_job_within(request: &Request, budget: u64) -> (Solution, u64) {
    solve_within(black_box(request), budget)
}
