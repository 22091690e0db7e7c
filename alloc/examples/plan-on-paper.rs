//! A plan for a machine that is not here: `plan-on-paper MACHINE.json CAMERA DISPLAY`, such as
//! `plan-on-paper tests/machines/raspberrypi-4.json unicam vc4`.

use std::error::Error;

use covalent_alloc::machine::{Job, Machine};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::solve;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, camera, display] = words.as_slice() else {
        return Err("name a recorded machine (`covalent probe --record` writes one), a camera and a card of it".into());
    };
    let machine = Machine::from_json(&std::fs::read(path)?)?;
    println!("{}, by {}", machine.name, machine.origin);
    // A size that was asked for when it was recorded; what was written down by hand holds for every size.
    let recorded = machine.declared.iter().find_map(|declared| declared.size);
    let size = recorded.map_or_else(|| Extent::new(1920, 1080), Ok)?;
    let job = Job {
        cameras: vec![camera.clone()],
        displays: vec![display.clone()],
        ..Job::new(size, 4)
    };
    let asked = machine.request(&job)?;
    let solution = solve(
        &machine
            .trial_results_and_quirks()
            .apply(&asked.request)
            .request,
    );
    println!("{solution}");
    // What of it nobody knows, so that somebody who has the board can tell.
    for unsure in asked.unverified(&solution) {
        println!("not known: {unsure}");
    }
    Ok(())
}
