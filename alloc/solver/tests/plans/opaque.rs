//! Plans with formats that are not linear, and copies that keep the colours.

use crate::plan;
use covalent_solver::constraint::{
    CopierKind, CopyDevice, CpuUse, ExtraFields, FormatSet, Interface, Participant, Protection,
    Role, Source, SourceId,
};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};
use covalent_solver::solve::{Copier, Request, Solution, Split, Verdict, solve};
use covalent_solver_tests::common::*;

const YUV420_8BIT: Fourcc = Fourcc::of(*b"YU08");

fn pair(fourcc: Fourcc, modifier: &str) -> FormatModifier {
    FormatModifier::new(fourcc, modifier.parse().unwrap())
}

fn tiles() -> FormatModifier {
    FormatModifier::of_v4l2(u32::from_le_bytes(*b"VT12"))
}

fn one(name: &str, driver: &str, role: Role, formats: &[FormatModifier]) -> Participant {
    let mut one = Participant::new(name, device(driver), role);
    one.for_each_choice(|own| own.formats = Some(FormatSet::from(formats.to_vec())));
    one
}

fn processor(role: Role) -> Participant {
    let mut processor = Participant::processor(role);
    processor.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
    processor
}

/// Makes the source of a decoder's own memory.
fn queue(driver: &str, formats: &[FormatModifier]) -> Source {
    let mut queue = Source::new(SourceId::new(format!("v4l2:{driver}:capture")), "queue");
    queue.device = Some(device(driver));
    queue.constraints.formats = Some(FormatSet::from(formats.to_vec()));
    queue.guarantees.contiguous_up_to_bytes = u64::MAX;
    queue
}

fn split(request: &Request) -> Split {
    match solve(request) {
        Solution::Split(split) => split,
        Solution::Share(plan) => panic!("shared: {}", plan.explain()),
    }
}

#[test]
fn opaque_format_is_shared_with_the_size_of_its_allocator() {
    for format in [pair(YUV420_8BIT, "ARM_AFBC(16x16,SPARSE)"), tiles()] {
        let mut decoder = one("decoder", "codec", Role::Capture, &[format]);
        decoder.for_each_choice(|own| own.image.minimum_size_bytes = 500_000);
        let mut source = queue("codec", &[format]);
        source.constraints.image.minimum_size_bytes = 500_000;
        let reader = one("reader", "gpu", Role::Import, &[format]);
        let mut request = request(vec![decoder, reader], vec![source, system_heap(2)]);
        let shared = plan(&request);
        assert_eq!(
            shared.verdict(),
            Verdict::Guaranteed,
            "{}",
            shared.explain()
        );
        assert_eq!(shared.layout().memory_sizes(), [500_000]);
        assert_eq!(shared.layout().format(), format);
        let heap = &shared.rejections()[0];
        assert!(heap.words.contains("only linear rows"), "{}", heap.words);
        // If a reader needs more memory than the source states, the source may allocate too little.
        request.participants[1].for_each_choice(|own| own.image.minimum_size_bytes = 500_001);
        assert_eq!(plan(&request).verdict(), Verdict::Possible);
    }
}

#[test]
fn opaque_format_and_the_processor_conflict_because_it_needs_rows() {
    for format in [
        tiles(),
        pair(Fourcc::NV12, "QCOM_COMPRESSED"),
        pair(Fourcc::XRGB8888, "0x0c00000000000003"),
    ] {
        let decoder = one("decoder", "codec", Role::Capture, &[format]);
        let source = queue("codec", &[format]);
        let request = request(vec![decoder, processor(Role::CpuRead)], vec![source]);
        let split = split(&request);
        let why = &split.rejections()[0].words;
        assert!(why.contains("the CPU needs linear rows"), "{why}");
        assert!(
            split
                .conflict()
                .iter()
                .any(|demand| demand.owner == "processor")
        );
    }
}

#[test]
fn opaque_format_that_two_devices_do_not_share_is_not_copied() {
    let decoder = one("decoder", "codec", Role::Capture, &[tiles()]);
    let display = display("card");
    let request = request(
        vec![decoder, display],
        vec![queue("codec", &[tiles()]), system_heap(2)],
    );
    let split = split(&request);
    assert_eq!(split.copied_bytes_per_frame(), 0);
    assert_eq!(split.copies().count(), 0);
    assert!(
        split.groups().iter().all(|group| group.plan.is_some()),
        "{}",
        split.explain()
    );
}

