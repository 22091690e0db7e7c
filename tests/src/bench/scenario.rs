//! The pipelines that `./x bench` compares.

/// The kind of pipelines that `./x bench` compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Pipelines that show a camera: Covalent's client, GStreamer, mpv and FFmpeg on several compositors and on KMS.
    Camera,
    /// Pipelines that show windows: Covalent's compositor, Weston, sway and cage, with the same clients.
    Compositor,
}

/// A pipeline from a camera or a program to a display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// A short name that no other scenario has.
    pub name: &'static str,
    /// The job of the clients. Scenarios with the same job are compared with each other.
    pub job: &'static str,
    /// The command of the compositor; empty if the pipeline has no compositor.
    pub compositor: &'static str,
    /// The command of each client. `@FRAMES@` stands for the number of frames, and `@FPS@` for the camera's rate.
    pub client: &'static str,
    /// How many clients run at the same time.
    pub clients: u32,
}

impl Scenario {
    /// Returns whether all programs of the pipeline are Covalent's.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.name.starts_with("covalent")
    }
}

const COVALENT: &str = "covalent-compositor";
/// The Weston command with the software renderer and a shell without a panel.
const WESTON: &str =
    "weston --backend=drm --renderer=pixman --shell=kiosk --idle-time=0 --no-config";
/// The Weston command with the desktop shell, in which windows keep their size.
const WESTON_DESKTOP: &str = "weston --backend=drm --renderer=pixman --idle-time=0 --no-config";
const SWAY: &str = "env WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 LIBSEAT_BACKEND=seatd \
                    seatd-launch -- sway --unsupported-gpu --config /dev/null";
const CAGE: &str = "env WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 LIBSEAT_BACKEND=seatd \
                    seatd-launch -- cage -- sleep 100000";

const CAMERA_JOB: &str = "camera, 1280x720 XRGB8888";

/// Returns a pipeline that shows a camera.
const fn camera(name: &'static str, compositor: &'static str, client: &'static str) -> Scenario {
    Scenario {
        name,
        job: CAMERA_JOB,
        compositor,
        client,
        clients: 1,
    }
}

const CAMERA: &[Scenario] = &[
    camera(
        "covalent, scanned out",
        COVALENT,
        "covalent-camera --size 1280x720 --format XR24 --fps @FPS@ --frames @FRAMES@ --json",
    ),
    camera(
        "covalent, composed",
        COVALENT,
        "covalent-camera --window --size 1280x720 --format XR24 --fps @FPS@ --frames @FRAMES@ --json",
    ),
    camera(
        "covalent, to KMS",
        "",
        "covalent-camera --display kms --size 1280x720 --format XR24 --fps @FPS@ --frames @FRAMES@ --json",
    ),
    camera(
        "gstreamer (mmap) on covalent",
        COVALENT,
        "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=mmap num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! waylandsink sync=false fullscreen=true",
    ),
    camera(
        "gstreamer (dmabuf) on covalent",
        COVALENT,
        "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=dmabuf num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! waylandsink sync=false fullscreen=true",
    ),
    camera(
        "gstreamer (mmap) on weston",
        WESTON,
        "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=mmap num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! waylandsink sync=false fullscreen=true",
    ),
    camera(
        "gstreamer (dmabuf) on weston",
        WESTON,
        "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=dmabuf num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! waylandsink sync=false fullscreen=true",
    ),
    camera(
        "gstreamer to KMS",
        "",
        "gst-launch-1.0 -q v4l2src device=/dev/video0 num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! kmssink driver-name=virtio_gpu sync=false",
    ),
    camera(
        "gstreamer with a copy on purpose, on weston",
        WESTON,
        "gst-launch-1.0 -q v4l2src device=/dev/video0 io-mode=mmap num-buffers=@FRAMES@ ! \
         video/x-raw,format=BGRx,width=1280,height=720,framerate=@FPS@/1 ! videoconvert ! video/x-raw,format=RGBx ! \
         videoconvert ! video/x-raw,format=BGRx ! waylandsink sync=false fullscreen=true",
    ),
    camera(
        "mpv on weston",
        WESTON,
        "mpv --no-config --really-quiet --vo=wlshm --untimed --profile=low-latency --frames=@FRAMES@ \
         --demuxer-lavf-o=video_size=1280x720,framerate=@FPS@,pixel_format=bgr0 av://v4l2:/dev/video0",
    ),
    camera(
        "ffmpeg (SDL) on weston",
        WESTON,
        "env SDL_VIDEODRIVER=wayland SDL_RENDER_DRIVER=software ffmpeg -nostdin -loglevel error -f v4l2 \
         -video_size 1280x720 -framerate @FPS@ -pixel_format bgr0 -i /dev/video0 -frames:v @FRAMES@ -pix_fmt bgra -f sdl camera",
    ),
];

