//! Measures the time that Covalent and hbm take for the same merge.
#![allow(missing_docs)]

use std::hint::black_box;

use covalent_solver_peer::{Peer, covalent, hbm, request};
use criterion::{Criterion, criterion_group, criterion_main};

fn merging(criterion: &mut Criterion) {
    let request = request();
    let peer = Peer::new(&request);
    let mut group = criterion.benchmark_group("merge_16_participants_of_5000_pairs");
    group.bench_function("covalent", |bencher| {
        bencher.iter(|| covalent(black_box(&request)))
    });
    group.bench_function("hbm", |bencher| bencher.iter(|| hbm(black_box(&peer))));
    group.finish();
}

criterion_group!(benches, merging);
criterion_main!(benches);