#[test]
fn protected_frames_are_not_copied_and_keep_their_plan() {
    let mut decoder = one(
        "decoder",
        "codec",
        Role::Capture,
        &[FormatModifier::linear(Fourcc::NV12)],
    );
    decoder.for_each_choice(|own| own.memory.protection = Protection::Required);
    let mut renderer = one(
        "renderer",
        "gpu",
        Role::Import,
        &[FormatModifier::linear(Fourcc::NV12)],
    );
    renderer.for_each_choice(|own| own.memory.protection = Protection::Rejected);
    let mut protected = Source::new(SourceId::new("heap:protected"), "protected heap");
    protected.guarantees.protected = true;
    let request = request(vec![decoder, renderer], vec![protected, system_heap(2)]);
    let split = split(&request);
    assert_eq!(split.copied_bytes_per_frame(), 0);
    let own = split.groups()[0].plan.as_ref().unwrap();
    assert_eq!(own.source().as_str(), "heap:protected");
}

#[test]
fn tiling_with_more_memory_planes_than_are_taken_is_left_out() {
    let plain = pair(Fourcc::XRGB8888, "INTEL_Y_TILED");
    let compressed = pair(Fourcc::XRGB8888, "INTEL_Y_TILED_CCS");
    let both = [plain, compressed];
    let mut reader = one("reader", "gpu", Role::Import, &both);
    reader.for_each_choice(|own| own.image.maximum_planes = 1);
    let mut gbm = queue("gpu", &both);
    gbm.id = SourceId::new("gbm:gpu");
    let renderer = one("renderer", "gpu", Role::Render, &both);
    let mut request = request(vec![renderer, reader], vec![gbm]);
    let shared = plan(&request);
    assert_eq!(shared.modifiers(), [plain.modifier]);
    assert_eq!(shared.verdict(), Verdict::Guaranteed);
    request.participants[1].for_each_choice(|own| own.image.maximum_planes = 2);
    assert_eq!(
        plan(&request).modifiers(),
        [plain.modifier, compressed.modifier]
    );
    request.participants[1].for_each_choice(|own| {
        own.image.maximum_planes = 1;
        own.formats = Some(FormatSet::from([compressed]));
    });
    let conflict = split(&request);
    let fields: Vec<_> = conflict
        .conflict()
        .iter()
        .map(|demand| demand.field)
        .collect();
    assert!(
        fields.contains(&covalent_solver::constraint::Field::Planes),
        "{fields:?}"
    );
}

#[test]
fn implicit_modifier_is_not_shared_with_another_device() {
    let implicit = FormatModifier::new(Fourcc::XRGB8888, Modifier::INVALID);
    let mut gbm = queue("gpu", &[implicit]);
    gbm.id = SourceId::new("gbm:gpu");
    let renderer = one("renderer", "gpu", Role::Render, &[implicit]);
    let mut request = request(
        vec![renderer, one("plane", "gpu", Role::Display, &[implicit])],
        vec![gbm],
    );
    assert_eq!(plan(&request).verdict(), Verdict::Guaranteed);
    request.participants[1].interface = Some(Interface::Vulkan);
    assert_eq!(plan(&request).verdict(), Verdict::Possible);
    request.participants[1] = one("plane", "card", Role::Display, &[implicit]);
    let split = split(&request);
    let why = &split.rejections()[0].words;
    assert!(why.contains("plane is on another device"), "{why}");
}

#[test]
fn processor_that_reads_every_frame_avoids_uncached_memory() {
    let rows = FormatModifier::linear(Fourcc::XRGB8888);
    let mut card = queue("gpu", &[rows]);
    card.id = SourceId::new("gbm:gpu");
    card.guarantees.cached = Some(false);
    let renderer = one("renderer", "gpu", Role::Render, &[rows]);
    let mut heap = system_heap(2);
    heap.guarantees.cached = Some(true);
    let mut request = request(vec![renderer, processor(Role::CpuRead)], vec![card, heap]);
    assert!(plan(&request).source().as_str().starts_with("heap:"));
    request.participants[1].for_each_choice(|own| own.memory.cpu = CpuUse::Rarely);
    assert_eq!(plan(&request).source().as_str(), "gbm:gpu");
}

