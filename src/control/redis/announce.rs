//! What the log says of the store's coming and going, and how often. Not the log itself, no clock. Invariants: at most two lines in
//! `WINDOW_NS`, however often the store goes away; the last line that was written agrees with what is, at the latest after that time;
//! each time that it went away is in some line's count.

use super::reason::Reason;
use crate::limit::OnOutage;

/// One pair of lines at most.
pub(super) const WINDOW_NS: u64 = 10_000_000_000;
const MS: u64 = 1_000_000;

/// A line that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// It is away; so many times more than was said so far.
    Away {
        why: Reason,
        more: u64,
    },
    Back,
    /// It is there; it was away so many times since the last line, for so long at most.
    Flapped {
        times: u64,
        longest_ms: u64,
    },
}

/// What was said, and what is.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    /// Why it is away now.
    why: Option<Reason>,
    since_ns: u64,
    /// The last line said that it is away, for this reason.
    said: Option<Reason>,
    /// No further pair before.
    next_ns: u64,
    /// How often it went away, and no line said so.
    unsaid: u64,
    longest_ns: u64,
}

impl Announcer {
    /// The store is away; said again and again as long as it is.
    pub(super) fn away(&mut self, why: Reason, now_ns: u64) -> Option<Line> {
        if self.why.is_none() {
            self.since_ns = now_ns;
            self.unsaid += 1;
        }
        self.why = Some(why);
        self.tick(now_ns)
    }

    /// The store is there.
    pub(super) fn back(&mut self, now_ns: u64) -> Option<Line> {
        let is_news = self.why.take().is_some();
        if is_news && self.unsaid > 0 {
            let length = now_ns.saturating_sub(self.since_ns);
            self.longest_ns = self.longest_ns.max(length);
        }
        // The first time of all nothing was said before.
        let is_first = !is_news && self.next_ns == 0;
        if self.said.take().is_some() || is_first {
            self.next_ns = self.next_ns.max(now_ns.saturating_add(1));
            return Some(Line::Back);
        }
        self.tick(now_ns)
    }

    /// Time has passed: what could not be said before may be due.
    pub(super) fn tick(&mut self, now_ns: u64) -> Option<Line> {
        if now_ns < self.next_ns {
            return None;
        }
        let line = match &self.why {
            Some(why) if self.said.as_ref() == Some(why) => return None,
            Some(why) => {
                self.said = Some(why.clone());
                Line::Away {
                    why: why.clone(),
                    more: self.unsaid.saturating_sub(1),
                }
            }
            None if self.unsaid == 0 => return None,
            None => Line::Flapped {
                times: self.unsaid,
                longest_ms: self.longest_ns / MS,
            },
        };
        (self.unsaid, self.longest_ns) = (0, 0);
        self.next_ns = now_ns.saturating_add(WINDOW_NS);
        Some(line)
    }
}

/// What an outage means, in plain words.
pub(super) fn meaning(policy: OnOutage, nodes: u32) -> String {
    let what = match (policy, nodes) {
        (OnOutage::Share, 0 | 1) => {
            "limits are held in memory on this gateway alone, each limit whole".to_owned()
        }
        (OnOutage::Share, nodes) => format!(
            "limits are held in memory on this gateway alone, 1/{nodes} of each limit, for {nodes} gateways share it"
        ),
        (OnOutage::Closed, _) => {
            "requests are refused (429) as soon as the tokens that this gateway has leased are spent".to_owned()
        }
        (OnOutage::Open, _) => "nothing is limited on this gateway".to_owned(),
    };
    let policy = policy.label();
    format!(
        "{what} (RATE_LIMIT_ON_OUTAGE={policy}), until Redis answers again; it is asked every 0.1 s"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn away(why: &str, more: u64) -> Option<Line> {
        let why = why.to_owned();
        Some(Line::Away { why, more })
    }

    /// What happens at which second, and what is said then.
    enum Event {
        Away(&'static str),
        Back,
        Tick,
    }
    use Event::{Away, Back, Tick};

    fn play(rows: &[(u64, Event, Option<Line>)]) {
        let mut announcer = Announcer::default();
        for (nth, (ms, event, expected)) in rows.iter().enumerate() {
            let now = ms * MS;
            let line = match event {
                Away(why) => announcer.away((*why).to_owned(), now),
                Back => announcer.back(now),
                Tick => announcer.tick(now),
            };
            assert_eq!(line, *expected, "row {nth} at {ms} ms");
        }
    }

    #[test]
    fn the_first_words() {
        play(&[(5, Back, Some(Line::Back)), (1_000, Tick, None)]);
        play(&[
            (5, Away("refused"), away("refused", 0)),
            (105, Away("refused"), None),
            (3_000, Back, Some(Line::Back)),
            (3_001, Tick, None),
        ]);
    }

    #[test]
    fn one_pair_in_ten_seconds_with_a_count() {
        let flapped = Some(Line::Flapped {
            times: 3,
            longest_ms: 150,
        });
        play(&[
            (5, Back, Some(Line::Back)),
            (1_000, Away("late"), away("late", 0)),
            (1_100, Back, Some(Line::Back)),
            (2_000, Away("late"), None),
            (2_150, Back, None),
            (3_000, Away("late"), None),
            (3_100, Back, None),
            (4_000, Away("late"), None),
            (4_100, Back, None),
            (10_999, Tick, None),
            (11_000, Tick, flapped),
            (12_000, Away("late"), None),
            (12_100, Back, None),
            (13_000, Away("gone"), None),
            (20_999, Away("gone"), None),
            (21_000, Tick, away("gone", 1)),
            (21_500, Back, Some(Line::Back)),
            (60_000, Tick, None),
        ]);
    }

    #[test]
    fn another_reason_is_said_when_its_time_has_come() {
        play(&[
            (5, Away("refused"), away("refused", 0)),
            (200, Away("loading"), None),
            (10_004, Away("loading"), None),
            (10_005, Away("loading"), away("loading", 0)),
            (10_100, Away("refused"), None),
            (10_300, Back, Some(Line::Back)),
        ]);
    }

    #[test]
    fn hours_of_flapping_are_two_lines_in_ten_seconds_at_most_and_every_time_is_counted() {
        let mut announcer = Announcer::default();
        let (mut lines, mut told, mut went): (Vec<u64>, u64, u64) = (Vec::new(), 0, 0);
        for step in 0..72_000_u64 {
            let now = step * S / 20;
            let line = match step % 7 {
                0 => {
                    went += 1;
                    announcer.away("late".to_owned(), now)
                }
                3 => announcer.back(now),
                _ => announcer.tick(now),
            };
            match line {
                Some(Line::Away { more, .. }) => told += more + 1,
                Some(Line::Flapped { times, .. }) => told += times,
                Some(Line::Back) | None => {}
            }
            lines.extend(line.map(|_| now));
        }
        for three in lines.windows(3) {
            assert!(three[2] - three[0] >= WINDOW_NS, "{three:?}");
        }
        assert!(went - told < 40, "{told} of {went}");
    }

    #[test]
    fn what_an_outage_means_is_said_in_words() {
        for (policy, nodes, words) in [
            (OnOutage::Share, 1, "each limit whole"),
            (OnOutage::Share, 3, "1/3 of each limit"),
            (OnOutage::Closed, 3, "429"),
            (OnOutage::Open, 3, "nothing is limited"),
        ] {
            let said = meaning(policy, nodes);
            assert!(
                said.contains(words) && said.contains("until Redis answers"),
                "{said}"
            );
        }
    }
}
