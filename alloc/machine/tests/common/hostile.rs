//! Checks that must hold for any input. The fuzz targets run these checks too.

use covalent_machine::devicetree::Tree;
use covalent_machine::kernel::{bufinfo, fdinfo, map_line};
use covalent_machine::{Difference, Job, Machine, MachineError, ReservedMemory};
use covalent_solver::constraint::{Participant, Source};
use covalent_solver::model::{
    Extent, FormatModifier, Fourcc, Layout, Modifier, PlaneLayout, read_in_formats,
};
use covalent_solver::solve::{Request, Solution, candidates, solve};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a participant or a source. It must be equal after it is written and read again, and every constraint must have a
/// description.
pub fn constraint_file(bytes: &[u8]) {
    if let Some(participant) = round_trip::<Participant>(bytes) {
        for demand in participant.demands() {
            let words = &demand.words;
            assert!(words.contains(char::is_alphanumeric), "{words:?}");
        }
    }
    round_trip::<Source>(bytes);
}

/// Removes the alternatives of a participant beyond the first few.
fn with_at_most(participant: &mut Participant, alternatives: usize) {
    let kept = participant.alternatives().iter().take(alternatives);
    let kept = kept.cloned().collect();
    participant.set_choices(participant.constraints().clone(), kept);
}

/// Reads a request and solves it. The solution must have an explanation, and must be a plan if and only if there is a candidate.
pub fn request_file(bytes: &[u8]) {
    let Some(mut request) = round_trip::<Request>(bytes) else {
        return;
    };
    // The lists are truncated, because more participants and sources would only make solving slower.
    request.participants.truncate(4);
    request.sources.truncate(4);
    request.more_extents.truncate(2);
    for participant in &mut request.participants {
        with_at_most(participant, 2);
    }
    let solution = solve(&request);
    assert_explained(&solution);
    assert!(serde_json::to_string(&solution).is_ok());
    assert_eq!(
        matches!(solution, Solution::Share(_)),
        !candidates(&request).is_empty()
    );
}

/// Asserts what an explanation contains: the allocation, or the number of copied bytes if no buffer serves all participants.
fn assert_explained(solution: &Solution) {
    let text = solution.explain();
    let expected = match solution {
        Solution::Share(plan) => vec![format!(
            " allocates {} buffers of {} in {} ",
            plan.count(),
            plan.layout().extent(),
            plan.layout().format()
        )],
        Solution::Split(split) => {
            let mut expected =
                vec!["no single buffer meets the constraints of all participants".to_owned()];
            let copied = split.copied_bytes_per_frame();
            // If no source serves the producer, the split has no copies between groups. Devices may still make internal copies.
            if split.copies().next().is_some() {
                expected.push(format!("copies {copied} bytes a frame"));
            } else if copied > 0 {
                expected.push(" bytes of each frame for itself".to_owned());
            }
            expected
        }
    };
    for part in expected {
        assert!(text.contains(&part), "{part:?} is missing: {text}");
    }
}

/// Reads a recorded machine. It must be equal after it is written and read again, and must not differ from itself. A job of all
/// its participants must have a solution or an error. A file of a newer version must be refused with another error than a damaged
/// file.
pub fn machine_file(bytes: &[u8]) {
    let mut machine = match Machine::from_json(bytes) {
        Ok(machine) => machine,
        Err(error) => {
            let words = error.to_string();
            assert!(words.contains("machine"), "{words}");
            if let MachineError::Newer { version } = error {
                assert!(version > u64::from(Machine::VERSION));
                assert!(words.contains(&version.to_string()), "{words}");
            }
            return;
        }
    };
    let text = machine.to_json().unwrap();
    let again = Machine::from_json(text.as_bytes()).unwrap();
    assert_eq!(again, machine);
    assert_eq!(again.to_json().unwrap(), text);
    // The lists are truncated, because more participants and sources would only make solving slower.
    machine.declared.truncate(2);
    for declared in &mut machine.declared {
        declared.participants.truncate(3);
        declared.sources.truncate(3);
        for recorded in &mut declared.participants {
            with_at_most(&mut recorded.participant, 1);
        }
    }
    assert!(Difference::between(&machine, &machine).is_empty());
    let sizes: Vec<Extent> = machine.sizes().collect();
    for size in sizes.into_iter().chain(Extent::new(640, 480)) {
        let participants = machine.participants_at(size).unwrap_or_default();
        let names = participants.iter().map(|own| own.participant.name.clone());
        let mut job = Job::new(size, 2);
        job.others = names.collect();
        job.vulkan = bytes.len() % 2 == 0;
        match machine.request(&job) {
            Ok(resolved) => {
                let solution = solve(&resolved.request);
                assert_explained(&solution);
                let _ = resolved.unverified(&solution);
            }
            Err(error) => {
                let words = error.to_string();
                let subjects = ["machine", "job names no participant"];
                assert!(subjects.iter().any(|what| words.contains(what)), "{words}");
            }
        }
    }
}

