//! Every option that takes a path, by program. Each program's own tests hold this against what clap knows of it.

/// Files that are made or replaced.
pub(crate) const WRITTEN: &[(&str, &str)] = &[
    ("covalent-camera", "trace"),
    ("covalent-pattern", "trace"),
    ("covalent-vulkan", "trace"),
];

/// Device nodes that are opened.
pub(crate) const NODES: &[(&str, &str)] = &[
    ("covalent-camera", "device"),
    ("covalent-pattern", "v4l2-output"),
    ("covalent-vulkan", "camera"),
];

/// The options of one program, in order.
pub(crate) fn of(program: &str) -> Vec<&'static str> {
    let all = WRITTEN.iter().chain(NODES);
    let mut options: Vec<&str> = all
        .filter(|(own, _)| *own == program)
        .map(|(_, option)| *option)
        .collect();
    options.sort_unstable();
    options
}
