//! The choice of a KMS plane for each display of a job.

use std::collections::BTreeMap;

use thiserror::Error;

use covalent_solver::constraint::Participant;
use covalent_solver::solve::Solution;
use covalent_solver::text::printable;

/// The maximum number of combinations of planes that are solved.
const COMBINATIONS_SOLVED: usize = 64;

/// The maximum number of combinations of planes that are considered, including those that cannot be shown at the same time.
const COMBINATIONS_CONSIDERED: usize = 65_536;

/// The plane that was chosen for each display of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChosenPlanes {
    /// For each display, the index of the chosen plane among the display's planes.
    pub places: Vec<usize>,
    /// Whether all participants share a buffer with these planes. `None` means that there was only one combination, so it was not
    /// solved.
    pub is_shared: Option<bool>,
}

/// The error that a job has more displays on a card than the card can show at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{count} displays of {card} cannot be shown at the same time: its {planes} planes do not give each one a plane and an output (CRTC) of its own; name the card less often"
)]
#[non_exhaustive]
pub struct TooManyDisplays {
    /// The driver, location and device node of the card, as text.
    pub card: String,
    /// The number of displays that the job has on this card.
    pub count: usize,
    /// The number of planes that the card has.
    pub planes: usize,
}

/// Chooses a plane for each display. The first combination with which all participants share a buffer is chosen. If there is
/// none, the combination with the cheapest split is chosen, and the first of equally cheap ones.
///
/// `displays` has the planes of each display. `solve` solves the job with one plane for each display, and returns `None` if the
/// job cannot be solved. Two displays of one card get different planes, on different CRTCs. Up to 64 combinations are solved.
///
/// # Errors
/// [`TooManyDisplays`] if no combination can be shown at the same time.
pub fn choose_planes(
    displays: &[Vec<&Participant>],
    mut solve: impl FnMut(&[usize]) -> Option<Solution>,
) -> Result<ChosenPlanes, TooManyDisplays> {
    let mut chosen = vec![0; displays.len()];
    if displays.len() <= 1 && displays.iter().all(|planes| planes.len() <= 1) {
        // There is only one combination, so the job does not have to be solved.
        return Ok(ChosenPlanes {
            places: chosen,
            is_shared: None,
        });
    }
    let (mut best, mut first, mut tried) = (None, None, 0_usize);
    for _ in 0..COMBINATIONS_CONSIDERED {
        let shown = displays.iter().zip(&chosen);
        let shown = shown.filter_map(|(planes, place)| planes.get(*place).copied());
        if can_be_shown_together(&shown.collect::<Vec<_>>()) {
            first.get_or_insert_with(|| chosen.clone());
            match solve(&chosen) {
                Some(Solution::Share(_)) => {
                    return Ok(ChosenPlanes {
                        places: chosen,
                        is_shared: Some(true),
                    });
                }
                Some(Solution::Split(split)) => {
                    let cost = split.cost();
                    if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                        best = Some((cost, chosen.clone()));
                    }
                }
                None => {}
            }
            tried = tried.saturating_add(1);
            if tried == COMBINATIONS_SOLVED {
                break;
            }
        }
        // The combinations are counted up: the plane of the last display changes first, like the last digit of a number.
        let mut is_last = true;
        for (place, planes) in chosen.iter_mut().zip(displays).rev() {
            if place.saturating_add(1) < planes.len() {
                *place = place.saturating_add(1);
                is_last = false;
                break;
            }
            *place = 0;
        }
        if is_last {
            break;
        }
    }
    match best.map(|(_, chosen)| chosen).or(first) {
        Some(places) => Ok(ChosenPlanes {
            places,
            is_shared: Some(false),
        }),
        None => Err(too_many(displays)),
    }
}

/// Returns whether these planes can be shown at the same time: no plane occurs twice, and the planes of each card have different
/// CRTCs.
///
/// A plane without an ID was declared from documents. It may stand for several planes of the card, so it is not checked.
fn can_be_shown_together(shown: &[&Participant]) -> bool {
    let mut masks: Vec<(&Participant, u32)> = Vec::new();
    for (number, own) in shown.iter().enumerate() {
        let Some((plane, id)) = own.plane.and_then(|plane| Some((plane, plane.id?))) else {
            continue;
        };
        let is_same = |other: &&&Participant| {
            other.device.same_device(&own.device)
                && other.plane.and_then(|plane| plane.id) == Some(id)
        };
        if shown.iter().take(number).any(|other| is_same(&other)) {
            return false;
        }
        // The mask is 0 if the CRTCs of the plane are not known. The plane may then use any CRTC.
        masks.push((
            own,
            if plane.possible_crtcs == 0 {
                u32::MAX
            } else {
                plane.possible_crtcs
            },
        ));
    }
    let is_of_card = |one: &Participant, two: &Participant| one.device.same_device(&two.device);
    masks.iter().enumerate().all(|(number, (own, _))| {
        let is_first = masks
            .iter()
            .take(number)
            .all(|(other, _)| !is_of_card(other, own));
        let of_card = masks.iter().filter(|(other, _)| is_of_card(other, own));
        let masks: Vec<u32> = of_card.map(|(_, mask)| *mask).collect();
        !is_first || have_outputs(&masks)
    })
}

