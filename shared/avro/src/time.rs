//! Dates and times as ISO 8601 text, for every year that 64 bits of microseconds can name.

const DAY: i64 = 86_400_000_000;

/// Year, month, day of a number of days since 1970-01-01 (proleptic Gregorian calendar).
pub fn civil(days: i64) -> (i64, u32, u32) {
    // eras of 400 years that start on 1 March, so that the leap day is a year's last
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// Days since 1970-01-01 of a date; months beyond 12 are not checked here.
pub fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

/// `2024-02-29`; years beyond 9999 with a plus sign, before 0 with a minus.
pub fn date_text(day: i64) -> String {
    let (year, month, day) = civil(day);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        10_000.. => format!("+{year}-{month:02}-{day:02}"),
        _ => format!("-{:04}-{month:02}-{day:02}", -year),
    }
}

/// `13:05:09` with as many digits of a second as needed, at most 6.
pub fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match fraction {
        0 => text,
        _ => format!("{text}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}

/// `2024-02-29T13:05:09.120000Z` with exactly `digits` (0 to 6) digits of a second.
pub fn timestamp_text(micros: i64, digits: usize) -> String {
    let (day, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let date = date_text(day);
    let fraction = format!("{fraction:06}");
    match fraction.get(..digits.min(6)) {
        None | Some("") => format!("{date}T{time}Z"),
        Some(fraction) => format!("{date}T{time}.{fraction}Z"),
    }
}

/// Microseconds since the epoch of an ISO 8601 timestamp with `Z` or an offset; `None` when it is not one.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let day = parse_date(date)?;
    let (micros, offset) = parse_zoned_time(time)?;
    day.checked_mul(DAY)?.checked_add(micros)?.checked_sub(offset)
}

/// Days since the epoch of `[+-]YYYY-MM-DD`.
pub fn parse_date(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split('-');
    let year: i64 = number(parts.next()?, 4, 9)?;
    let month = u32::try_from(number(parts.next()?, 2, 2)?).ok()?;
    let day = u32::try_from(number(parts.next()?, 2, 2)?).ok()?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(if negative { -year } else { year }, month, day))
}

/// Microseconds since midnight and offset in microseconds of `HH:MM:SS[.f](Z|+HH:MM)`.
pub fn parse_zoned_time(text: &str) -> Option<(i64, i64)> {
    let at = text.find(['Z', '+', '-'])?;
    let (time, zone) = text.split_at_checked(at)?;
    let offset = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign, rest) => {
            let mut parts = rest.split(':');
            let hours = number(parts.next()?, 2, 2)?;
            let minutes = parts.next().map_or(Some(0), |m| number(m, 2, 2))?;
            let seconds = parts.next().map_or(Some(0), |s| number(s, 2, 2))?;
            let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000;
            if sign == "-" { -micros } else { micros }
        }
    };
    Some((parse_time(time)?, offset))
}

/// Microseconds since midnight of `HH:MM[:SS[.f]]`.
pub fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 2, 2)?;
    let minutes = number(parts.next()?, 2, 2)?;
    let seconds = parts.next().map_or(Some(0), |s| number(s, 2, 2))?;
    if hours > 24 || minutes > 59 || seconds > 60 || parts.next().is_some() {
        return None;
    }
    let fraction = match fraction.len() {
        0 => 0,
        n if n > 9 => return None,
        n => {
            let value = number(fraction, n, n)?;
            if n <= 6 {
                value * 10i64.pow(6 - u32::try_from(n).ok()?)
            } else {
                value / 10i64.pow(u32::try_from(n).ok()? - 6)
            }
        }
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

fn number(text: &str, least: usize, most: usize) -> Option<i64> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!(date_text(19_782), "2024-02-29");
        assert_eq!(date_text(-719_529), "-0001-12-31");
        assert_eq!(date_text(-719_528), "0000-01-01");
        assert_eq!(date_text(2_932_897), "+10000-01-01");
        assert_eq!(timestamp_text(-1, 6), "1969-12-31T23:59:59.999999Z");
        assert_eq!(timestamp_text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(3_661_500_000), "01:01:01.5");
    }

    proptest::proptest! {
        #[test]
        fn timestamps_survive_their_text(micros in i64::MIN / 4..i64::MAX / 4) {
            proptest::prop_assert_eq!(parse_timestamp(&timestamp_text(micros, 6)), Some(micros));
        }

        #[test]
        fn hostile_text_never_panics(text in ".{0,40}") {
            let _ = (parse_timestamp(&text), parse_date(&text), parse_zoned_time(&text));
        }
    }

    #[test]
    fn offsets_are_applied() {
        assert_eq!(parse_timestamp("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(parse_timestamp("1970-01-01T00:00:00.123456789Z"), Some(123_456));
        assert_eq!(parse_timestamp("1970-01-01"), None);
    }
}