#[test]
fn copy_keeps_bits_chroma_and_alpha_before_it_saves_bytes() {
    let rows = |fourccs: &[Fourcc]| -> Vec<_> {
        fourccs
            .iter()
            .copied()
            .map(FormatModifier::linear)
            .collect()
    };
    let nv15 = Fourcc::of(*b"NV15");
    for (made, shown, expected) in [
        (
            vec![nv15],
            vec![Fourcc::NV12, Fourcc::P010, Fourcc::XRGB8888],
            Fourcc::P010,
        ),
        (
            vec![Fourcc::ARGB8888],
            vec![Fourcc::RGB565, Fourcc::XRGB8888],
            Fourcc::XRGB8888,
        ),
        (
            vec![Fourcc::XBGR8888],
            vec![Fourcc::NV12, Fourcc::XRGB8888],
            Fourcc::XRGB8888,
        ),
        (
            vec![Fourcc::ABGR8888],
            vec![Fourcc::XRGB8888, Fourcc::ARGB8888],
            Fourcc::ARGB8888,
        ),
        (
            vec![Fourcc::NV21],
            vec![Fourcc::XRGB8888, Fourcc::NV12],
            Fourcc::NV12,
        ),
    ] {
        let producer = one("producer", "codec", Role::Capture, &rows(&made));
        let reader = one("reader", "card", Role::Display, &rows(&shown));
        let split = split(&request(vec![producer, reader], vec![system_heap(2)]));
        let copy = split.copies().next().unwrap();
        let format = copy.to.plan.as_ref().unwrap().layout().format();
        assert_eq!(format.fourcc, expected, "{made:?} to {shown:?}");
    }
}

#[test]
fn cheapest_device_that_reads_and_writes_the_formats_copies() {
    let nv15 = FormatModifier::linear(Fourcc::of(*b"NV15"));
    let p010 = FormatModifier::linear(Fourcc::P010);
    let producer = one("producer", "codec", Role::Capture, &[nv15]);
    let reader = one("reader", "card", Role::Display, &[p010]);
    let mut request = request(vec![producer, reader], vec![system_heap(2)]);
    let copier = |name: &str, kind, reads: FormatModifier, cost| CopyDevice {
        name: name.to_owned(),
        device: device(name),
        kind,
        reads: FormatSet::from([reads]),
        writes: FormatSet::from([p010]),
        cost,
        extra_fields: ExtraFields::default(),
    };
    assert_eq!(
        split(&request).copies().next().unwrap().by,
        Copier::Processor
    );
    request.copiers = vec![
        copier("gpu", CopierKind::Gpu, nv15, 20),
        copier("engine", CopierKind::Engine, nv15, 10),
        copier("other engine", CopierKind::Engine, p010, 1),
        copier("slow", CopierKind::Engine, nv15, 200),
    ];
    let split = split(&request);
    let Copier::Device(copier) = split.copies().next().unwrap().by else {
        panic!("the engine copies")
    };
    assert_eq!(
        (copier.name.as_str(), copier.from, copier.to),
        ("engine", nv15, p010)
    );
    assert_eq!(copier.device, device("engine"));
    let words = split.explain();
    assert!(
        words.contains("into whose buffer engine (a 2D engine) copies"),
        "{words}"
    );
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(Request::from_json(text.as_bytes()).unwrap(), request);
}

#[test]
fn device_that_costs_what_the_cpu_costs_copies_and_a_dearer_one_does_not() {
    let (xr24, xb24) = (
        FormatModifier::linear(Fourcc::XRGB8888),
        FormatModifier::linear(Fourcc::XBGR8888),
    );
    let producer = one("producer", "camera", Role::Capture, &[xb24]);
    let reader = one("reader", "card", Role::Display, &[xr24]);
    let mut request = request(vec![producer, reader], vec![system_heap(2)]);
    for (cost, copies) in [
        (CopyDevice::PROCESSOR_COST, true),
        (CopyDevice::PROCESSOR_COST + 1, false),
    ] {
        request.copiers = vec![CopyDevice {
            name: "software renderer".to_owned(),
            device: device("renderer"),
            kind: CopierKind::Gpu,
            reads: FormatSet::from([xb24]),
            writes: FormatSet::from([xr24]),
            cost,
            extra_fields: ExtraFields::default(),
        }];
        let split = split(&request);
        let by = split.copies().next().unwrap().by;
        assert_eq!(by != Copier::Processor, copies, "{cost}");
    }
}
