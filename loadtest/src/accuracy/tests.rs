//! The checker against its definition, arrivals against their seed, the judge and the report against made-up runs. Not the gateways.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]

use std::fs;

use super::arrivals::{Dice, draw};
use super::bucket::{Bucket, Limit};
use super::checker::{Span, exact, excess, gap};
use super::findings::{Findings, Goal, ScenarioFindings};
use super::fleet::Counts;
use super::judge::{Figures, judge, quantile};
use super::price::{Price, Round};
use super::resets;
use super::scenarios::{SCENARIOS, Scenario};
use super::{Arrival, OURS, Seen, Verdict};

const SECOND: u64 = 1_000_000_000;

fn limit(per_minute: u32, burst: u32, block_s: u32) -> Limit {
    Limit {
        per_minute,
        burst,
        block_s,
    }
}

fn at(moments: &[f64]) -> Vec<Span> {
    let span = |&moment: &f64| {
        let at = super::nanos(moment);
        Span {
            sent: at,
            answered: at,
        }
    };
    moments.iter().map(span).collect()
}

#[test]
fn an_excess_is_what_the_worst_interval_has_beyond_the_bound() {
    // 60 per minute: one comes back each second; a full bucket has 5.
    let five = limit(4, 1, 0);
    let minute = limit(60, 5, 0);
    let many: Vec<f64> = vec![3.0; 70];
    let table: [(&str, Limit, Vec<f64>, u64); 8] = [
        ("nothing", minute, vec![], 0),
        ("C at once", five, vec![0.0; 5], 0),
        ("one more", five, vec![0.0; 6], 1),
        (
            "C at once, and what came back",
            minute,
            [vec![0.0; 65], vec![1.0, 2.0]].concat(),
            0,
        ),
        (
            "a moment too early",
            minute,
            [vec![0.0; 65], vec![0.999]].concat(),
            1,
        ),
        (
            "an idle phase before adds nothing",
            minute,
            [vec![0.0], many.clone()].concat(),
            5,
        ),
        (
            "an excess that later silence does not undo",
            minute,
            [many, vec![500.0]].concat(),
            5,
        ),
        (
            "in no order",
            five,
            vec![99.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            1,
        ),
    ];
    for (what, limit, moments, expected) in table {
        assert_eq!(excess(&at(&moments), &limit), expected, "{what}");
    }
}

#[test]
fn what_may_have_happened_apart_is_no_excess() {
    let five = limit(60, 0, 0);
    let whole = |sent: f64, answered: f64| Span {
        sent: super::nanos(sent),
        answered: super::nanos(answered),
    };
    // Sixty at 0; two more asked at once, answered when a token had come back for each.
    let mut spans = vec![whole(0.0, 0.0); 60];
    spans.extend([whole(0.0, 2.0), whole(0.0, 2.0)]);
    assert_eq!(excess(&spans, &five), 0, "answered late");
    spans.push(whole(0.0, 2.0));
    assert_eq!(excess(&spans, &five), 1, "more than two seconds bring");
    // All were sent long ago and answered together: each may have passed at a moment of its own.
    let late: Vec<Span> = (0..70).map(|turn| whole(f64::from(turn), 100.0)).collect();
    assert_eq!(excess(&late, &five), 0, "answers that were late together");
}

/// The definition: every interval that begins with a sending and ends with an answer.
fn excess_by_definition(admitted: &[Span], limit: &Limit) -> u64 {
    let mut worst = 0;
    for from in admitted.iter().map(|span| span.sent) {
        for to in admitted
            .iter()
            .map(|span| span.answered)
            .filter(|to| *to >= from)
        {
            let within = admitted
                .iter()
                .filter(|span| span.sent >= from && span.answered <= to);
            let count = i64::try_from(within.count()).unwrap();
            let full = i64::from(limit.capacity());
            let units = (count - full) * Limit::token() - limit.refill(to - from);
            let tokens =
                units.div_euclid(Limit::token()) + i64::from(units.rem_euclid(Limit::token()) > 0);
            worst = worst.max(tokens);
        }
    }
    u64::try_from(worst).unwrap_or(0)
}

#[test]
fn the_checker_agrees_with_its_definition() {
    let mut found = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let limit = limit(1 + dice.below(300) as u32, dice.below(6) as u32, 0);
        let count = dice.below(60);
        let spans: Vec<Span> = (0..count)
            .map(|_| {
                let sent = dice.next() % (3 * SECOND);
                let answered = sent + dice.next() % (SECOND / 5);
                Span { sent, answered }
            })
            .collect();
        let expected = excess_by_definition(&spans, &limit);
        assert_eq!(excess(&spans, &limit), expected, "seed {seed}");
        found += u64::from(expected > 0);
    }
    assert!(found > 20, "only {found} of the runs exceed their bound");
}

