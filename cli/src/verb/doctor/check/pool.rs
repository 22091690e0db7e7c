//! Devices that want memory in one piece, and no pool in the devicetree that is within their reach.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::Snapshot;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot
        .lacking_pools
        .iter()
        .map(|lacking| {
            // A devicetree's source means the same in one line, and a line is what can be pasted.
            let words: Vec<&str> = lacking.snippet.split_whitespace().collect();
            let finding = Finding::new(
                "devicetree-pool",
                Severity::Limits,
                lacking.words.clone(),
                "Only the device's own memory is in one piece: who cannot import that shares nothing with it.",
            );
            let source = format!("/dts-v1/; /plugin/; {}", words.join(" "));
            let Some(source) = paste::word(&source) else {
                return finding.unhelped("the source of the devicetree");
            };
            // Not `echo`, which reads backslashes in some shells.
            finding.helped_by(format!(
                "printf '%s\\n' {source} | dtc -@ -I dts -O dtb -o covalent-pool.dtbo"
            ))
            .noting("It makes an overlay, which the board's loader applies at the next boot (Raspberry Pi: dtoverlay= in config.txt; U-Boot: fdt apply). The same text does in the board's own tree.")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::snapshot::LackingPool;
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn pool_that_a_board_lacks_is_an_overlay_in_one_line() {
        let mut snapshot = desktop();
        assert_eq!(check(&snapshot), []);
        snapshot.lacking_pools.push(LackingPool {
            words: "unicam capture needs memory in one piece".to_owned(),
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
