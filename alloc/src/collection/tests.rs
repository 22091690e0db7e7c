use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::constraint::{CopierKind, ExtraFields, FormatSet, Role};
use crate::model::{DeviceIdentity, FormatModifier};
use crate::solve::{Copier, Verdict};
use crate::trial::environment;

/// A backend that declares a source and fails to allocate from it.
#[derive(Debug)]
struct EmptyBackend;

impl Backend for EmptyBackend {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn discover(&mut self, _: Extent, _: Option<&Path>) -> Declared {
        let mut declared = Declared::default();
        let id = SourceId::new("empty:0");
        declared.sources.push(Source::new(id, "empty memory"));
        declared.add_unavailable("another", &"it is not there");
        declared
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<backend::Allocated, BackendError>> {
        (plan.source().as_str() == "empty:0").then(|| {
            let kind = BackendErrorKind::Exhausted;
            Err(BackendError::new(
                "empty:0",
                "empty",
                "allocate",
                kind,
                "nothing left",
            ))
        })
    }
}

fn camera() -> Participant {
    let device = DeviceIdentity {
        driver: "made-up".to_owned(),
        location: "platform:0".to_owned(),
        node: "/dev/made-up".to_owned(),
    };
    let formats = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
    let mut camera = Participant::new("camera", device, Role::Capture);
    camera.for_each_choice(|own| own.formats = Some(formats.clone()));
    camera
}

fn collection() -> BufferCollection {
    let mut collection = BufferCollection::new(Extent::new(64, 48).unwrap())
        .with_count(3)
        .with_only_source(SourceId::new("empty:0"));
    collection.set_trial_results(TrialResults::with_quirks(environment(), 0));
    collection.add_backend(Box::new(EmptyBackend));
    collection
}

#[test]
fn collection_with_an_added_backend_plans_its_source() {
    let mut collection = collection();
    collection.add(&camera()).unwrap();
    let plan = collection.solve().guaranteed().unwrap();
    assert_eq!(plan.source().as_str(), "empty:0");
    assert_eq!(plan.count(), 3);
    let unavailable = collection.unavailable();
    assert!(unavailable.iter().any(|other| other.name == "another"));
}

#[test]
fn failed_allocation_names_device_driver_and_operation() {
    let mut collection = collection();
    collection.add(&camera()).unwrap();
    let plan = collection.solve().guaranteed().unwrap();
    let error = collection.allocate(&plan).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Exhausted);
    assert_eq!(
        error.to_string(),
        "empty:0 (empty): allocate failed: nothing left"
    );
}

#[test]
fn plan_of_a_source_without_a_backend_is_refused_by_name() {
    let mut planned = collection();
    planned.add(&camera()).unwrap();
    let plan = planned.solve().guaranteed().unwrap();
    let mut other = BufferCollection::new(Extent::new(64, 48).unwrap());
    let error = other.allocate(&plan).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::NotPlanned);
    assert!(error.to_string().contains("empty memory (empty:0)"));
}

#[test]
fn refused_source_is_not_planned_until_refusals_are_forgotten() {
    let mut collection = collection();
    collection.add(&camera()).unwrap();
    collection.refuse(&SourceId::new("empty:0"));
    assert_eq!(collection.solve().verdict(), Verdict::Impossible);
    collection.forget_refusals();
    assert_eq!(collection.solve().verdict(), Verdict::Guaranteed);
}

#[test]
fn members_with_equal_names_are_numbered() {
    let mut collection = collection();
    collection.add(&camera()).unwrap().add(&camera()).unwrap();
    let names: Vec<&str> = collection
        .participants()
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
    assert_eq!(collection.request().participants, collection.participants());
}

/// A backend with a device that copies one format to another. `is_queried` records whether its copiers were queried, which must
/// not happen if the members share a buffer.
#[derive(Debug)]
struct CopyingBackend {
    is_queried: Rc<Cell<bool>>,
}

impl Backend for CopyingBackend {
    fn name(&self) -> &'static str {
        "copying"
    }

    fn discover(&mut self, _: Extent, _: Option<&Path>) -> Declared {
        Declared::default()
    }

    fn copiers(&mut self, _: Extent) -> Vec<CopyDevice> {
        self.is_queried.set(true);
        vec![copier("machine", 50)]
    }
}

fn copier(name: &str, cost: u32) -> CopyDevice {
    CopyDevice {
        name: name.to_owned(),
        device: camera().device,
        kind: CopierKind::Gpu,
        reads: FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]),
        writes: FormatSet::from([FormatModifier::linear(Fourcc::RGB565)]),
        cost,
        extra_fields: ExtraFields::default(),
    }
}

/// Adds two members without a common format, and returns the name of the device that copies between them; `None` for the CPU.
fn copier_of(collection: &mut BufferCollection) -> Option<String> {
    let mut display = camera();
    display.role = Role::Display;
    let formats = FormatSet::from([FormatModifier::linear(Fourcc::RGB565)]);
    display.for_each_choice(|own| own.formats = Some(formats.clone()));
    collection.add(&camera()).unwrap().add(&display).unwrap();
    let solved = collection.solve();
    let Solution::Split(split) = &*solved else {
        panic!("the members have no common format, and the solution is not a split");
    };
    match split.copies().next().unwrap().by {
        Copier::Device(device) => Some(device.name.clone()),
        _ => None,
    }
}

#[test]
fn copiers_are_asked_for_only_where_members_share_no_buffer() {
    let is_queried = Rc::new(Cell::new(false));
    let mut collection = collection();
    let was_queried = Rc::clone(&is_queried);
    collection.add_backend(Box::new(CopyingBackend { is_queried }));
    collection.add(&camera()).unwrap();
    assert_eq!(collection.solve().verdict(), Verdict::Guaranteed);
    assert!(!was_queried.get());
    collection.restart(Extent::new(64, 48).unwrap());
    assert_eq!(copier_of(&mut collection).as_deref(), Some("machine"));
    assert!(was_queried.get());
}

#[test]
fn copier_of_the_program_copies_where_it_costs_least() {
    let mut with_none = collection();
    assert_eq!(copier_of(&mut with_none), None);
    let mut with_own = collection();
    let is_queried = Rc::default();
    with_own.add_backend(Box::new(CopyingBackend { is_queried }));
    with_own.add_copier(copier("own", 10));
    assert_eq!(copier_of(&mut with_own).as_deref(), Some("own"));
    with_own.restart(Extent::new(64, 48).unwrap());
    with_own.add_copier(copier("dear", 60));
    assert_eq!(copier_of(&mut with_own).as_deref(), Some("machine"));
}
