//! Checks for devices that need contiguous memory and for which the devicetree has no pool at an address that they can reach.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::Snapshot;

/// Returns a finding for each pool that the devicetree lacks, with the lines that add it.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot
        .missing_pools
        .iter()
        .map(|pool| {
            // Line breaks in devicetree source can be replaced by blanks. A single line can be pasted into a shell.
            let words: Vec<&str> = pool.snippet.split_whitespace().collect();
            let finding = Finding::new(
                "devicetree-pool",
                Severity::Limits,
                pool.words.clone(),
                "Only the device's own memory is contiguous, so only devices that can import its buffers can share with it.",
            );
            let source = format!("/dts-v1/; /plugin/; {}", words.join(" "));
            let Some(source) = paste::word(&source) else {
                return finding.without_remedy("the source of the devicetree");
            };
            // `printf` is used instead of `echo`, which interprets backslashes in some shells.
            finding.with_command(format!(
                "printf '%s\\n' {source} | dtc -@ -I dts -O dtb -o covalent-pool.dtbo"
            ))
            .with_note("This compiles an overlay, which the board's boot loader applies at the next boot (Raspberry Pi: dtoverlay= in config.txt; U-Boot: fdt apply). The same source can be added to the board's own devicetree.")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::snapshot::MissingPool;
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn missing_pool_is_remedied_by_an_overlay_in_one_line() {
        let mut snapshot = desktop();
        assert_eq!(check(&snapshot), []);
        snapshot.missing_pools.push(MissingPool {
            words: "unicam capture needs physically contiguous memory".to_owned(),
            snippet: "&{/soc/csi@7e801000} {\n\tmemory-region = <&csi_pool>;\n};\n".to_owned(),
        });
        let found = check(&snapshot);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].remedy.as_ref().unwrap().line,
            "printf '%s\\n' '/dts-v1/; /plugin/; &{/soc/csi@7e801000} { memory-region = <&csi_pool>; };' | dtc -@ -I dts -O dtb -o covalent-pool.dtbo"
        );
    }
}