#[test]
fn an_exact_bucket_never_exceeds_its_bound_and_one_token_more_does() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let limit = limit(1 + dice.below(400) as u32, dice.below(20) as u32, 0);
        let mut moments: Vec<u64> = (0..800).map(|_| dice.next() % (20 * SECOND)).collect();
        moments.sort_unstable();
        let mut bucket = Bucket::new(limit);
        moments.retain(|&at| bucket.take(at));
        let mut spans: Vec<Span> = moments
            .iter()
            .map(|&at| Span {
                sent: at,
                answered: at,
            })
            .collect();
        assert_eq!(excess(&spans, &limit), 0, "seed {seed}");
        if spans.len() > limit.capacity() as usize {
            let last = *spans.last().unwrap();
            spans.extend([last; 2]);
            assert!(excess(&spans, &limit) >= 1, "seed {seed}");
        }
    }
}

#[test]
fn the_bucket_keeps_the_vectors_of_the_specification() {
    // G6, G7, G9 of LIMITS.md: 120 at once, a block of 60 s, and 21 of 120 used after the first request at its end.
    let mut bucket = Bucket::new(limit(100, 20, 60));
    let at_once = (0..121).filter(|_| bucket.take(0)).count();
    assert_eq!((at_once, bucket.take(15 * SECOND)), (120, false));
    assert!(bucket.take(60 * SECOND));
    assert_eq!(bucket.tokens(60 * SECOND), 99);
    // G12 without a block.
    let mut bucket = Bucket::new(limit(100, 20, 0));
    let taken = [0, 599_000_000, 600_000_000, 600_000_000].map(|at| {
        while bucket.take(at) && at == 0 {}
        bucket.tokens(at)
    });
    assert_eq!(taken, [0, 0, 0, 0]);
    let mut share = Bucket::share(limit(100, 20, 0), 3);
    assert_eq!((0..60).filter(|_| share.take(0)).count(), 40);
    assert!(!share.take(1_799_000_000) && share.take(1_800_000_000));
    let mut debt = Bucket::told(limit(60, 0, 0), -2_000, 5 * SECOND, 0);
    assert!(!debt.take(7 * SECOND) && debt.take(8 * SECOND));
    assert!(!Bucket::told(limit(60, 0, 0), 9_000, 0, 10).take(5_000_000));
}

#[test]
fn a_gap_is_what_was_still_there_at_a_refusal() {
    let free = limit(60, 0, 0);
    let blocked = limit(60, 0, 60);
    let twenty = at(&[0.0; 20]);
    assert_eq!(gap(&twenty, &at(&[0.5]), free), 40);
    assert_eq!(gap(&at(&[0.0; 60]), &at(&[0.5]), free), 0);
    // What was sent before the refusal was answered may have come before it.
    let under_way = Span {
        sent: 0,
        answered: SECOND,
    };
    assert_eq!(gap(&at(&[0.5; 60]), &[under_way], free), 0);
    // Tokens come back during a block, and are refused rightly.
    let sixty = at(&[0.0; 60]);
    assert_eq!(gap(&sixty, &at(&[0.1, 30.0, 59.0]), blocked), 0);
    assert_eq!(gap(&sixty, &at(&[0.1, 30.0, 59.0]), free), 59);
    assert_eq!(exact(&[0; 61], blocked), 60);
}

#[test]
fn arrivals_follow_from_their_seed() {
    for scenario in &SCENARIOS {
        let one = draw(scenario, 3, 7, 0.5);
        assert_eq!(one, draw(scenario, 3, 7, 0.5), "{}", scenario.name);
        assert_ne!(one, draw(scenario, 3, 8, 0.5), "{}", scenario.name);
        assert!(
            one.is_sorted_by_key(|arrival| arrival.at),
            "{}",
            scenario.name
        );
        let expected: f64 = scenario
            .phases
            .iter()
            .map(|phase| (phase.per_second * phase.lasts(0.5)).round())
            .sum();
        assert_eq!(one.len() as f64, expected, "{}", scenario.name);
        for node in 0..3 {
            assert!(
                one.iter().any(|arrival| arrival.node == node),
                "{}",
                scenario.name
            );
        }
    }
}

