//! What is known so far of camera, compositor and memory; which plan follows; and what was refused of the plans before.

use std::collections::BTreeSet;

use anyhow::anyhow;
use covalent_alloc::backend::v4l2::{self, Queue, Stream};
use covalent_alloc::constraint::{Participant, Source, SourceId};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_alloc::sources::Sources;
use covalent_client_demo::blame;
use covalent_client_demo::board::Board;
use covalent_client_demo::camera_memory::give_to_camera;
use covalent_client_demo::camera_size;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::source_choice;
use covalent_client_demo::wishes::{Wish, wishes};

use crate::options::Options;

/// The least number of buffers: with less the camera stalls as soon as the compositor is late by one frame.
const BUFFERS: u32 = 4;
/// The size of a window on a compositor that names none.
const ANY_SIZE: (u32, u32) = (640, 480);

/// The parties and their terms.
pub(crate) struct Bargain<'a> {
    queue: &'a Queue,
    format: Option<Fourcc>,
    extent: Extent,
    camera: Participant,
    own_memory: Option<Source>,
    sources: Sources,
    board: Board,
    allowed: Vec<Source>,
    wishes: Vec<Wish>,
    excluded: BTreeSet<(usize, SourceId)>,
    pub(crate) refusals: Vec<String>,
}

impl<'a> Bargain<'a> {
    /// Asks everybody for their terms.
    pub(crate) fn new(
        options: &Options,
        queue: &'a Queue,
        compositor: &Compositor,
    ) -> Result<Self, Failure> {
        let feedback = compositor
            .wishes()
            .ok_or_else(|| Failure::new(Exit::Unexpected, anyhow!("no feedback came")))?;
        let wishes = wishes(feedback);
        let extent = match options.size {
            Some(extent) => extent,
            None => {
                let takes = |fourcc| {
                    options.format.is_none_or(|format| format == fourcc)
                        && wishes.iter().any(|wish| wish.takes(fourcc))
                };
                camera_size::choose(queue, takes, wanted(options, compositor))
                    .map_err(blame::camera)?
            }
        };
        let camera = queue
            .participant(extent, options.format)
            .map_err(blame::camera)?;
        let own_memory = queue.source(&camera).map_err(blame::camera)?;
        let mut sources = Sources::discover();
        for card in wishes.iter().filter_map(|wish| wish.card.as_ref()) {
            sources.add_card(card);
        }
        let declared: Vec<Source> = sources
            .declarations()
            .into_iter()
            .chain(own_memory.clone())
            .collect();
        let allowed = source_choice::chosen(options.source.as_deref(), &declared)?;
        Ok(Self {
            queue,
            format: options.format,
            extent,
            camera,
            own_memory,
            sources,
            board: Board::here(),
            allowed,
            wishes,
            excluded: BTreeSet::new(),
            refusals: Vec::new(),
        })
    }

    /// Plans for the first wish that can be met; returns the wish's number with the plan.
    pub(crate) fn plan(&self) -> Result<(Plan, usize), Failure> {
        let mut last = None;
        for (number, wish) in self.wishes.iter().enumerate() {
            match solve(&self.request(number, wish)) {
                Solution::Share(plan) => return Ok((plan, number)),
                other => last = Some((wish.use_in_words, other.explain())),
            }
        }
        let (use_in_words, explanation) =
            last.unwrap_or(("shown", "the compositor offers no format at all".to_owned()));
        let mut words = format!(
            "no buffer serves the camera and the compositor (to be {use_in_words})\n{explanation}"
        );
        let unavailable = self
            .sources
            .unavailable()
            .iter()
            .map(|source| format!("not asked: {source}"));
        for line in self.refusals.iter().cloned().chain(unavailable) {
            words.push('\n');
            words.push_str(&line);
        }
        Err(Failure::new(Exit::NoPlan, anyhow!(words)))
    }

    fn request(&self, number: usize, wish: &Wish) -> Request {
        let mut participants = vec![self.camera.clone()];
        participants.extend(wish.participants.iter().cloned());
        let sources = self
            .allowed
            .iter()
            .filter(|source| !self.excluded.contains(&(number, source.id.clone())))
            .cloned()
            .collect();
        let mut request = Request {
            count: BUFFERS,
            participants,
            sources,
            preferred_fourcc: Some(self.format.unwrap_or(Fourcc::XRGB8888)),
            ..Request::new(self.extent)
        };
        self.board.refine(&mut request);
        request
    }

    /// Allocates what the plan says and gives it to the camera.
    ///
    /// The inner error is the camera's refusal of this memory, after which another plan may work.
    pub(crate) fn stream(&self, plan: &Plan) -> Result<Result<Stream, v4l2::Error>, Failure> {
        give_to_camera(self.queue, plan, self.own_memory.as_ref(), || {
            self.sources
                .allocate(plan)
                .map_err(|error| Failure::new(Exit::Allocation, error))
        })
    }

    /// Takes a refusal into the terms: the next plan for this wish will not use that source.
    pub(crate) fn refused(&mut self, plan: &Plan, wish: usize, why: &str) {
        self.refusals
            .push(format!("{} was tried: {why}", plan.source_name()));
        self.excluded.insert((wish, plan.source().clone()));
    }

    /// Says in words what was agreed on, and what was tried before.
    pub(crate) fn account(&self, plan: &Plan, wish: usize) -> String {
        let mut words = String::new();
        for (number, earlier) in self.wishes.iter().enumerate().take(wish) {
            let solution = solve(&self.request(number, earlier));
            words.push_str(&format!(
                "The compositor would rather have buffers that can be {}, and there is no plan for that:\n{}\n\n",
                earlier.use_in_words,
                solution.explain()
            ));
        }
        for refusal in &self.refusals {
            words.push_str(refusal);
            words.push('\n');
        }
        if let Some(wish) = self.wishes.get(wish) {
            words.push_str(&format!("These buffers can be {}.\n", wish.use_in_words));
        }
        words.push_str(&plan.explain());
        words
    }
}

/// The size that a picture ought to have on this screen.
fn wanted(options: &Options, compositor: &Compositor) -> Extent {
    let configured = compositor
        .configure
        .and_then(|configure| configure.size.filter(|_| configure.fullscreen));
    let mode = compositor.output.map(|mode| (mode.width, mode.height));
    let sides = if options.window {
        configured.unwrap_or(ANY_SIZE)
    } else {
        mode.or(configured).unwrap_or(ANY_SIZE)
    };
    Extent::new(sides.0, sides.1)
        .or_else(|_| Extent::new(ANY_SIZE.0, ANY_SIZE.1))
        .unwrap_or_else(|_| unreachable!("a small size is a size"))
}
