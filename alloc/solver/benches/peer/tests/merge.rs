//! Tests that Covalent and hbm have the same result of the merge.
#![allow(missing_docs)]

use covalent_solver_peer::{Peer, covalent, hbm, request};

#[test]
fn both_are_left_with_the_same_number_of_pairs() {
    let request = request();
    let left = covalent(&request);
    assert!(left > 1000);
    assert_eq!(hbm(&Peer::new(&request)), left);
}
