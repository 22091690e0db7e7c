//! Tests of Vulkan on an application's device: the extensions and features that the application has to enable, the error if some
//! are missing, and the use of shared images.
//!
//! lavapipe cannot share images with Mesa before 24, or without `/dev/udmabuf`. On such a machine the tests that need shared
//! images print that they are skipped. `covalent-interop-check application_device` runs the same scenes in a guest that supports
//! them.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a failed test")]

mod engine;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use covalent_alloc::backend::vulkan::ash::{ext, khr, vk};
use covalent_alloc::backend::vulkan::{
    Capabilities, Gpu, MissingKind, VulkanError, required_device_extensions,
};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Request, Solution, solve};

use engine::scenes::{self, SceneOutcome};
use engine::{Engine, Setup};

/// Waits until no other test of this program uses Vulkan.
///
/// The Vulkan loader unloads a driver when its last instance is destroyed. With Mesa 26.1, a program that creates and destroys
/// instances of lavapipe on several threads crashed in four of sixty runs, and with one thread at a time in none of a hundred
/// runs.
fn lock_vulkan() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setup() -> Setup {
    Setup {
        is_validated: Engine::has_layer(),
        ..Setup::default()
    }
}

/// Returns an engine for each physical device. On a machine without Vulkan it returns an empty list and prints the reason.
fn engines(setup: Setup) -> Vec<Arc<Engine>> {
    let mut found = Vec::new();
    loop {
        match Engine::open(found.len(), setup) {
            Ok(Some(engine)) => found.push(Arc::new(engine)),
            Ok(None) => break,
            Err(
                error @ (VulkanError::Loader { .. }
                | VulkanError::Call {
                    operation: "vkCreateInstance" | "vkEnumeratePhysicalDevices",
                    ..
                }),
            ) => {
                eprintln!("skipped, because there is no Vulkan here: {error}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    found
}

/// Returns the engines whose devices can share images as dma-bufs. For the other devices it prints the reason.
fn engines_with_shared_images() -> Vec<(Arc<Engine>, Gpu)> {
    let wanted = Capabilities::IMAGES;
    engines(setup())
        .into_iter()
        .filter_map(|engine| match engine.adopt(wanted) {
            Ok(gpu) => Some((engine, gpu)),
            Err(error @ VulkanError::Missing { .. }) => {
                eprintln!("skipped, because {error}");
                None
            }
            Err(error) => panic!("{error}"),
        })
        .collect()
}

fn assert_no_validation_messages(engine: &Engine) {
    assert_eq!(engine.validation_messages.take(), Vec::<String>::new());
}

fn allocated(gpu: &Gpu, fourcc: Fourcc, extent: Extent, count: u32) -> Option<Vec<Buffer>> {
    let mut writer = Participant::processor(Role::CpuWrite);
    let formats = FormatSet::from([FormatModifier::linear(fourcc)]);
    writer.for_each_choice(|own| own.formats = Some(formats.clone()));
    let request = Request {
        count,
        participants: vec![writer, gpu.participant(extent, Some(fourcc)).unwrap()],
        sources: gpu.source_of_size(extent).unwrap().into_iter().collect(),
        ..Request::new(extent)
    };
    match solve(&request) {
        Solution::Share(plan) => Some(gpu.allocate(&plan).unwrap()),
        solution => {
            eprintln!("skipped, because {}", solution.explain());
            None
        }
    }
}

fn report(name: &str, gpu: &Gpu, outcome: Result<SceneOutcome, VulkanError>) {
    match outcome {
        Ok(SceneOutcome::Passed(note)) => eprintln!("{name} on {}: passed {note}", gpu.name()),
        Ok(SceneOutcome::Unsupported(why)) => {
            eprintln!("{name} on {}: skipped, because {why}", gpu.name())
        }
        Err(error) => panic!("{name} on {}: {error}", gpu.name()),
    }
}

#[test]
fn device_without_extensions_gets_all_missing_ones_in_one_error() {
    let _guard = lock_vulkan();
    let bare = Setup {
        device_extensions: Some(&[]),
        ..setup()
    };
    for engine in engines(bare) {
        let error = engine.adopt(Capabilities::all()).unwrap_err();
        let VulkanError::Missing { device, missing } = &error else {
            panic!("{error}");
        };
        assert_eq!(*device, engine.supported.name);
        let of = |kind| -> BTreeSet<&str> {
            missing
                .iter()
                .filter(|one| one.kind == kind)
                .map(|one| one.name.as_str())
                .collect()
        };
        let version = engine.supported.api_version.min(vk::API_VERSION_1_2);
        let expected: BTreeSet<&str> = required_device_extensions(Capabilities::all(), version)
            .map(|one| one.name.to_str().unwrap())
            .collect();
        assert_eq!(of(MissingKind::DeviceExtension), expected);
        assert_eq!(of(MissingKind::Feature).len(), 2);
        assert!(of(MissingKind::InstanceExtension).is_empty());
        // The error lists all missing requirements, each on a line of its own, and says whether the driver supports it.
        let message = error.to_string();
        assert_eq!(message.lines().count(), missing.len() + 1, "{message}");
        for one in missing {
            let is_supported = engine
                .supported
                .extensions
                .iter()
                .any(|name| name.to_str() == Ok(one.name.as_str()));
            if one.kind == MissingKind::DeviceExtension {
                assert_eq!(one.remedy.contains("enable it"), is_supported, "{one}");
            }
        }
        assert_eq!(
            engine.check(Capabilities::all()).unwrap_err().to_string(),
            message
        );
        engine.is_alive().unwrap();
        assert_no_validation_messages(&engine);
    }
}

#[test]
fn only_the_wanted_capabilities_are_required() {
    let _guard = lock_vulkan();
    let bare = Setup {
        device_extensions: Some(&[khr::external_memory_fd::NAME]),
        ..setup()
    };
    for engine in engines(bare) {
        let Err(VulkanError::Missing { missing, .. }) = engine.check(Capabilities::IMAGES) else {
            panic!("nothing is missing");
        };
        let names: Vec<&str> = missing.iter().map(|one| one.name.as_str()).collect();
        assert!(names.contains(&ext::image_drm_format_modifier::NAME.to_str().unwrap()));
        assert!(!names.contains(&khr::external_memory_fd::NAME.to_str().unwrap()));
        assert!(!names.contains(&khr::external_semaphore_fd::NAME.to_str().unwrap()));
    }
}

#[test]
fn instance_of_version_1_0_gets_an_error_that_requires_1_1() {
    let _guard = lock_vulkan();
    let old = Setup {
        api_version: vk::API_VERSION_1_0,
        device_extensions: Some(&[]),
        ..setup()
    };
    for engine in engines(old) {
        let error = engine.adopt(Capabilities::IMAGES).unwrap_err().to_string();
        assert!(error.contains("instance version 1.1"), "{error}");
        assert!(error.contains("VkApplicationInfo::apiVersion"), "{error}");
        assert_no_validation_messages(&engine);
    }
}

#[test]
fn device_of_the_engine_outlives_the_objects_of_covalent() {
    let _guard = lock_vulkan();
    for (engine, gpu) in engines_with_shared_images() {
        assert_eq!(gpu.queue_family(), engine.family);
        assert_eq!(gpu.name(), engine.supported.name);
        let submitted = gpu.submit(covalent_alloc::backend::vulkan::Submission::default());
        drop(submitted.unwrap());
        assert!(gpu.finish(Duration::from_secs(10)).unwrap());
        drop(gpu);
        engine.is_alive().unwrap();
        assert_eq!(Arc::strong_count(&engine), 1);
        assert_no_validation_messages(&engine);
    }
}

#[test]
fn engine_draws_and_copies_between_shared_images() {
    let _guard = lock_vulkan();
    for (engine, gpu) in engines_with_shared_images() {
        let extent = Extent::new(320, 48).unwrap();
        for fourcc in [Fourcc::XRGB8888, Fourcc::NV12] {
            let Some(buffers) = allocated(&gpu, fourcc, extent, 2) else {
                continue;
            };
            let [first, second] = buffers.as_slice() else {
                panic!("{} buffers", buffers.len());
            };
            if fourcc == Fourcc::XRGB8888 {
                report("drawing", &gpu, scenes::draws(&engine, &gpu, first));
            }
            report(
                "copying",
                &gpu,
                scenes::copies(&engine, &gpu, first, second),
            );
        }
        assert_no_validation_messages(&engine);
    }
}

#[test]
fn engine_samples_chroma_at_its_location() {
    let _guard = lock_vulkan();
    for (engine, gpu) in engines_with_shared_images() {
        let extent = Extent::new(scenes::SAMPLED.0, scenes::SAMPLED.1).unwrap();
        let Some(buffers) = allocated(&gpu, Fourcc::NV12, extent, 1) else {
            continue;
        };
        let outcome = scenes::samples(&engine, &gpu, &buffers[0]);
        report("sampling", &gpu, outcome);
        assert_no_validation_messages(&engine);
    }
}
