//! Plans with alternatives, conflicts, and the cheapest demands to give up.

use std::collections::BTreeSet;

use crate::plan;
use covalent_solver::constraint::{
    Coherency, Constraints, Contiguity, CpuUse, Participant, Protection, Role,
};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::solve;
use covalent_solver_tests::common::*;

#[test]
fn second_alternative_is_used_where_the_first_has_no_candidate() {
    let mut encoder = Participant::new("encoder", device("codec"), Role::Output);
    encoder.for_each_choice(|own| own.formats = Some(linear(&[Fourcc::P010])));
    let mut nv12 = Constraints {
        formats: Some(linear(&[Fourcc::NV12])),
        ..Constraints::default()
    };
    nv12.image.rows_multiple_of = 16;
    nv12.image.padding_bytes = 4096;
    encoder.push_alternative(nv12);
    let request = request(
        vec![camera(Contiguity::Scattered), encoder],
        vec![system_heap(2)],
    );
    insta::assert_snapshot!(solve(&request).explain());
    assert_eq!(plan(&request).steps()[1].alternative, 1);
}

#[test]
fn protected_memory_and_a_processor_that_reads_it_conflict() {
    let mut decoder = Participant::new("decoder", device("codec"), Role::Capture);
    decoder.for_each_choice(|own| own.memory.protection = Protection::Required);
    let mut reader = Participant::new("screenshot", device("cpu"), Role::CpuRead);
    reader.for_each_choice(|own| own.memory.cpu = CpuUse::Rarely);
    let mut heap = system_heap(2);
    heap.id = covalent_solver::constraint::SourceId::new("heap:protected");
    heap.name = "dma-heap protected".to_owned();
    heap.guarantees.protected = true;
    let request = request(vec![decoder, reader], vec![system_heap(2), heap]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn conflict_of_three_lists_the_cheapest_relaxation() {
    let mut one = camera(Contiguity::Scattered);
    one.for_each_choice(|own| own.image.stride.alignment = 48);
    let mut two = display("vkms");
    two.for_each_choice(|own| own.image.stride.alignment = 4096);
    let mut three = Participant::new("encoder", device("codec"), Role::Output);
    three.for_each_choice(|own| {
        own.image.stride.maximum = 4096;
        own.memory.coherency = Coherency::Coherent;
    });
    let request = request(vec![one, two, three], vec![system_heap(2)]);
    insta::assert_snapshot!(solve(&request).explain());
}

#[test]
fn source_that_is_permitted_and_preferred_is_used() {
    let mut display = display("vkms");
    let cma = cma_heap(2);
    display.for_each_choice(|own| own.memory.preferred = [cma.id.clone()].into());
    let mut request = request(vec![display], vec![system_heap(2), cma, dumb("vkms")]);
    assert_eq!(plan(&request).source().as_str(), "heap:default_cma_region");
    let permitted = BTreeSet::from([system_heap(2).id]);
    request.participants[0].for_each_choice(|own| own.memory.permitted = Some(permitted.clone()));
    assert_eq!(plan(&request).source().as_str(), "heap:system");
    request.sources.remove(0);
    insta::assert_snapshot!(solve(&request).explain());
}
