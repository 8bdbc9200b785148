//! The parts of a certificate (RFC 5280 4.1) that the gateway reads itself: issuer, validity, subject, and three
//! extensions' facts. Not its verification (webpki does that). Invariant: bytes that are no certificate give `None`,
//! never a panic.

use super::der::{BOOLEAN, EXTENSIONS, OCTETS, OID, SEQUENCE, SET, VERSION, take, take_content};

/// Object identifiers as DER content.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// Tags of the two forms of a time (RFC 5280 4.1.2.5).
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate<'a> {
    /// The issuer's name, tag and length included.
    pub(super) issuer: &'a [u8],
    /// First second in which it is valid, since the Unix epoch; what lies before it is 0.
    pub(super) not_before: u64,
    /// Last second in which it is valid.
    pub(super) not_after: u64,
    /// The content of the subject's name.
    pub(super) subject: &'a [u8],
    /// The content of the list of extensions; empty where there are none.
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Takes a certificate apart (DER). `None`: it is none.
    pub(super) fn parse(mut der: &'a [u8]) -> Option<Self> {
        let mut outer = take_content(&mut der, SEQUENCE)?;
        let mut body = take_content(&mut outer, SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            take(&mut body)?;
        }
        let _serial = take(&mut body)?;
        let _algorithm = take(&mut body)?;
        let issuer = take(&mut body)?.whole;
        let mut validity = take_content(&mut body, SEQUENCE)?;
        let not_before = time(&mut validity)?;
        let not_after = time(&mut validity)?;
        let subject = take_content(&mut body, SEQUENCE)?;
        let _key = take(&mut body)?;
        let mut extensions: &[u8] = &[];
        while !body.is_empty() {
            let element = take(&mut body)?;
            if element.tag == EXTENSIONS {
                let mut content = element.content;
                extensions = take_content(&mut content, SEQUENCE)?;
            }
        }
        Some(Self {
            issuer,
            not_before,
            not_after,
            subject,
            extensions,
        })
    }

    /// It says of itself that it issues no others (`basicConstraints` with CA:FALSE).
    pub(super) fn is_no_authority(&self) -> bool {
        self.extension(BASIC_CONSTRAINTS).is_some_and(|mut value| {
            let constraints = take_content(&mut value, SEQUENCE);
            let flag = constraints.and_then(|mut content| take_content(&mut content, BOOLEAN));
            flag.is_none_or(|flag| flag == [0])
        })
    }

    /// It has names where names belong; a common name then says nothing (RFC 9525 2).
    pub(super) fn has_alt_names(&self) -> bool {
        self.extension(SUBJECT_ALT_NAME).is_some()
    }

    /// Whether a common name of the subject is this name.
    pub(super) fn has_common_name(&self, name: &str) -> bool {
        let mut rest = self.subject;
        while let Some(mut set) = take_content(&mut rest, SET) {
            while let Some(mut pair) = take_content(&mut set, SEQUENCE) {
                let kind = take_content(&mut pair, OID);
                let value = take(&mut pair);
                if kind == Some(COMMON_NAME)
                    && value
                        .is_some_and(|value| value.content.eq_ignore_ascii_case(name.as_bytes()))
                {
                    return true;
                }
            }
        }
        false
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.extensions;
        while !rest.is_empty() {
            let mut extension = take_content(&mut rest, SEQUENCE)?;
            if take_content(&mut extension, OID)? != wanted {
                continue;
            }
            if extension.first() == Some(&BOOLEAN) {
                take(&mut extension)?;
            }
            return take_content(&mut extension, OCTETS);
        }
        None
    }
}

/// Takes a time off the front: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms of RFC 5280.
pub(super) fn time(bytes: &mut &[u8]) -> Option<u64> {
    let element = take(bytes)?;
    let digits = element.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| {
        let digit = |sum, byte: &u8| sum * 10 + i64::from(byte - b'0');
        digits.iter().fold(0_i64, digit)
    };
    let (year, rest) = match element.tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year), rest)
        }
        _ => return None,
    };
    let (pairs, []) = rest.as_chunks::<2>() else {
        return None;
    };
    let [month, day, hour, minute, second] = pairs else {
        return None;
    };
    let (month, day) = (number(month), number(day));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let of_day = number(hour) * 3_600 + number(minute) * 60 + number(second);
    let seconds = days(year, month, day) * 86_400 + of_day;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Days since 1970-01-01 in the Gregorian calendar. Years begin in March, so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months = (month + 9) % 12;
    let of_year = (153 * months + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leaps + of_year - 719_468
}
