//! Checks every primary, overlay and cursor plane of every card with every format that the plane lists and covalent-alloc knows.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::{Card, PlaneKind};
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{Extent, Modifier};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use drm::Device as _;
use drm::control::{Device as _, plane};

use super::{CheckOutcome, CheckRunner};

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    let mut kinds = Vec::new();
    for path in Card::list() {
        let Ok(card) = Card::open(&path) else {
            continue;
        };
        // Without DRM_CLIENT_CAP_UNIVERSAL_PLANES, GETPLANERESOURCES lists only overlay planes.
        let _ = card.set_client_capability(drm::ClientCapability::UniversalPlanes, true);
        for plane in card.plane_handles().unwrap_or_default() {
            kinds.extend(card.plane_kind(plane));
            let name = format!("planes::{}::plane_{}", path.display(), u32::from(plane));
            runner.check(&format!("{name}_takes_every_format_that_it_lists"), || {
                plane_takes_every_format_that_it_lists(&sources, &card, plane)
            });
            runner.check(&format!("{name}_takes_its_sizes_and_no_others"), || {
                plane_takes_its_sizes_and_no_others(&sources, &card, plane)
            });
        }
    }
    runner.check("planes::machine_has_a_primary_plane", || {
        ensure!(kinds.contains(&PlaneKind::Primary), "{kinds:?}");
        Ok(CheckOutcome::Passed)
    });
}

fn plane_takes_every_format_that_it_lists(
    sources: &Sources,
    card: &Card,
    plane: plane::Handle,
) -> Result<CheckOutcome> {
    let display = card.participant(plane)?;
    let listed = display
        .constraints()
        .formats
        .clone()
        .context("the participant does not list its formats")?;
    ensure!(!listed.is_empty(), "the plane lists no format");
    let mut shown = 0;
    for format in listed.iter() {
        if format.modifier != Modifier::LINEAR || format.fourcc.info().is_none() {
            continue;
        }
        let mut display = display.clone();
        display.for_each_choice(|own| own.formats = Some(FormatSet::from([format])));
        let request = Request {
            participants: vec![display],
            sources: sources.declarations(),
            ..Request::new(Extent::new(64, 64)?)
        };
        let plan = match solve(&request) {
            Solution::Share(plan) => plan,
            solution => bail!(
                "the solver has no plan for {format}: {}",
                solution.explain()
            ),
        };
        ensure!(
            plan.verdict() == Verdict::Guaranteed,
            "the plan for {format} is not guaranteed"
        );
        let buffer = sources
            .allocate(&plan)?
            .pop()
            .context("the source allocated no buffer")?;
        card.framebuffer(&buffer)
            .with_context(|| format!("{format} from {}", plan.source_name()))?;
        shown += 1;
    }
    ensure!(shown > 0, "covalent-alloc knows no format of the plane");
    Ok(CheckOutcome::Passed)
}

fn plane_takes_its_sizes_and_no_others(
    sources: &Sources,
    card: &Card,
    plane: plane::Handle,
) -> Result<CheckOutcome> {
    let display = card.participant(plane)?;
    let image = &display.constraints().image;
    let (width, height) = (image.width.maximum, image.height.maximum);
    // The largest width is tried with the smallest height, because the largest width and height together need more memory than
    // the guest has.
    let rows = image.height.minimum;
    if card.plane_kind(plane)? == PlaneKind::Cursor {
        ensure!(
            width <= 512 && height <= 512,
            "the cursor plane reports a largest size of {width}x{height}"
        );
    }
    let request = |width, height| -> Result<Request> {
        Ok(Request {
            participants: vec![display.clone()],
            sources: sources.declarations(),
            ..Request::new(Extent::new(width, height)?)
        })
    };
    let Some(wider) = width
        .checked_add(1)
        .filter(|wider| *wider <= Extent::LARGEST)
    else {
        return Ok(CheckOutcome::Skipped(
            "the plane has no largest width".to_owned(),
        ));
    };
    if let Solution::Share(_) = solve(&request(wider, rows)?) {
        bail!("the solver has a plan for a width of {wider}, more than the plane's largest")
    }
    if let Some(fewer) = rows.checked_sub(1).filter(|fewer| *fewer > 0) {
        if let Solution::Share(_) = solve(&request(width, fewer)?) {
            bail!("the solver has a plan for a height of {fewer}, less than the plane's smallest")
        }
    }
    match solve(&request(width, rows)?) {
        Solution::Share(plan) => {
            let buffer = sources
                .allocate(&plan)?
                .pop()
                .context("the source allocated no buffer")?;
            card.framebuffer(&buffer)
                .with_context(|| format!("{width}x{rows}"))?;
            Ok(CheckOutcome::Passed)
        }
        solution => bail!("{}", solution.explain()),
    }
}
