//! `MERGE.md` says what the merge table does.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fmt::Write as _;

use covalent_solver::constraint::merge_table;

#[test]
fn merge_table_is_documented_word_by_word() {
    let mut text = String::from(
        "# How demands merge\n\n\
         Each operator commutes and associates, and merging with the identity changes nothing. `max` and `min` are owned by who set the\n\
         value that won, `lcm` (the least common multiple, exact: one that 64 bits do not hold is kept as that, and met by 0 alone), `union`,\n\
         `intersect`, `or`, `sum` and `agree` (the one that serves both, or none) by all who asked for something. What does not merge:\n\
         whose memory is imported and exported, which each participant is asked by itself, and how frames are handed over, which is\n\
         between two.\n",
    );
    for (title, rules) in ["Use", "Picture", "Memory"].iter().zip(merge_table()) {
        write!(text, "\n## {title}\n\n").unwrap();
        text.push_str("| field | identity | operator | unit | means |\n");
        text.push_str("| --- | --- | --- | --- | --- |\n");
        for rule in rules {
            writeln!(text, "{rule}").unwrap();
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/MERGE.md");
    if std::env::var_os("UPDATE_MERGE_TABLE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        text,
        "MERGE.md is out of date; UPDATE_MERGE_TABLE=1 writes it anew"
    );
}