/// Returns whether each plane can have a CRTC of its own. `masks` has the `possible_crtcs` of each plane.
fn have_outputs(masks: &[u32]) -> bool {
    /// Assigns a CRTC to the plane. If the CRTC has a plane already, that plane is moved to another CRTC where possible.
    fn assign_crtc(
        plane: usize,
        masks: &[u32],
        tried: &mut u32,
        owners: &mut BTreeMap<u32, usize>,
    ) -> bool {
        for output in 0..u32::BITS {
            let bit = 1_u32 << output;
            if masks[plane] & bit == 0 || *tried & bit != 0 {
                continue;
            }
            *tried |= bit;
            let is_free = match owners.get(&output).copied() {
                None => true,
                Some(other) => assign_crtc(other, masks, tried, owners),
            };
            if is_free {
                owners.insert(output, plane);
                return true;
            }
        }
        false
    }
    let mut owners = BTreeMap::new();
    (0..masks.len()).all(|plane| assign_crtc(plane, masks, &mut 0, &mut owners))
}

/// Makes the error for the card with the most displays.
fn too_many(displays: &[Vec<&Participant>]) -> TooManyDisplays {
    let firsts: Vec<(&Participant, usize)> = displays
        .iter()
        .filter_map(|planes| Some((*planes.first()?, planes.len())))
        .collect();
    let count = |own: &Participant| {
        let same = firsts
            .iter()
            .filter(|(other, _)| other.device.same_device(&own.device));
        same.count()
    };
    let most = firsts.iter().max_by_key(|(own, _)| count(own));
    TooManyDisplays {
        card: most.map_or_else(String::new, |(own, _)| printable(&own.device.to_string())),
        count: most.map_or(0, |(own, _)| count(own)),
        planes: most.map_or(0, |(_, planes)| *planes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_solver::constraint::{FormatSet, Plane, PlaneKind, Role};
    use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use covalent_solver::solve::{Request, solve};

    fn plane(id: u32, possible_crtcs: u32) -> Participant {
        let device = DeviceIdentity {
            driver: "vkms".to_owned(),
            location: "vkms".to_owned(),
            node: "/dev/dri/card0".to_owned(),
        };
        let mut plane = Participant::new(format!("vkms plane {id}"), device, Role::Display);
        plane.plane = Some(Plane {
            kind: PlaneKind::Primary,
            id: Some(id),
            possible_crtcs,
        });
        plane
    }

    fn places(displays: &[Vec<&Participant>]) -> Result<Vec<usize>, TooManyDisplays> {
        let chosen = choose_planes(displays, |_| {
            let mut request = Request::new(Extent::new(64, 64).unwrap());
            request.participants.push(displays[0][0].clone());
            Some(solve(&request))
        });
        chosen.map(|chosen| chosen.places)
    }

    #[test]
    fn displays_of_one_card_have_planes_and_outputs_of_their_own() {
        let (one, two, both) = (plane(31, 1), plane(32, 2), plane(33, 3));
        let card = vec![&one, &both, &two];
        assert_eq!(places(&[card.clone(), card.clone()]), Ok(vec![0, 1]));
        assert_eq!(places(&[vec![&both], vec![&one]]), Ok(vec![0, 0]));
        // The plane that can use both CRTCs is moved to the CRTC that is free.
        assert_eq!(
            places(&[vec![&one], vec![&both], vec![&two]])
                .unwrap_err()
                .count,
            3
        );
        assert_eq!(places(&[vec![&one], vec![&one]]).unwrap_err().count, 2);
        let unknown = plane(34, 0);
        assert_eq!(places(&[vec![&one], vec![&unknown]]), Ok(vec![0, 0]));
    }

    #[test]
    fn too_many_displays_are_told_with_the_card_and_its_planes() {
        let one = plane(31, 1);
        let other = plane(32, 1);
        let card = vec![&one, &other];
        let error = places(&[card.clone(), card]).unwrap_err().to_string();
        assert!(
            error.starts_with("2 displays of vkms at vkms (/dev/dri/card0) cannot be shown"),
            "{error}"
        );
        assert!(error.contains("its 2 planes"), "{error}");
    }

    #[test]
    fn plane_is_the_first_with_which_all_share() {
        let mut primary = plane(31, 1);
        let xrgb = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
        primary.for_each_choice(|own| own.formats = Some(xrgb.clone()));
        let overlay = plane(32, 1);
        let displays = [vec![&primary, &overlay]];
        let chosen = choose_planes(&displays, |chosen| {
            let mut request = Request::new(Extent::new(64, 64).unwrap());
            request.participants.push(displays[0][chosen[0]].clone());
            request.sources.extend((chosen[0] == 1).then(|| {
                covalent_solver::constraint::Source::new(
                    covalent_solver::constraint::SourceId::new("heap:system"),
                    "dma-heap system",
                )
            }));
            Some(solve(&request))
        });
        let chosen = chosen.unwrap();
        assert_eq!((chosen.places, chosen.is_shared), (vec![1], Some(true)));
    }
}
