//! Plans for a recorded machine: `plan-on-paper MACHINE.json CAMERA DISPLAY`, such as
//! `plan-on-paper tests/machines/raspberrypi-4.json unicam vc4`.

use std::error::Error;

use covalent_alloc::machine::{Job, Machine};
use covalent_alloc::model::Extent;
use covalent_alloc::solve::solve;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, camera, display] = arguments.as_slice() else {
        return Err("usage: plan-on-paper MACHINE.json CAMERA DISPLAY; `covalent probe --record` writes such a file".into());
    };
    let machine = Machine::from_json(&std::fs::read(path)?)?;
    println!("{}, by {}", machine.name, machine.origin);
    // The image size for which the machine's constraints were recorded. A file that was written by hand has none, since its
    // constraints hold for every size.
    let recorded = machine.declared.iter().find_map(|declared| declared.size);
    let size = recorded.map_or_else(|| Extent::new(1920, 1080), Ok)?;
    let job = Job {
        cameras: vec![camera.clone()],
        displays: vec![display.clone()],
        ..Job::new(size, 4)
    };
    let resolved = machine.request(&job)?;
    let solution = solve(
        &machine
            .trial_results_and_quirks()
            .apply(&resolved.request)
            .request,
    );
    println!("{solution}");
    // The values that the plan depends on and that the recorded machine does not contain. A user of that machine can determine
    // them.
    for unknown in resolved.unverified(&solution) {
        println!("not known: {unknown}");
    }
    Ok(())
}