/// Reads a flattened devicetree. Its nodes and properties must fit into the input's length, its regions must be recordable, and
/// every device must refer to regions that exist.
pub fn devicetree(bytes: &[u8]) {
    let tree = match Tree::from_flat(bytes) {
        Ok(tree) => tree,
        Err(error) => {
            let words = error.to_string();
            assert!(words.contains("tree"), "{words}");
            return;
        }
    };
    // A node takes at least 12 bytes, and a property at least 12 bytes plus its value.
    let mut least = 0;
    for node in tree.nodes() {
        least += 12;
        for (name, value) in node.properties() {
            assert_eq!(node.property(name), Some(value));
            least += 12 + value.len();
        }
        for child in node.children() {
            assert!(child.parent().unwrap().path() == node.path());
        }
    }
    assert!(least <= bytes.len());
    let reserved = ReservedMemory::of(&tree);
    for user in &reserved.users {
        assert!(
            user.regions
                .iter()
                .all(|path| reserved.region(path).is_some())
        );
    }
    for region in &reserved.regions {
        assert!(region.window().lowest <= region.window().highest);
    }
    let text = serde_json::to_string(&reserved).unwrap();
    let again: ReservedMemory = serde_json::from_str(&text).unwrap();
    assert_eq!(again, reserved);
}

/// Reads the bytes as the blob of a plane's property `IN_FORMATS`. Every format that is read must occur in the blob, and there
/// must be no more formats than fit into the blob.
pub fn in_formats_blob(bytes: &[u8]) {
    let Ok(listed) = read_in_formats(bytes) else {
        return;
    };
    // An entry has 24 bytes and lists at most 64 formats.
    assert!(listed.len() <= bytes.len() / 24 * 64);
    for pair in listed {
        let (code, modifier) = (pair.fourcc.0.to_ne_bytes(), pair.modifier.0.to_ne_bytes());
        assert!(bytes.windows(4).any(|four| four == code));
        assert!(bytes.windows(8).any(|eight| eight == modifier));
    }
}

/// Reads the bytes as each of the kernel's texts about dma-bufs, and as a name of at most 31 bytes within a valid text. A name
/// must add no object, no device and no size.
pub fn kernel_texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (fdinfo(bytes), bufinfo(&text));
    for line in text.lines() {
        let _ = map_line(line);
    }
    let mut end = text.len().min(31);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A name ends at its first zero byte.
    let name = text[..end].split('\0').next().unwrap_or_default();
    let info = format!("ino:\t7\nsize:\t4096\ncount:\t2\nexp_name:\tudmabuf\nname:\t{name}\n");
    let found = fdinfo(info.as_bytes()).expect("a whole text");
    assert_eq!(
        (found.inode, found.size_bytes, found.references),
        (7, 4096, 2)
    );
    assert_eq!(
        (found.exporter.as_str(), found.name.as_deref()),
        ("udmabuf", Some(name))
    );
    let list = format!(
        "\nDma-buf Objects:\n00004096\t00080002\t00080007\t00000002\tudmabuf\t00000007\t{name}\n\tAttached Devices:\n\tvivid-000\nTotal 1 devices attached\n\n\nTotal 1 objects, 4096 bytes\n"
    );
    let objects = bufinfo(&list).expect("a whole list");
    assert_eq!(objects.len(), 1);
    assert_eq!(
        (
            objects[0].inode,
            objects[0].size_bytes,
            objects[0].references
        ),
        (7, 4096, 2)
    );
    assert_eq!(objects[0].attached, ["vivid-000"]);
}

/// Uses the bytes as the numbers of a layout. If the layout is accepted, its planes must be inside its dma-bufs.
pub fn descriptor(bytes: &[u8]) {
    let mut numbers = bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        number[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(number)
    });
    let mut next = || numbers.next().unwrap_or_default();
    let (width, height) = (next() as u32, next() as u32);
    let Ok(extent) = Extent::new(width, height) else {
        return;
    };
    let known = [Fourcc::XRGB8888, Fourcc::NV12, Fourcc::YUV420, Fourcc::P010];
    let fourcc = next();
    let fourcc = known
        .get(fourcc as usize % 8)
        .copied()
        .unwrap_or(Fourcc(fourcc as u32));
    let modifier = match next() {
        number if number % 2 == 0 => Modifier::LINEAR,
        number => Modifier(number),
    };
    let memory_sizes: Vec<u64> = (0..next() % 4).map(|_| next()).collect();
    let planes: Vec<PlaneLayout> = (0..next() % 6)
        .map(|_| PlaneLayout {
            memory: (next() % 5) as usize,
            offset_bytes: next(),
            stride_bytes: next() as u32,
            size_bytes: next(),
        })
        .collect();
    let format = FormatModifier::new(fourcc, modifier);
    let Ok(layout) = Layout::new(extent, format, planes, memory_sizes) else {
        return;
    };
    for (number, plane) in layout.planes().iter().enumerate() {
        let rows = layout.rows(number).unwrap_or_default();
        let least = if modifier == Modifier::LINEAR {
            assert!(plane.stride_bytes >= layout.row_bytes(number).unwrap());
            u128::from(plane.stride_bytes) * u128::from(rows)
        } else {
            0
        };
        let end = u128::from(plane.offset_bytes) + least.max(u128::from(plane.size_bytes));
        assert!(end <= u128::from(layout.memory_sizes()[plane.memory]));
    }
}

fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let text = serde_json::to_string(&read).unwrap();
    let again: T = serde_json::from_str(&text).unwrap();
    assert_eq!(again, read);
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    Some(read)
}
