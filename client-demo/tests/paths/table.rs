//! The options that take a path, by program. The unit tests of each program compare this table with clap's definition.

/// Options whose file is created or replaced.
pub(crate) const WRITTEN: &[(&str, &str)] = &[
    ("covalent-camera", "trace"),
    ("covalent-pattern", "trace"),
    ("covalent-vulkan", "trace"),
];

/// Options whose file is written only when the program has data to write.
pub(crate) const WRITTEN_ON_DEMAND: &[(&str, &str)] = &[
    ("covalent-camera", "encode"),
    ("covalent-camera", "record"),
    ("covalent-camera", "snapshot"),
];

/// Options whose device node is opened.
pub(crate) const NODES: &[(&str, &str)] = &[
    ("covalent-camera", "camera"),
    ("covalent-camera", "card"),
    ("covalent-camera", "device"),
    ("covalent-camera", "encoder"),
    ("covalent-pattern", "v4l2-output"),
    ("covalent-vulkan", "camera"),
];

/// Options whose socket is bound. Only a socket of this user on which nobody listens is replaced.
pub(crate) const SOCKETS: &[(&str, &str)] = &[("covalent-camera", "share")];

/// Returns the options of one program, sorted by name.
pub(crate) fn of(program: &str) -> Vec<&'static str> {
    let written = WRITTEN.iter().chain(WRITTEN_ON_DEMAND);
    let all = written.chain(NODES).chain(SOCKETS);
    let mut options: Vec<&str> = all
        .filter(|(own, _)| *own == program)
        .map(|(_, option)| *option)
        .collect();
    options.sort_unstable();
    options
}
