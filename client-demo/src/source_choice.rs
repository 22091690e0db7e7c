//! Selects the memory sources that a plan may use, according to `--source`.

use anyhow::anyhow;
use covalent_alloc::constraint::Source;

use crate::exit::{Exit, Failure};

/// Returns all sources, or only the source whose identifier or name is `wanted`.
///
/// # Errors
///
/// [`Exit::Usage`] if there is no such source; the message lists the sources.
pub fn chosen(wanted: Option<&str>, declared: &[Source]) -> Result<Vec<Source>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(declared.to_vec());
    };
    let matching_sources: Vec<Source> = declared
        .iter()
        .filter(|source| source.id.as_str() == wanted || source.name == wanted)
        .cloned()
        .collect();
    if matching_sources.is_empty() {
        let source_names: Vec<String> = declared
            .iter()
            .map(|source| format!("{} ({})", source.name, source.id))
            .collect();
        return Err(Failure::new(
            Exit::Usage,
            anyhow!(
                "--source {wanted}: this process can open no such source; usable sources: {}",
                source_names.join(", ")
            ),
        ));
    }
    Ok(matching_sources)
}
