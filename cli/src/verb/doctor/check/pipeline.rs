//! Checks the pipelines of media-controller cameras: links and formats from the sensor to the video node.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{PipelineInfo, Snapshot};

/// Returns a finding for each pipeline of a media-controller camera.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    snapshot.pipelines.iter().map(finding).collect()
}

/// Makes the finding for a pipeline. If the pipeline can stream, the finding is only a note.
fn finding(pipeline: &PipelineInfo) -> Finding {
    let PipelineInfo {
        node,
        media,
        driver,
        ..
    } = pipeline;
    if let Some(error) = &pipeline.error {
        return Finding::new(
            "camera-pipeline-unknown",
            Severity::Limits,
            format!("the pipeline of {node} ({driver}) cannot be checked: {error}"),
            "Links and formats of this camera are set through a media device and its sub-devices.",
        );
    }
    if let Some(fault) = &pipeline.fault {
        let finding = Finding::new(
            "camera-pipeline",
            Severity::Limits,
            format!("the pipeline of {node} in {media} ({driver}) cannot stream: {fault}"),
            "The camera cannot stream until every link has one format at both ends. Without this check STREAMON fails with EPIPE or ENOLINK.",
        );
        return match paste::node(node) {
            Some(node) => finding
                .with_command(format!("covalent-camera --setup-links --device {node}"))
                .with_note("--size and --format choose what the pipeline delivers. A program such as libcamera sets up the pipeline by itself."),
            None => finding.without_remedy("the path of a node"),
        };
    }
    Finding::new(
        "camera-pipeline-whole",
        Severity::Notes,
        format!(
            "the pipeline of {node} in {media} ({driver}) is whole: {}",
            pipeline.entities.join(" -> ")
        ),
        "The camera streams in the size and the formats that its pipeline delivers.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    fn vimc(fault: Option<&str>) -> Snapshot {
        let mut snapshot = desktop();
        snapshot.pipelines.push(PipelineInfo {
            node: "/dev/video6".to_owned(),
            media: "/dev/media4".to_owned(),
            driver: "vimc".to_owned(),
            entities: vec!["Sensor A".to_owned(), "RGB/YUV Capture".to_owned()],
            fault: fault.map(str::to_owned),
            error: None,
        });
        snapshot
    }

    #[test]
    fn machine_without_media_controller_cameras_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn broken_pipeline_names_the_pad_and_the_command() {
        let snapshot = vimc(Some("pad 0 of Scaler has no enabled link"));
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("camera-pipeline", Severity::Limits)
        );
        assert!(
            finding.what.contains("/dev/media4 (vimc)") && finding.what.contains("pad 0 of Scaler"),
            "{}",
            finding.what
        );
        assert_eq!(
            finding.remedy.unwrap().line,
            "covalent-camera --setup-links --device /dev/video6"
        );
    }

    #[test]
    fn path_that_is_no_node_is_not_put_into_a_command() {
        let mut snapshot = vimc(Some("a pad"));
        snapshot.pipelines[0].node = "/dev/video6;reboot".to_owned();
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.remedy, None);
    }

    #[test]
    fn whole_pipeline_is_a_note_with_its_entities() {
        let [finding] = check(&vimc(None)).try_into().unwrap();
        assert_eq!(finding.severity, Severity::Notes);
        assert!(
            finding
                .what
                .ends_with("is whole: Sensor A -> RGB/YUV Capture")
        );
    }

    #[test]
    fn pipeline_that_cannot_be_checked_says_why() {
        let mut snapshot = vimc(None);
        snapshot.pipelines[0].error = Some("/dev/media4 cannot be opened".to_owned());
        let [finding] = check(&snapshot).try_into().unwrap();
        assert_eq!(finding.id, "camera-pipeline-unknown");
        assert!(finding.what.contains("/dev/media4 cannot be opened"));
    }
}
