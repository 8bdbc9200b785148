//! When certificates end and what is said of it. Not here: files and their renewal. Invariant: the time is injected.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::super::Files;
use super::super::expiry::{Dated, Reminder, dated, validity};

const DAY_MS: u64 = 86_400_000;

/// 2026-01-01T00:00:00Z.
const FROM_MS: u64 = 1_767_225_600_000;

fn pem(from: (i32, u8, u8), until: (i32, u8, u8)) -> (String, Vec<u8>) {
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from.0, from.1, from.2);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    (certificate.pem(), certificate.der().to_vec())
}

/// The dates of files with these certificates in them, one chain each.
fn chains(files: &[&[(i32, u8, u8)]]) -> (tempfile::TempDir, Vec<Dated>) {
    let directory = tempfile::tempdir().unwrap();
    let pairs = files.iter().enumerate().map(|(at, ends)| {
        let chain: String = ends.iter().map(|end| pem((2026, 1, 1), *end).0).collect();
        let name = directory.path().join(format!("{at}.pem"));
        std::fs::write(&name, chain).unwrap();
        (name.to_str().unwrap().to_owned(), String::new())
    });
    let files = Files {
        pairs: pairs.collect(),
        client_ca: None,
    };
    let found = dated(&files, |path| std::fs::read(path));
    (directory, found)
}

#[test]
fn the_validity_is_read_whichever_way_it_is_written() {
    for (from, until, expected) in [
        ((2026, 1, 1), (2026, 2, 1), "1767225600 1769904000"),
        ((1975, 1, 1), (2049, 12, 31), "157766400 2524521600"),
        // From 2050 on years have four digits.
        ((2050, 1, 1), (4096, 1, 1), "2524608000 67090118400"),
        ((2024, 2, 29), (2024, 3, 1), "1709164800 1709251200"),
        ((2000, 3, 1), (2100, 3, 1), "951868800 4107542400"),
    ] {
        let found = validity(&pem(from, until).1).unwrap();
        let shown = format!("{found:?}");
        let numbers: Vec<&str> = shown
            .split(|c: char| !c.is_ascii_digit())
            .filter(|text| text.len() > 3)
            .collect();
        assert_eq!(numbers.join(" "), expected, "{from:?} {until:?}");
    }
    let (_, der) = pem((2026, 1, 1), (2026, 2, 1));
    for length in 0..der.len() {
        // Cut short it is none, or the same.
        let cut = validity(&der[..length]);
        assert!(cut.is_none() || cut == validity(&der), "{length}");
    }
    for at in 0..der.len() {
        let mut other = der.clone();
        other[at] ^= 0xff;
        let _ = validity(&other);
    }
}

#[test]
fn lines_come_at_start_when_it_gets_worse_and_daily() {
    let (_directory, certificates) = chains(&[&[(2026, 4, 1)]]);
    let mut reminder = Reminder::default();
    // (days since it was issued for 90, what is said)
    let table = [
        (0.0, ""),
        (59.9, ""),
        (60.5, "the certificate expires in 29 days"),
        (60.6, ""),
        (61.5, "the certificate expires in 28 days"),
        (89.0, "the certificate expires in 24 h"),
        (89.5, ""),
        (90.01, "the certificate has expired 14 min ago"),
        (90.02, ""),
        (91.5, "the certificate has expired 36 h ago"),
        (91.6, ""),
        (95.0, "the certificate has expired 5 days ago"),
    ];
    for (days, expected) in table {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a test's own numbers"
        )]
        let now_ms = FROM_MS + (days * 86_400_000.0) as u64;
        let lines = reminder.due(&certificates, now_ms);
        let said: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(
            said.len(),
            usize::from(!expected.is_empty()),
            "{days}: {said:?}"
        );
        assert!(said.concat().starts_with(expected), "{days}: {said:?}");
    }
    // The same after a renewal with the same file.
    reminder.reset();
    assert_eq!(reminder.due(&certificates, FROM_MS + 96 * DAY_MS).len(), 1);
}

#[test]
fn a_certificate_for_a_few_days_is_spoken_of_once_until_its_last_third() {
    let (_directory, certificates) = chains(&[&[(2026, 1, 7)]]);
    let mut reminder = Reminder::default();
    let mut lines = |days: u64| reminder.due(&certificates, FROM_MS + days * DAY_MS).len();
    let said: Vec<usize> = [0, 1, 2, 3, 4, 5].map(&mut lines).into();
    assert_eq!(said, [1, 0, 0, 0, 0, 1]);
}

#[test]
fn every_certificate_of_every_file_counts() {
    let (_directory, certificates) = chains(&[
        &[(2027, 1, 1), (2026, 1, 11)],
        &[(2027, 1, 1)],
        &[(2026, 1, 21)],
    ]);
    let mut reminder = Reminder::default();
    let lines = reminder.due(&certificates, FROM_MS + DAY_MS / 2);
    let said: Vec<(&str, &str)> = lines
        .iter()
        .map(|(file, line)| (file.rsplit('/').next().unwrap(), line.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("0.pem", "certificate 2 of the chain expires in 9 days"),
            ("2.pem", "the certificate expires in 19 days"),
        ]
    );
    let mut early = Reminder::default();
    let lines = early.due(&certificates, FROM_MS - 3 * DAY_MS);
    assert_eq!(lines.len(), 4);
    assert!(
        lines[0]
            .1
            .starts_with("the certificate is valid only in 3 days")
    );
}
