//! Checks programs of other projects on Covalent's compositor, by landmarks in QEMU's picture of the display.

use std::collections::BTreeSet;

use super::*;

/// A program, and the landmark that the picture of the display must contain while the program runs.
pub(super) struct Program {
    name: &'static str,
    command: &'static str,
    landmark: Landmark,
}

/// A property that the picture of the display must have.
enum Landmark {
    /// The colour must cover at least this percentage of the picture.
    Colour([u8; 3], u32),
    /// The picture must have at least this many different colours.
    Colours(usize),
    /// The camera's colour bars must each cover at least three percent of the picture.
    Bars,
}

pub(super) const WESTON: &[Program] = &[
    Program {
        name: "weston-presentation-shm",
        command: "weston-presentation-shm",
        // The program shows a wheel of four colours.
        landmark: Landmark::Colour([255, 0, 0], 2),
    },
    Program {
        name: "weston-simple-egl",
        command: "weston-simple-egl",
        landmark: Landmark::Colours(50),
    },
    // weston-simple-dmabuf-feedback is not in the list: it asserts that a display has more formats than virtio-gpu's XRGB8888.
    Program {
        name: "weston-simple-dmabuf-egl",
        command: "weston-simple-dmabuf-egl",
        landmark: Landmark::Colours(50),
    },
    Program {
        name: "weston-simple-dmabuf-v4l",
        command: "weston-simple-dmabuf-v4l /dev/video0 XR24 XR24",
        landmark: Landmark::Bars,
    },
];

pub(super) const VIDEO: &[Program] = &[
    Program {
        name: "gst-shm",
        command: "gst-launch-1.0 -q videotestsrc pattern=red ! video/x-raw,format=BGRx,width=320,height=240 ! waylandsink",
        landmark: Landmark::Colour([255, 0, 0], 10),
    },
    Program {
        name: "gst-camera-dmabuf",
        command: "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=dmabuf ! video/x-raw,format=BGRx,width=640,height=480 ! waylandsink fullscreen=true",
        landmark: Landmark::Bars,
    },
    Program {
        name: "mpv-wlshm",
        command: "mpv --no-config --really-quiet --vo=wlshm av://lavfi:color=c=0x00ff00:s=320x240",
        landmark: Landmark::Colour([0, 255, 0], 10),
    },
    Program {
        name: "mpv-gpu",
        command: "mpv --no-config --really-quiet --vo=gpu --gpu-context=wayland av://lavfi:color=c=0xff0000:s=320x240",
        landmark: Landmark::Colour([255, 0, 0], 10),
    },
];

pub(super) const TOOLKITS: &[Program] = &[
    Program {
        name: "foot",
        command: "foot --override=colors.background=204060 --override=csd.preferred=none sleep 1000",
        landmark: Landmark::Colour([0x20, 0x40, 0x60], 30),
    },
    Program {
        name: "sdl2",
        command: "env SDL_VIDEODRIVER=wayland SDL_RENDER_DRIVER=software /usr/libexec/installed-tests/SDL2/testdraw2",
        // The program shows white rectangles and lines on grey.
        landmark: Landmark::Colour([160; 3], 10),
    },
    Program {
        name: "gtk4",
        command: "env GDK_BACKEND=wayland GSK_RENDERER=cairo gtk4-widget-factory",
        landmark: Landmark::Colours(40),
    },
];

pub(super) const GLMARK2: &[Program] = &[Program {
    name: "glmark2",
    command: "glmark2-es2-wayland --size 320x240 -b build:duration=60",
    landmark: Landmark::Colours(50),
}];

/// The longest time for a program to show its landmark, in seconds. Toolkits need half a minute on emulated processors.
const SECONDS: u32 = 120;

/// Checks that each program shows its landmark, and leaves no resources in the compositor when it ends.
pub(super) fn are_shown(
    context: &mut TestContext<'_>,
    programs: &[Program],
) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let mut failures = Vec::new();
    for program in programs {
        if let Err(error) = is_shown(context, &compositor, program) {
            failures.push(format!("{}: {error:#}", program.name));
        }
        compositor.check_nothing_left(context, program.name)?;
    }
    compositor.stop(context)?;
    ensure!(failures.is_empty(), "{failures:#?}");
    Ok(Outcome::Passed)
}

fn is_shown(
    context: &mut TestContext<'_>,
    compositor: &TestCompositor,
    program: &Program,
) -> anyhow::Result<()> {
    let client = compositor.start_client(context, program.command)?;
    let mut found = Err(anyhow::anyhow!("no picture was taken"));
    for _ in 0..SECONDS {
        let picture = context.guest()?.screendump()?;
        found = program.landmark.find(&picture);
        if found.is_ok() {
            save(context, program.name, &picture)?;
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    if found.is_err() {
        let picture = context.guest()?.screendump()?;
        save(context, program.name, &picture)?;
    }
    // Some programs ignore SIGTERM while they start, so the program is killed.
    client.signal(super::super::compositor::SIGKILL, SignalTarget::Group)?;
    let exit = wait_for_exit(client, None)?;
    let output = format!("{}\n{}", exit.stdout, exit.stderr);
    context.save_artefact(&format!("{}.txt", program.name), output.as_bytes())?;
    found.with_context(|| {
        let lines: Vec<&str> = output.lines().rev().take(5).collect();
        format!("the last messages of the program, the newest first: {lines:?}")
    })
}

impl Landmark {
    fn find(&self, picture: &RgbImage) -> anyhow::Result<()> {
        let total = picture.width().saturating_mul(picture.height());
        let share = |colour: &[u8; 3]| {
            let near = |pixel: &&image::Rgb<u8>| {
                pixel
                    .0
                    .iter()
                    .zip(colour)
                    .all(|(one, other)| one.abs_diff(*other) <= 8)
            };
            let count = u32::try_from(picture.pixels().filter(near).count()).unwrap_or(u32::MAX);
            count.saturating_mul(100) / total.max(1)
        };
        match self {
            Self::Colour(colour, least) => {
                let found = share(colour);
                ensure!(
                    found >= *least,
                    "{found} % of the picture are {colour:?}; at least {least} % are expected"
                );
            }
            Self::Colours(least) => {
                let colours: BTreeSet<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
                ensure!(
                    colours.len() >= *least,
                    "the picture has {} colours; at least {least} are expected",
                    colours.len()
                );
            }
            Self::Bars => {
                for colour in BARS_100.colours {
                    ensure!(share(colour) >= 3, "the picture has no bar of {colour:?}");
                }
            }
        }
        Ok(())
    }
}