/// Returns a pipeline that shows the windows of `clients` clients.
const fn window(
    name: &'static str,
    job: &'static str,
    compositor: &'static str,
    client: &'static str,
    clients: u32,
) -> Scenario {
    Scenario {
        name,
        job,
        compositor,
        client,
        clients,
    }
}

const FULLSCREEN_SHM_CLIENT: &str = "covalent-pattern --frames @FRAMES@ --json";
const FULLSCREEN_DMABUF_CLIENT: &str =
    "covalent-pattern --dmabuf --sync implicit --frames @FRAMES@ --json";
const WINDOW_CLIENT: &str = "covalent-pattern --window --size 400x300 --frames @FRAMES@ --json";
const NV12_CLIENT: &str =
    "covalent-camera --window --size 1280x720 --format NV12 --fps @FPS@ --frames @FRAMES@ --json";

const SHM_JOB: &str = "a full-screen wl_shm window";
const DMABUF_JOB: &str = "a full-screen dma-buf window";
const ONE_JOB: &str = "one animated window, 400x300";
const TWO_JOB: &str = "two animated windows, 400x300";
const THREE_JOB: &str = "three animated windows, 400x300";
const NV12_JOB: &str = "a window of NV12, 1280x720";

const COMPOSITOR: &[Scenario] = &[
    window("covalent: shm", SHM_JOB, COVALENT, FULLSCREEN_SHM_CLIENT, 1),
    window("weston: shm", SHM_JOB, WESTON, FULLSCREEN_SHM_CLIENT, 1),
    window("sway: shm", SHM_JOB, SWAY, FULLSCREEN_SHM_CLIENT, 1),
    window("cage: shm", SHM_JOB, CAGE, FULLSCREEN_SHM_CLIENT, 1),
    window(
        "covalent: dma-buf",
        DMABUF_JOB,
        COVALENT,
        FULLSCREEN_DMABUF_CLIENT,
        1,
    ),
    window(
        "weston: dma-buf",
        DMABUF_JOB,
        WESTON,
        FULLSCREEN_DMABUF_CLIENT,
        1,
    ),
    window(
        "sway: dma-buf",
        DMABUF_JOB,
        SWAY,
        FULLSCREEN_DMABUF_CLIENT,
        1,
    ),
    window("covalent: one window", ONE_JOB, COVALENT, WINDOW_CLIENT, 1),
    window(
        "weston: one window",
        ONE_JOB,
        WESTON_DESKTOP,
        WINDOW_CLIENT,
        1,
    ),
    window("covalent: two windows", TWO_JOB, COVALENT, WINDOW_CLIENT, 2),
    window(
        "weston: two windows",
        TWO_JOB,
        WESTON_DESKTOP,
        WINDOW_CLIENT,
        2,
    ),
    window("sway: two windows", TWO_JOB, SWAY, WINDOW_CLIENT, 2),
    window(
        "covalent: three windows",
        THREE_JOB,
        COVALENT,
        WINDOW_CLIENT,
        3,
    ),
    window(
        "weston: three windows",
        THREE_JOB,
        WESTON_DESKTOP,
        WINDOW_CLIENT,
        3,
    ),
    window("sway: three windows", THREE_JOB, SWAY, WINDOW_CLIENT, 3),
    window("covalent: NV12", NV12_JOB, COVALENT, NV12_CLIENT, 1),
    window("weston: NV12", NV12_JOB, WESTON_DESKTOP, NV12_CLIENT, 1),
];

impl Subject {
    /// Returns the scenarios to compare, in the order in which they run and are printed.
    #[must_use]
    pub fn scenarios(self) -> &'static [Scenario] {
        match self {
            Self::Camera => CAMERA,
            Self::Compositor => COMPOSITOR,
        }
    }

    /// Returns the name of the subject on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Compositor => "compositor",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_pipelines_of_a_subject_are_unique() {
        for subject in [Subject::Camera, Subject::Compositor] {
            let mut names: Vec<_> = subject.scenarios().iter().map(|one| one.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", subject.name());
        }
    }

    #[test]
    fn every_job_has_a_pipeline_of_covalent_and_one_of_another_project() {
        for subject in [Subject::Camera, Subject::Compositor] {
            for scenario in subject.scenarios() {
                let same = |own: bool| {
                    let mut all = subject.scenarios().iter();
                    all.any(|other| other.job == scenario.job && other.is_own() == own)
                };
                assert!(same(true) && same(false), "{}", scenario.job);
                assert!(scenario.client.contains("@FRAMES@"), "{}", scenario.name);
            }
        }
    }
}
