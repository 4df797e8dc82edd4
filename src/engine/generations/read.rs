//! A generation read back: what was to be done, what is known of how it went.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::record::SCHEMA;
use super::{Entry, Header, Left, Moment, Round};
use crate::plan::{Followup, Step};

/// A generation as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number; later ones have higher numbers.
    pub number: u32,
    /// What it began with.
    pub header: Header,
    /// Its rounds.
    pub rounds: Vec<RoundRecord>,
    /// The follow-ups that were begun.
    pub followups: Vec<FollowupRecord>,
    /// When it ended, and whether something had failed; `None` while it is under way, and for ever where it was killed.
    pub finished: Option<(Moment, bool)>,
    /// When a later run found that it had not come to its end.
    pub interrupted: Option<Moment>,
}

/// A round and what became of its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundRecord {
    /// What was to be done.
    pub round: Round,
    /// One for each step of the round.
    pub steps: Vec<StepRecord>,
}

/// What is known about a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepRecord {
    /// How far it came.
    pub state: StepState,
    /// What it left, where that was looked at.
    pub left: Option<Left>,
}

/// How far a step came. Only [`Made`](StepState::Made) is certain: the notes behind a step may be lost with the power,
/// and a step that failed may have left something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StepState {
    /// Nothing says that it was begun.
    #[default]
    Unknown,
    /// It was begun, and nothing says that it ended.
    Began,
    /// It was made.
    Made,
    /// It failed.
    Failed(String),
}

/// A follow-up that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowupRecord {
    /// Which.
    pub followup: Followup,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// How far it came.
    pub state: StepState,
}

/// A generation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("generation {number} is damaged: {problem}")]
pub struct Damaged {
    /// Its number.
    pub number: u32,
    /// What is wrong with it.
    pub problem: String,
}

impl Generation {
    /// Reads `generation.json` and `journal`. The last line of the journal may be torn: its writer was killed.
    ///
    /// # Errors
    /// When something else than a last line is not what this program writes, or a newer version wrote it.
    pub fn parse(number: u32, header: &[u8], journal: &[u8]) -> Result<Self, Damaged> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let damaged = |problem: String| Damaged { number, problem };
        let wrong = |error: serde_json::Error| damaged(format!("generation.json: {error}"));
        let Version { schema } = serde_json::from_slice(header).map_err(wrong)?;
        if schema > SCHEMA {
            return Err(damaged(format!("a newer reconcile wrote it (format {schema})")));
        }
        let header = serde_json::from_slice(header).map_err(wrong)?;
        let mut generation = Self {
            number,
            header,
            rounds: Vec::new(),
            followups: Vec::new(),
            finished: None,
            interrupted: None,
        };
        let mut torn: Option<String> = None;
        for (at, line) in journal.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let entry = serde_json::from_slice(line);
            // Whoever finds a torn line behind which nothing was written goes on in a new one.
            if let (Some(problem), false) = (&torn, matches!(entry, Ok(Entry::Interrupted { .. }))) {
                return Err(damaged(problem.clone()));
            }
            torn = entry.as_ref().err().map(|error| format!("journal, line {}: {error}", at + 1));
            if let Ok(entry) = entry {
                generation.take(entry);
            }
        }
        if let Some(problem) = torn.filter(|_| journal.ends_with(b"\n")) {
            return Err(damaged(problem));
        }
        Ok(generation)
    }

    fn take(&mut self, entry: Entry) {
        let round = self.rounds.last_mut();
        let step = |at: usize| round.and_then(|round| round.steps.get_mut(at));
        match entry {
            Entry::Round(round) => {
                let steps = vec![StepRecord::default(); round.steps.len()];
                self.rounds.push(RoundRecord { round, steps });
            }
            Entry::Began { step: at } => {
                if let Some(step) = step(at) {
                    step.state = StepState::Began;
                }
            }
            Entry::Ended { step: at, error, left } => {
                if let Some(step) = step(at) {
                    *step = StepRecord { state: ended(error), left };
                }
            }
            Entry::FollowupBegan { followup, argv } => {
                self.followups.push(FollowupRecord { followup, argv, state: StepState::Began });
            }
            Entry::FollowupEnded { error } => {
                if let Some(run) = self.followups.last_mut() {
                    run.state = ended(error);
                }
            }
            Entry::Finished { when, failed } => self.finished = Some((when, failed)),
            Entry::Interrupted { when } => self.interrupted = Some(when),
        }
    }

    /// Whether it has neither come to its end nor been found by a later run: it is under way, or was killed.
    pub fn is_open(&self) -> bool {
        self.finished.is_none() && self.interrupted.is_none()
    }

    /// Every step with what is known about it.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &StepRecord)> {
        self.rounds.iter().flat_map(|record| record.round.steps.iter().zip(&record.steps))
    }

    /// What was begun and has not been seen to end, for people.
    pub fn in_flight(&self) -> Vec<String> {
        let began = self.steps().filter(|(_, record)| record.state == StepState::Began);
        let steps = began.map(|(step, _)| match step {
            Step::WriteAttr { value, .. } => format!("{} <- {value}", step.target()),
            Step::WriteFile { .. }
            | Step::RemoveFile { .. }
            | Step::RestoreFile { .. }
            | Step::RemoveDirectory { .. }
            | Step::Run { .. } => step.target(),
        });
        let runs = self.followups.iter().filter(|run| run.state == StepState::Began);
        steps.chain(runs.map(|run| run.argv.join(" "))).collect()
    }

    /// The resources that it changed.
    pub fn resources(&self) -> BTreeSet<&str> {
        let changes = self.rounds.iter().flat_map(|record| &record.round.changes);
        changes.filter(|change| !change.steps.is_empty()).map(|change| change.resource.as_str()).collect()
    }
}