#[test]
fn below_the_limit_an_exact_bucket_refuses_nothing() {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.below) {
        for (seed, scale) in [(1, 1.0), (2, 0.5), (3, 1.0)] {
            let arrivals = draw(scenario, 3, seed, scale);
            let seen: Vec<Seen> = arrivals
                .iter()
                .map(|&arrival| seen(arrival, Verdict::Admitted))
                .collect();
            let figures = judge("x", &seen, scenario);
            let name = scenario.name;
            assert_eq!(
                (figures.exact, figures.over),
                (figures.requests, 0),
                "{name} {seed}"
            );
        }
    }
}

fn seen(arrival: Arrival, verdict: Verdict) -> Seen {
    Seen {
        arrival,
        sent: arrival.at,
        answered: arrival.at + 1_000_000,
        verdict,
    }
}

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|one| one.name == name).unwrap()
}

#[test]
fn a_way_that_admits_everything_is_found_out_and_so_is_one_that_refuses() {
    let attack = scenario("attack");
    let arrivals = draw(attack, 3, 1, 1.0);
    let everything: Vec<Seen> = arrivals
        .iter()
        .map(|&one| seen(one, Verdict::Admitted))
        .collect();
    let open = judge("open", &everything, attack);
    assert!(open.over > 5_000 && open.over_percent > 4_000.0, "{open:?}");
    let nothing: Vec<Seen> = arrivals
        .iter()
        .map(|&one| seen(one, Verdict::Refused))
        .collect();
    let shut = judge("shut", &nothing, attack);
    assert_eq!(
        (shut.over, shut.under_percent, shut.gap_percent),
        (0, 100.0, 100.0)
    );
    assert_eq!(shut.block_ms, None, "nobody was admitted");
    let mut bucket = Bucket::new(attack.limit);
    let exact: Vec<Seen> = arrivals
        .iter()
        .map(|&one| {
            let verdict = if bucket.take(one.at) {
                Verdict::Admitted
            } else {
                Verdict::Refused
            };
            seen(one, verdict)
        })
        .collect();
    let fine = judge("exact", &exact, attack);
    assert_eq!(
        (fine.over, fine.under_percent, fine.gap_percent),
        (0, 0.0, 0.0)
    );
    assert_eq!(
        (fine.admitted, fine.exact, fine.block_ms),
        (120, 120, Some(0.0))
    );
}

#[test]
fn a_reset_is_told_until_the_last_node_admits() {
    let probe = |at_ms: u64, node: usize, verdict| {
        let at = at_ms * 1_000_000;
        seen(Arrival { at, node, key: 0 }, verdict)
    };
    let run = [
        probe(5, 0, Verdict::Admitted),
        probe(9, 1, Verdict::Refused),
        probe(10, 0, Verdict::Refused),
        probe(11, 0, Verdict::Admitted),
        probe(12, 1, Verdict::Refused),
        probe(14, 1, Verdict::Admitted),
    ];
    let asked = [(10_000_000, 11_500_000)];
    let found = resets::judge(&run, &asked, 2);
    assert_eq!(found.answered_ms, [1.5]);
    assert_eq!(
        (found.first_ms, found.everywhere_ms, found.missed),
        (vec![2.0], vec![5.0], 0)
    );
    assert_eq!(resets::judge(&run, &asked, 3).missed, 1);
}

#[test]
fn counts_are_read_from_the_gateways_text() {
    let text = |calls: u32, fast: u32, slow: u32| {
        format!(
            "# TYPE dbpower_leases_total counter\ndbpower_leases_total{{event=\"calls\"}} {calls}\n\
             dbpower_leases_total{{event=\"waited\"}} 99\n\
             dbpower_leases_total{{event=\"lost\"}} 4\n\
             dbpower_limit_wait_seconds_bucket{{le=\"0.001\"}} {fast}\n\
             dbpower_limit_wait_seconds_bucket{{le=\"0.05\"}} {slow}\n\
             dbpower_limit_wait_seconds_bucket{{le=\"+Inf\"}} {slow}\n"
        )
    };
    let (mut before, mut after) = (Counts::default(), Counts::default());
    before.read(&text(3, 1, 1));
    for _ in 0..2 {
        after.read(&text(10, 6, 11));
    }
    let since = after.since(&before);
    assert_eq!((since.calls, since.waited()), (17.0, 21.0));
    assert_eq!((since.waited_for_calls, since.lost), (99.0, 4.0));
    assert_eq!((since.wait_ms(0.5), since.wait_ms(0.99)), (1.0, 50.0));
    assert_eq!(Counts::default().wait_ms(0.99), 0.0);
    assert_eq!(
        (
            quantile(&[1, 2, 3], 0.5),
            quantile(&[1, 2, 3], 0.99),
            quantile(&[], 0.5)
        ),
        (2, 3, 0)
    );
}

