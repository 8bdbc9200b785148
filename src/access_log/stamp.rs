//! Dates as text, in UTC. Not a clock: the time is an argument. Invariant: the calendar is worked out once per second, and
//! other lines of the same second copy nineteen bytes.

/// The text of the last second asked for.
#[derive(Debug, Clone)]
pub struct Stamp {
    second: u64,
    text: [u8; 19],
}

impl Default for Stamp {
    fn default() -> Self {
        Self::new()
    }
}

impl Stamp {
    /// A stamp that stands at the epoch.
    pub const fn new() -> Self {
        Self {
            second: 0,
            text: *b"1970-01-01 00:00:00",
        }
    }

    /// `2024-01-15 10:30:00`.
    pub fn text(&mut self, unix_ms: u64) -> &[u8; 19] {
        let second = unix_ms / 1000;
        if second != self.second {
            self.second = second;
            self.text = calendar(second);
        }
        &self.text
    }

    /// Appends `2024-01-15T10:30:00.123Z` (RFC 3339).
    pub fn write_rfc3339(&mut self, unix_ms: u64, out: &mut Vec<u8>) {
        let (date, time) = self.text(unix_ms).split_at(10);
        out.extend_from_slice(date);
        out.push(b'T');
        out.extend_from_slice(&time[1..]);
        let ms = unix_ms % 1000;
        out.extend_from_slice(&[b'.', digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    }
}

/// Days to year, month, day after Howard Hinnant's `civil_from_days` (proleptic Gregorian; here only days after 1970).
fn calendar(second: u64) -> [u8; 19] {
    let (days, clock) = (second / 86_400, second % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01, so that leap days end a year
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let [hour, minute, second] = [clock / 3_600, clock / 60 % 60, clock % 60];
    [
        digit(year / 1000),
        digit(year / 100),
        digit(year / 10),
        digit(year),
        b'-',
        digit(month / 10),
        digit(month),
        b'-',
        digit(day / 10),
        digit(day),
        b' ',
        digit(hour / 10),
        digit(hour),
        b':',
        digit(minute / 10),
        digit(minute),
        b':',
        digit(second / 10),
        digit(second),
    ]
}

fn digit(n: u64) -> u8 {
    // Below ten, so the lowest byte is the whole number.
    b'0' + (n % 10).to_le_bytes()[0]
}
