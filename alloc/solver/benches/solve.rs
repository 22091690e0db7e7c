//! Measures the time for merging and solving: `cargo bench -p covalent-solver --bench solve`.
#![allow(missing_docs, clippy::unwrap_used)]

mod jobs;

use std::hint::black_box;

use covalent_solver::constraint::{MergedImage, MergedMemory, MergedUse};
use criterion::{Criterion, criterion_group, criterion_main};

fn solving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("solve");
    for (name, request, shares) in jobs::all() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| jobs::solve_job(&request, shares));
        });
    }
    group.finish();
}

fn merging(criterion: &mut Criterion) {
    let crowd = jobs::crowd_that_shares();
    let constraints = || {
        crowd
            .participants
            .iter()
            .map(|participant| participant.constraints())
            .enumerate()
    };
    criterion.bench_function("merge/formats_and_buffers_of_16", |bencher| {
        bencher.iter(|| {
            constraints()
                .map(|(owner, constraints)| MergedUse::of(owner, black_box(constraints)))
                .reduce(|all, one| all.merge(&one))
        });
    });
    criterion.bench_function("merge/pictures_and_memory_of_16", |bencher| {
        bencher.iter(|| {
            let images = constraints()
                .map(|(owner, constraints)| MergedImage::of(owner, &constraints.image));
            let memory = constraints()
                .map(|(owner, constraints)| MergedMemory::of(owner, &constraints.memory));
            (
                images.reduce(|all, one| all.merge(&one)),
                memory.reduce(|all, one| all.merge(&one)),
            )
        });
    });
}

criterion_group!(benches, solving, merging);
criterion_main!(benches);
