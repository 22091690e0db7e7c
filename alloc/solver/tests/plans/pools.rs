//! Plans with pools of memory: the buffers that fit, the jobs that share pools, and the solution's report if pools are too small.

use covalent_solver::constraint::{
    AddressWindow, Contiguity, Field, FreeMemory, Guarantees, OwnMemory, Participant, Pool, PoolId,
    Source, SourceId,
};
use covalent_solver::model::{Extent, Fourcc};
use covalent_solver::solve::{Request, Solution, Verdict, solve, solve_together};

use crate::plan;
use covalent_solver_tests::common::{camera, device, display, dumb, linear, request, source};

const MIB: u64 = 1 << 20;

fn region(capacity_bytes: u64) -> Pool {
    Pool::cma(
        PoolId::new("cma:default"),
        "default_cma_region",
        Some(capacity_bytes),
    )
}

/// Makes the heap, the camera's queue and the display's dumb buffers, all of which allocate from one CMA region.
fn sources_of_region() -> Vec<Source> {
    let promise = Guarantees {
        contiguous_up_to_bytes: u64::MAX,
        pools: [PoolId::new("cma:default")].into(),
        ..Guarantees::default()
    };
    let heap = source(
        "heap:default_cma_region",
        "dma-heap default_cma_region",
        promise.clone(),
    );
    let mut queue = source(
        "v4l2:/dev/video0:capture",
        "vivid capture queue",
        promise.clone(),
    );
    queue.device = Some(device("vivid"));
    let mut dumb = dumb("vkms");
    dumb.guarantees = promise;
    vec![heap, queue, dumb]
}

/// Makes a request for 20 buffers of 1920x1080. Each of them takes 8 MiB of the region.
fn wide(participants: Vec<Participant>, pool: Pool) -> Request {
    Request {
        count: 20,
        extent: Extent::new(1920, 1080).unwrap(),
        pools: vec![pool],
        ..request(participants, sources_of_region())
    }
}

fn both() -> Vec<Participant> {
    vec![camera(Contiguity::Contiguous), display("vkms")]
}

#[test]
fn region_that_is_too_small_counts_the_buffers_that_fit() {
    let request = wide(both(), region(159 * MIB));
    let solution = solve(&request);
    assert_eq!(solution.verdict(), Verdict::Impossible);
    insta::assert_snapshot!(solution.explain());
    let plan = plan(&wide(both(), region(160 * MIB)));
    assert_eq!(plan.verdict(), Verdict::Guaranteed);
    assert_eq!(plan.pools()[0].bytes, 160 * MIB);
}

#[test]
fn little_free_memory_is_a_caveat_with_its_date() {
    let mut pool = region(256 * MIB);
    pool.free = Some(FreeMemory {
        bytes: 100 * MIB,
        read_at: 1_772_323_260,
    });
    let plan = plan(&wide(both(), pool));
    assert_eq!(plan.verdict(), Verdict::Possible);
    insta::assert_snapshot!(plan.explain());
}

#[test]
fn source_with_enough_free_memory_is_preferred_to_one_without() {
    let mut pool = region(256 * MIB);
    pool.free = Some(FreeMemory {
        bytes: MIB,
        read_at: 1,
    });
    let mut request = wide(both(), pool);
    let other = Pool::cma(PoolId::new("cma:other"), "other", Some(256 * MIB));
    request.pools.push(other);
    let mut heap = sources_of_region().remove(0);
    heap.id = SourceId::new("heap:other");
    heap.guarantees.address = AddressWindow::of_bits(32);
    heap.guarantees.pools = [PoolId::new("cma:other")].into();
    request.sources.push(heap);
    assert_eq!(plan(&request).source().as_str(), "heap:other");
}

#[test]
fn lack_of_memory_proposes_no_other_format() {
    let mut participants = both();
    participants[0].for_each_choice(|own| own.formats = Some(linear(&[Fourcc::XRGB8888])));
    participants.push(display("vkms"));
    participants[2].name = "grey plane".to_owned();
    participants[2].for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::XRGB8888, Fourcc::R8]));
    });
    // An image in R8 has a fourth of the bytes, so 20 buffers in R8 would fit.
    let Solution::Split(split) = solve(&wide(participants, region(100 * MIB))) else {
        panic!("20 buffers do not fit")
    };
    assert!(split.relaxed().is_empty() && split.relaxation().is_none());
    assert!(
        split
            .conflict()
            .iter()
            .all(|demand| demand.field != Field::Formats)
    );
}

#[test]
fn fewer_held_buffers_are_proposed_where_those_fit() {
    let mut participants = both();
    participants[1].for_each_choice(|own| own.buffers_held = 13);
    let mut request = wide(participants, region(100 * MIB));
    request.count = 4;
    let Solution::Split(split) = solve(&request) else {
        panic!("15 buffers do not fit, nor 13")
    };
    let fields: Vec<Field> = split.relaxed().iter().map(|demand| demand.field).collect();
    assert_eq!(fields, [Field::Held]);
    assert!(split.relaxed()[0].owner.contains("vkms"));
}

