//! Tests that `MERGE.md` is equal to the text that is generated from the merge table.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;

use covalent_solver::constraint::merge_table;

#[test]
fn merge_table_equals_its_document() {
    let mut text = String::from(
        "# How constraints merge\n\n\
         The constraints of several participants are merged field by field. Each operator commutes and associates, and merging with the\n\
         identity changes nothing, so the order of participants never matters.\n\n\
         Each merged value has owners: the participants that an explanation names. The owner of a `max` or `min` is the participant whose\n\
         value won. The owners of all other values are the participants with a value other than the identity. `lcm` is the least common\n\
         multiple; one that does not fit in 64 bits is kept as such, and only 0 is a multiple of it. `agree` yields the value that\n\
         satisfies both, or the one that stands for a contradiction.\n\n\
         Some constraints are not merged. Import and export policies are checked for each pair of participant and source. Synchronisation\n\
         mechanisms are chosen for each pair of participants.\n",
    );
    for (title, rules) in ["Formats and buffers", "Image", "Memory"]
        .iter()
        .zip(merge_table())
    {
        write!(text, "\n## {title}\n\n").unwrap();
        text.push_str("| field | identity | operator | unit | means |\n");
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for rule in rules {
            writeln!(text, "{rule}").unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../MERGE.md");
    if std::env::var_os("UPDATE_MERGE_TABLE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        text,
        "MERGE.md is out of date; UPDATE_MERGE_TABLE=1 regenerates it"
    );
}
