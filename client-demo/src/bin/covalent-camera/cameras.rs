//! `--camera`, given several times: shows each camera in a window of its own.
//!
//! Each camera has a thread with its own event loop, window and connection to the compositor. So a camera that fails, or waits for
//! the compositor, does not delay the others.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::anyhow;
use covalent_alloc::text::{PrintableWriter, printable_path};
use covalent_client_demo::exit::{Exit, Failure};

use crate::options::{Display, Options};

/// Runs `stream` for each camera of the command line: in this thread for one, and in a thread each for several.
///
/// # Errors
/// [`Exit::Usage`] for options that only one camera can have. The failure of the only camera; with several cameras, a failure with
/// the exit status of the first that failed.
pub(crate) fn run(
    options: &Options,
    stream: impl Fn(&Options) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let mut cameras = options.cameras.clone();
    if let [] | [_] = cameras.as_slice() {
        let device = cameras.pop().unwrap_or_else(|| options.device.clone());
        return stream(&Options {
            device,
            cameras: Vec::new(),
            ..options.clone()
        });
    }
    check(options)?;
    let results: Vec<Result<(), Exit>> = std::thread::scope(|scope| {
        let threads: Vec<_> = cameras
            .into_iter()
            .map(|device| {
                let own = Options {
                    device,
                    window: true,
                    ..options.clone()
                };
                let stream = &stream;
                std::thread::Builder::new()
                    .name("camera".to_owned())
                    .spawn_scoped(scope, move || run_one(&own, stream))
            })
            .collect();
        let results = threads.into_iter().map(|thread| match thread {
            Ok(thread) => thread.join().unwrap_or(Err(Exit::Unexpected)),
            Err(error) => {
                tracing::error!("no thread can be started for a camera: {error}");
                Err(Exit::Unexpected)
            }
        });
        results.collect()
    });
    summary(&results)
}

/// Runs the stream of one of several cameras. Prints its failure at once, because the other cameras go on.
fn run_one(
    options: &Options,
    stream: &impl Fn(&Options) -> Result<(), Failure>,
) -> Result<(), Exit> {
    stream(options).map_err(|failure| {
        let device = printable_path(&options.device);
        let line = format!("covalent-camera: the window of {device} is closed: {failure}\n");
        // stderr may be closed. The exit code says that a camera failed.
        let _ = PrintableWriter::new(std::io::stderr()).write_all(line.as_bytes());
        failure.exit()
    })
}

/// Returns the failure of a run with several cameras.
fn summary(results: &[Result<(), Exit>]) -> Result<(), Failure> {
    let failed: Vec<Exit> = results
        .iter()
        .filter_map(|result| result.as_ref().err().copied())
        .collect();
    match failed.first() {
        None => Ok(()),
        Some(exit) => Err(Failure::new(
            *exit,
            anyhow!("{} of {} cameras failed", failed.len(), results.len()),
        )),
    }
}

/// Checks that all options can be used with several cameras.
fn check(options: &Options) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::new(Exit::Usage, anyhow!(text)));
    let mut known: Vec<&PathBuf> = Vec::new();
    for camera in &options.cameras {
        if known.contains(&camera) {
            let camera = printable_path(camera);
            return usage(format!("--camera {camera} is given twice"));
        }
        known.push(camera);
    }
    if options.display == Display::Kms {
        return usage("several cameras need a compositor; leave out --display kms".to_owned());
    }
    for (is_given, option) in [
        (options.fullscreen, "--fullscreen"),
        (options.list, "--list"),
        (options.setup_links, "--setup-links"),
        (options.controls, "--controls"),
        (!options.control.is_empty(), "--control"),
        (options.forget, "--forget"),
        (options.snapshot.is_some(), "--snapshot"),
        (options.record.is_some(), "--record"),
        (options.encode.is_some(), "--encode"),
        (options.share.is_some(), "--share"),
    ] {
        if is_given {
            return usage(format!(
                "{option} is for one camera; run a program for each camera to use it"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use clap::Parser as _;

    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::try_parse_from([&["covalent-camera"][..], words].concat()).unwrap()
    }

    #[test]
    fn one_camera_runs_with_all_options() {
        let all = options(&[
            "--camera",
            "/dev/video7",
            "--record",
            "file",
            "--fullscreen",
        ]);
        run(&all, |own| {
            assert_eq!(own.device, PathBuf::from("/dev/video7"));
            assert!(!own.window && own.record.is_some());
            Ok(())
        })
        .unwrap();
        let default = options(&[]);
        run(&default, |own| {
            assert_eq!(own.device, PathBuf::from("/dev/video0"));
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn cameras_run_at_the_same_time_and_the_first_failure_is_the_exit_status() {
        let all = options(&["--camera", "a", "--camera", "b", "--camera", "c"]);
        let together = Barrier::new(3);
        let failure = run(&all, |own| {
            assert!(own.window);
            together.wait();
            match own.device.to_str() {
                Some("a") => Ok(()),
                Some("b") => Err(Failure::new(Exit::CameraBusy, anyhow!("busy"))),
                _ => Err(Failure::new(Exit::NoCamera, anyhow!("not there"))),
            }
        })
        .unwrap_err();
        assert_eq!(failure.exit(), Exit::CameraBusy);
        assert_eq!(failure.to_string(), "2 of 3 cameras failed");
    }

    #[test]
    fn option_for_one_camera_is_refused_with_two() {
        for words in [
            &["--record", "file"][..],
            &["--share", "socket"],
            &["--control", "gain=1"],
            &["--list"],
            &["--display", "kms"],
            &["--fullscreen"],
        ] {
            let two = options(&[&["--camera", "a", "--camera", "b"][..], words].concat());
            let failure = run(&two, |_| panic!("it must not run")).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{words:?}");
        }
        let twice = options(&["--camera", "a", "--camera", "a"]);
        let failure = run(&twice, |_| panic!("it must not run")).unwrap_err();
        assert_eq!(failure.to_string(), "--camera a is given twice");
    }
}
