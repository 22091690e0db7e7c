//! Takes the plan out of a solution, or returns the reason why there is no such plan.

use std::fmt;

use super::{Plan, Solution, Verdict};

/// The error of [`Solution::guaranteed`] and [`Solution::possible`]: the solution has no plan, or the caller needs a guaranteed
/// plan and the solution has one that is only possible. `Display` writes the demands that conflict, the reason why each source
/// was rejected, and the cheapest alternative.
#[derive(Clone, PartialEq)]
pub struct NoPlan {
    solution: Box<Solution>,
    notes: Vec<String>,
}

/// Writes the same as `Display`, so that a `main` that returns this error prints the explanation.
impl fmt::Debug for NoPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl NoPlan {
    /// Returns the solution: a plan that is only possible, or a split.
    #[must_use]
    pub fn solution(&self) -> &Solution {
        &self.solution
    }

    /// Adds lines after the explanation. They state what the solver cannot know, for example that sources could not be opened.
    #[must_use]
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Returns how certain it is that one buffer serves all participants.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.solution.verdict()
    }
}

impl fmt::Display for NoPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Solution::Share(plan) = &*self.solution {
            out.write_str("no plan is guaranteed; the best is only possible, because ")?;
            for (number, caveat) in plan.caveats().iter().enumerate() {
                let between = if number == 0 { "" } else { "; " };
                write!(out, "{between}{caveat}")?;
            }
            out.write_str(". Try the plan on the devices, or accept one that is only possible.\n")?;
        }
        out.write_str(self.solution.explain().trim_end())?;
        for note in &self.notes {
            write!(out, "\n{note}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoPlan {}

impl Solution {
    /// Returns the plan if it is guaranteed that every participant accepts its buffers.
    ///
    /// With a GPU, a plan is often only possible, because it depends on drivers in the calling process. Such a plan has to be
    /// tried on the devices first, or can be accepted with [`Solution::possible`].
    ///
    /// # Errors
    /// [`NoPlan`] if the plan is only possible or there is none. Its text contains the reason and what to do instead.
    pub fn guaranteed(self) -> Result<Plan, NoPlan> {
        match self {
            Self::Share(plan) if plan.verdict() == Verdict::Guaranteed => Ok(plan),
            other => Err(NoPlan {
                solution: Box::new(other),
                notes: Vec::new(),
            }),
        }
    }

    /// Returns the plan, also if it is only possible. The buffers of a plan that is only possible have to be tried on the
    /// devices.
    ///
    /// # Errors
    /// [`NoPlan`] if there is no plan.
    pub fn possible(self) -> Result<Plan, NoPlan> {
        match self {
            Self::Share(plan) => Ok(plan),
            other => Err(NoPlan {
                solution: Box::new(other),
                notes: Vec::new(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::{Contiguity, FormatSet, Participant, Role, Source, SourceId};
    use crate::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use crate::solve::{Request, solve};

    fn solution(contiguity: Contiguity, sources: Vec<Source>) -> Solution {
        let device = DeviceIdentity {
            driver: "vivid".to_owned(),
            location: "platform:vivid-000".to_owned(),
            node: "/dev/video0".to_owned(),
        };
        let mut camera = Participant::new("camera", device, Role::Capture);
        let formats = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
        camera.for_each_choice(|own| {
            own.formats = Some(formats.clone());
            own.memory.contiguity = contiguity;
        });
        solve(&Request {
            participants: vec![camera],
            sources,
            ..Request::new(Extent::new(64, 64).unwrap())
        })
    }

    fn heap() -> Vec<Source> {
        vec![Source::new(SourceId::new("heap:system"), "dma-heap system")]
    }

    #[test]
    fn plan_that_is_guaranteed_is_returned_either_way() {
        let condition = solution(Contiguity::Scattered, heap());
        let plan = condition.clone().guaranteed().unwrap();
        assert_eq!(plan, condition.possible().unwrap());
    }

    #[test]
    fn plan_that_is_only_possible_is_refused_with_its_caveats() {
        let unsure = solution(Contiguity::Unknown, heap());
        let error = unsure.clone().guaranteed().unwrap_err();
        assert_eq!(error.verdict(), Verdict::Possible);
        let words = error.to_string();
        assert!(words.starts_with("no plan is guaranteed"), "{words}");
        let caveat = unsure.possible().unwrap().caveats()[0].clone();
        assert!(words.contains(caveat.as_str()), "{words}");
    }

    #[test]
    fn solution_without_a_plan_prints_the_reason() {
        let none = solution(Contiguity::Scattered, Vec::new());
        let error = none.clone().possible().unwrap_err();
        assert_eq!(error.solution(), &none);
        assert_eq!(error.to_string(), none.explain().trim_end());
    }
}