fn ended(error: Option<String>) -> StepState {
    error.map_or(StepState::Made, StepState::Failed)
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Who};
    use super::*;
    use crate::engine::Memory;

    fn header() -> Vec<u8> {
        let who = Who { uid: 0, loginuid: None, sudo_user: None, pid: 1 };
        serde_json::to_vec(&Header::new(Kind::Apply, who, None, &[], Memory::default())).unwrap()
    }

    fn journal(entries: &[Entry]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|entry| [serde_json::to_vec(entry).unwrap(), b"\n".to_vec()].concat())
            .collect()
    }

    fn began() -> Vec<u8> {
        let steps = vec![Step::quick_attr("/sys/a", None, "1"), Step::quick_attr("/sys/b", None, "2")];
        journal(&[
            Entry::Round(Round { steps, ..Round::default() }),
            Entry::Began { step: 0 },
            Entry::Ended { step: 0, error: None, left: None },
            Entry::Began { step: 1 },
        ])
    }

    #[test]
    fn what_was_in_flight_is_told() {
        let generation = Generation::parse(1, &header(), &began()).unwrap();
        assert_eq!(generation.in_flight(), ["/sys/b <- 2"]);
        assert!(generation.is_open());
        let states: Vec<&StepState> = generation.steps().map(|(_, record)| &record.state).collect();
        assert_eq!(states, [&StepState::Made, &StepState::Began]);
    }

    #[test]
    fn a_torn_last_line_is_no_damage() {
        let whole = [began(), journal(&[Entry::Ended { step: 1, error: None, left: None }])].concat();
        let ended = began().len();
        for cut in ended + 1..whole.len() - 1 {
            let torn = &whole[..cut];
            let generation = Generation::parse(1, &header(), torn).unwrap();
            assert_eq!(generation.in_flight(), ["/sys/b <- 2"], "{cut}");
            // Whoever marks it afterwards begins a new line.
            let marked = [torn, b"\n", &journal(&[Entry::Interrupted { when: Moment(1) }])].concat();
            let generation = Generation::parse(1, &header(), &marked).unwrap();
            assert!(!generation.is_open() && generation.in_flight() == ["/sys/b <- 2"], "{cut}");
        }
    }

    #[test]
    fn other_damage_is_told() {
        let damaged = |header: &[u8], journal: &[u8]| {
            Generation::parse(4, header, journal).map(|_| ()).unwrap_err().to_string()
        };
        assert!(damaged(b"", b"").contains("generation 4 is damaged: generation.json"));
        assert!(damaged(b"{\"schema\": 2}", b"").contains("newer reconcile"));
        assert!(damaged(&header(), b"nonsense\n").contains("journal, line 1"));
        let behind = [&b"nonsense\n"[..], &began()].concat();
        assert!(damaged(&header(), &behind).contains("journal, line 1"));
    }
}
