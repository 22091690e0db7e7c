//! The options that take a path, by program. The unit tests of each program compare this table with clap's definition.

/// Options whose file is created or replaced.
pub(crate) const WRITTEN: &[(&str, &str)] = &[
    ("covalent-camera", "trace"),
    ("covalent-pattern", "trace"),
    ("covalent-vulkan", "trace"),
];

/// Options whose file is written when there is something to write.
pub(crate) const WRITTEN_ON_DEMAND: &[(&str, &str)] = &[
    ("covalent-camera", "encode"),
    ("covalent-camera", "record"),
    ("covalent-camera", "snapshot"),
];

/// Options whose device node is opened.
pub(crate) const NODES: &[(&str, &str)] = &[
    ("covalent-camera", "card"),
    ("covalent-camera", "device"),
    ("covalent-camera", "encoder"),
    ("covalent-pattern", "v4l2-output"),
    ("covalent-vulkan", "camera"),
];

/// Returns the options of one program, sorted by name.
pub(crate) fn of(program: &str) -> Vec<&'static str> {
    let all = WRITTEN.iter().chain(WRITTEN_ON_DEMAND).chain(NODES);
    let mut options: Vec<&str> = all
        .filter(|(own, _)| *own == program)
        .map(|(_, option)| *option)
        .collect();
    options.sort_unstable();
    options
}