fn findings(over: u64, wrong: u64) -> Findings {
    let of = |name: &str| {
        let scenario = scenario(name);
        let arrivals = draw(scenario, 3, 1, 0.5);
        let mut found = ScenarioFindings::new(scenario, &arrivals);
        let run: Vec<Seen> = arrivals
            .iter()
            .map(|&one| seen(one, Verdict::Admitted))
            .collect();
        for way in [OURS, "another & <way>"] {
            let figures = Figures {
                way: way.into(),
                requests: 10,
                admitted: 10,
                refused: wrong,
                over: if name == "flash" { over } else { 0 },
                redis_calls: 0.002,
                redis_calls_all: 0.5,
                redis_calls_counted: 0.5,
                waited: 0.25,
                ..Figures::default()
            };
            found.add(figures, &run);
        }
        found
    };
    let round = |p99_ms: f64, cpu_us: f64| Round {
        p99_ms,
        cpu_us,
        ..Round::default()
    };
    let mut findings = Findings {
        scenarios: vec![of("steady"), of("flash")],
        resets: Some(resets::Resets {
            everywhere_ms: vec![3.5, 4.5, 5.5],
            ..resets::Resets::default()
        }),
        prices: vec![
            Price {
                name: "hot".into(),
                off: vec![round(1.0, 20.0), round(1.2, 20.0)],
                on: vec![round(1.1, 21.0)],
                ..Price::default()
            },
            Price {
                name: "busy".into(),
                off: vec![round(9.0, 20.0)],
                on: vec![round(9.0, 21.0)],
                ..Price::default()
            },
            Price {
                name: "cold".into(),
                off: vec![round(1.0, 20.0)],
                on: vec![round(1.5, 30.0)],
                ..Price::default()
            },
        ],
        ..Findings::default()
    };
    findings.judge_goals();
    findings
}

#[test]
fn targets_are_missed_by_what_misses_them() {
    let missed = |findings: &Findings| -> Vec<String> {
        let missed = findings.targets.iter().filter(|goal| !goal.passed);
        missed.map(|goal: &Goal| goal.what.clone()).collect()
    };
    let fine = findings(0, 0);
    assert_eq!(fine.targets.len(), 10);
    assert_eq!(
        missed(&fine),
        ["CPU that Redis adds for hot keys"],
        "21 µs are 5 % more than 20"
    );
    // The flash crowd is refused rightly, the steady key is not.
    let bad = findings(2, 1);
    let found = |what: &str| {
        bad.targets
            .iter()
            .find(|goal| goal.what.starts_with(what))
            .unwrap()
            .found
            .clone()
    };
    assert_eq!(found("requests over the bound"), "2");
    assert_eq!(found("wrong refusals"), "1");
    assert_eq!(missed(&bad).len(), 3);
}

#[test]
fn what_is_written_can_be_read_and_holds_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let written = findings(7, 0);
    written.write(folder.path()).unwrap();
    let read = |ending: &str| {
        fs::read_to_string(folder.path().join(format!("accuracy.{ending}"))).unwrap()
    };
    let again: Findings = serde_json::from_str(&read("json")).unwrap();
    assert_eq!(again, written);
    let page = read("md");
    for text in [
        "### Side by side",
        "| this gateway | another & <way> |",
        "**7** / 0.00 / 0.0020",
        "| admission on every node | 4.5 | 5.5 |",
        "| busy | all it can |",
        "**missed**",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    let picture = read("svg");
    assert!(picture.starts_with("<svg xmlns=") && picture.trim_end().ends_with("</svg>"));
    // Two ways and the bound.
    assert_eq!(picture.matches("<polyline").count(), 3);
    assert!(picture.contains("another &amp; &lt;way&gt;") && picture.contains("C + L·t/W"));
    assert!(!picture.contains("NaN"));
}