#[test]
fn small_buffers_of_a_queue_do_not_count_and_those_of_a_heap_do() {
    let mut pool = region(2 * MIB);
    pool.add_page_fallback(SourceId::new("v4l2:/dev/video0:capture"));
    pool.add_page_fallback(SourceId::new("dumb:vkms"));
    let mut request = wide(both(), pool);
    request.extent = Extent::new(640, 480).unwrap();
    let found = plan(&request);
    assert!(found.source().as_str() != "heap:default_cma_region" && found.pools().is_empty());
    let rejection = found
        .rejections()
        .iter()
        .find(|own| own.source.as_str().starts_with("heap"));
    let words = &rejection.unwrap().words;
    assert!(
        words.contains("1 of 20 buffers fit in default_cma_region"),
        "{words}"
    );
    request.extent = Extent::new(1920, 1080).unwrap();
    let Solution::Split(split) = solve(&request) else {
        panic!("large buffers do not fit")
    };
    let words = split
        .rejections()
        .iter()
        .map(|own| own.words.clone())
        .collect::<String>();
    assert!(
        words.contains("only buffers of up to 4194304 bytes come from the page allocator"),
        "{words}"
    );
}

#[test]
fn memory_that_a_participant_allocates_for_itself_counts() {
    let mut participants = both();
    let own = OwnMemory {
        pool: PoolId::new("cma:default"),
        buffers: 3,
        bytes: 4 * MIB,
    };
    participants[0].for_each_choice(|choice| choice.own_memory = vec![own.clone()]);
    let found = plan(&wide(participants.clone(), region(172 * MIB)));
    assert_eq!(found.pools()[0].bytes, 172 * MIB);
    let Solution::Split(split) = solve(&wide(participants, region(171 * MIB))) else {
        panic!("12 MiB are not left")
    };
    assert!(split.rejections()[0].words.contains("19 of 20 buffers fit"));
}

#[test]
fn groups_of_a_split_share_one_region() {
    let mut participants = both();
    participants[1].for_each_choice(|own| own.formats = Some(linear(&[Fourcc::RGB565])));
    let mut request = wide(participants, region(160 * MIB));
    // The camera writes NV12 and the display shows RGB565. Both allocate from the region.
    request.count = 22;
    let Solution::Split(split) = solve(&request) else {
        panic!("there is no common format")
    };
    let planned: Vec<bool> = split
        .groups()
        .iter()
        .map(|group| group.plan.is_some())
        .collect();
    assert_eq!(planned, [true, false]);
    let words = &split.groups()[1].rejections[0].words;
    assert!(
        words.contains("of 22 buffers fit in default_cma_region"),
        "{words}"
    );
    assert!(words.contains("other jobs or groups take"), "{words}");
    assert!(split.explain().contains(words));
}

#[test]
fn jobs_that_run_together_share_the_region_and_the_one_that_does_not_fit_is_named() {
    let mut one = wide(both(), region(200 * MIB));
    one.count = 15;
    let mut two = one.clone();
    two.count = 12;
    let together = solve_together(&[("preview", &one), ("recording", &two)]);
    assert!(together.jobs[0].fits && !together.jobs[1].fits);
    let unfit: Vec<&str> = together.unfit().map(|job| job.name.as_str()).collect();
    assert_eq!(unfit, ["recording"]);
    insta::assert_snapshot!(together.explain(Solution::explain));
    two.count = 10;
    let together = solve_together(&[("preview", &one), ("recording", &two)]);
    assert_eq!(together.unfit().count(), 0);
    assert_eq!(together.pools[0].bytes, 200 * MIB);
}

#[test]
fn job_with_another_heap_is_placed_after_job_without_one() {
    let first = wide(both(), region(160 * MIB));
    let mut flexible = first.clone();
    let mut heap = source("heap:other", "dma-heap other", Guarantees::default());
    heap.guarantees.contiguous_up_to_bytes = u64::MAX;
    heap.guarantees.cost = covalent_solver::constraint::MemoryCost::Reserved;
    flexible.sources.push(heap);
    let together = solve_together(&[("flexible", &flexible), ("bound", &first)]);
    assert_eq!(together.unfit().count(), 0);
    let Solution::Share(plan) = &together.jobs[0].solution else {
        panic!("{}", together.explain(Solution::explain))
    };
    assert_eq!(plan.source().as_str(), "heap:other");
}

#[test]
fn pool_with_a_field_of_a_newer_version_makes_its_sources_unusable() {
    let request = wide(both(), region(160 * MIB));
    let mut text = serde_json::to_value(&request).unwrap();
    text["pools"][0]["interleaved"] = true.into();
    let newer: Request = serde_json::from_value(text.clone()).unwrap();
    let Solution::Split(split) = solve(&newer) else {
        panic!("what the field asks for is not known")
    };
    assert!(split.rejections()[0].words.contains("interleaved"));
    assert_eq!(serde_json::to_value(&newer).unwrap(), text);
}

#[test]
fn request_with_a_wrong_pool_is_refused_with_its_place() {
    let request = wide(both(), region(160 * MIB));
    let refusal = |edit: fn(&mut Request)| {
        let mut wrong = request.clone();
        edit(&mut wrong);
        let text = serde_json::to_vec(&wrong).unwrap();
        Request::from_json(&text).unwrap_err().to_string()
    };
    let twice = refusal(|own| own.pools.push(own.pools[0].clone()));
    assert!(
        twice.starts_with("pools[1].id: cma:default is the identifier of pools[0]"),
        "{twice}"
    );
    let other = refusal(|own| own.pools[0].id = PoolId::new("cma:other"));
    assert!(
        other.starts_with(
            "sources[0].guarantees.pools: the request has no pool with the identifier cma:default"
        ),
        "{other}"
    );
    let own = refusal(|own| {
        own.participants[1].for_each_choice(|choice| {
            choice.own_memory.push(OwnMemory {
                pool: PoolId::new("vram"),
                buffers: 1,
                bytes: 1,
            });
        });
    });
    assert!(
        own.starts_with(
            "participants[1].own_memory: the request has no pool with the identifier vram"
        ),
        "{own}"
    );
}
