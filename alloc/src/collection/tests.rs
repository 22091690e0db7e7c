use std::path::Path;

use super::*;
use crate::constraint::{FormatSet, Role};
use crate::model::{DeviceIdentity, FormatModifier};
use crate::solve::Verdict;
use crate::trial::environment;

/// A backend that declares a source and fails to allocate from it.
#[derive(Debug)]
struct Empty;

impl Backend for Empty {
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
    collection.add_backend(Box::new(Empty));
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
