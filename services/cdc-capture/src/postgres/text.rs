//! PostgreSQL's text forms under the session settings that every connection of ours pins (see [`SESSION_OPTIONS`]).
#![deny(clippy::indexing_slicing)]

use ratestream_avro::time;

/// Start-up options that make text forms unambiguous, whatever the database's or role's defaults are.
pub const SESSION_OPTIONS: &str = "-c DateStyle=ISO,YMD -c IntervalStyle=postgres -c bytea_output=hex \
     -c extra_float_digits=1 -c TimeZone=UTC -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";

const DAY: i64 = 86_400_000_000;
/// What Debezium sends for `infinity` and `-infinity` timestamps, in microseconds.
pub const INFINITY: i64 = 9_223_372_036_825_200_000;
/// See [`INFINITY`].
pub const MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// A decimal integer.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        // built downwards: the smallest number has no positive counterpart
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// UTF-8.
pub fn utf8(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

/// A number's digits as one integer, and how many stand behind the point. `NaN` and infinities are `None`.
pub fn decimal(text: &[u8]) -> Option<(Digits, i32)> {
    let (negative, body) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let point = body.iter().position(|byte| *byte == b'.');
    let scale = point.map_or(0, |at| body.len() - at - 1);
    let mut digits = Digits { negative, digits: Vec::new(), small: 0, fits: true };
    for byte in body {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b'.' => {}
            _ => return None,
        }
    }
    if body.is_empty() { None } else { Some((digits, i32::try_from(scale).ok()?)) }
}

/// An integer of any length, small ones without allocation.
#[derive(Debug)]
pub struct Digits {
    negative: bool,
    small: i128,
    fits: bool,
    digits: Vec<u8>,
}

impl Digits {
    fn push(&mut self, digit: u8) {
        if self.fits {
            match self.small.checked_mul(10).and_then(|n| n.checked_add(i128::from(digit))) {
                Some(n) => self.small = n,
                None => {
                    self.fits = false;
                    self.digits = self.small.to_string().bytes().map(|b| b - b'0').collect();
                    self.digits.push(digit);
                }
            }
        } else {
            self.digits.push(digit);
        }
    }

    /// Appends `n` zeros (a higher scale).
    pub fn shift(&mut self, n: u32) {
        for _ in 0..n {
            self.push(0);
        }
    }

    /// Appends the shortest big-endian two's complement, as Java's `BigInteger.toByteArray`, and returns its length.
    pub fn write(&self, out: &mut Vec<u8>) {
        use ratestream_avro::codec::raw;
        if self.fits {
            let value = if self.negative { -self.small } else { self.small };
            let bytes = value.to_be_bytes();
            let fill = if value < 0 { 0xff } else { 0 };
            let mut start = 0;
            while let (Some(first), Some(second)) = (bytes.get(start), bytes.get(start + 1)) {
                if *first != fill || (second & 0x80 == 0) != (fill == 0) {
                    break;
                }
                start += 1;
            }
            return raw::bytes(bytes.get(start..).unwrap_or_default(), out);
        }
        let sign = if self.negative { num_bigint::Sign::Minus } else { num_bigint::Sign::Plus };
        let big = num_bigint::BigInt::from_radix_be(sign, &self.digits, 10).unwrap_or_default();
        raw::bytes(&big.to_signed_bytes_be(), out);
    }
}

/// Days since 1970-01-01; infinities are the ends of 32 bits.
pub fn date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => return Some(i32::MAX),
        b"-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let text = utf8(text)?;
    i32::try_from(day(text.strip_suffix(" BC").unwrap_or(text), text.ends_with(" BC"))?).ok()
}

fn day(date: &str, before_christ: bool) -> Option<i64> {
    if !before_christ {
        return time::parse_date(date);
    }
    // 1 BC is year 0
    let (year, rest) = date.split_once('-')?;
    let year: i64 = year.parse().ok()?;
    let (month, day) = rest.split_once('-')?;
    Some(time::days(1 - year, month.parse().ok()?, day.parse().ok()?))
}

/// Microseconds since midnight; 24:00:00 is a whole day.
pub fn time_of_day(text: &[u8]) -> Option<i64> {
    time::parse_time(utf8(text)?)
}

/// Microseconds since the epoch of a timestamp without zone, as if UTC, or with the zone `+00`.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => return Some(INFINITY),
        b"-infinity" => return Some(MINUS_INFINITY),
        _ => {}
    }
    let text = utf8(text)?;
    let (text, bc) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (date, clock) = text.split_once(' ')?;
    let micros = match clock.find(['+', '-']) {
        Some(_) => {
            let (micros, offset) = time::parse_zoned_time(clock)?;
            micros - offset
        }
        None => time::parse_time(clock)?,
    };
    day(date, bc)?.checked_mul(DAY)?.checked_add(micros)
}

/// Microseconds since midnight UTC of a time with zone, within one day.
pub fn time_with_zone(text: &[u8]) -> Option<i64> {
    let (micros, offset) = time::parse_zoned_time(utf8(text)?)?;
    Some((micros - offset).rem_euclid(DAY))
}

/// Microseconds of an interval in PostgreSQL's own style (`1 year 2 mons -3 days +04:05:06.7`); a month counts
/// 365.25 / 12 days.
pub fn interval(text: &[u8]) -> Option<i64> {
    const MONTH: i64 = 2_629_800_000_000;
    let mut micros = 0i64;
    let mut words = utf8(text)?.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word.contains(':') {
            let (sign, clock) = match word.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, word.strip_prefix('+').unwrap_or(word)),
            };
            let (hours, rest) = clock.split_once(':')?;
            let within = time::parse_time(&format!("00:{rest}"))?;
            let total = hours.parse::<i64>().ok()?.checked_mul(3_600_000_000)?.checked_add(within)?;
            micros = micros.checked_add(sign * total)?;
            continue;
        }
        let count: i64 = word.parse().ok()?;
        let unit = match words.next()? {
            "year" | "years" => 12 * MONTH,
            "mon" | "mons" => MONTH,
            "day" | "days" => DAY,
            _ => return None,
        };
        micros = micros.checked_add(count.checked_mul(unit)?)?;
    }
    Some(micros)
}

/// Appends the bytes of `\x` hex.
pub fn bytea(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let hex = text.strip_prefix(b"\\x")?;
    if hex.len() % 2 != 0 {
        return None;
    }
    for pair in hex.chunks_exact(2) {
        let [high, low] = pair else { return None };
        out.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(())
}

fn nibble(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return None,
    })
}

/// Appends a bit string as little-endian bytes: its last bit is bit 0 of the first byte.
pub fn bits(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    for chunk in text.rchunks(8) {
        let mut byte = 0u8;
        for bit in chunk {
            byte = byte << 1
                | match bit {
                    b'0' => 0,
                    b'1' => 1,
                    _ => return None,
                };
        }
        out.push(byte);
    }
    Some(())
}

/// A `money` text (`-$1,234.50`, `($2.00)`) as a plain number.
pub fn money(text: &[u8]) -> Vec<u8> {
    let negative = text.iter().any(|byte| matches!(byte, b'-' | b'('));
    let digits = text.iter().filter(|byte| byte.is_ascii_digit() || **byte == b'.').copied();
    negative.then_some(b'-').into_iter().chain(digits).collect()
}

/// Calls `each` with the items of a one-dimensional array text, `None` for null; nested arrays are walked in order.
pub fn array(text: &[u8], delimiter: u8, mut each: impl FnMut(Option<&[u8]>) -> Option<()>) -> Option<()> {
    // bounds other than 1 come first: [2:4]={…}
    let open = text.iter().position(|byte| *byte == b'{')?;
    let mut rest = text.get(open..)?;
    let mut item = Vec::new();
    let mut depth = 0usize;
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'{' => {
                depth += 1;
                rest = after;
            }
            b'}' => {
                depth = depth.checked_sub(1)?;
                rest = after;
            }
            b'"' => {
                item.clear();
                let mut tail = after;
                loop {
                    let (byte, next) = tail.split_first()?;
                    tail = next;
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            let (escaped, next) = tail.split_first()?;
                            item.push(*escaped);
                            tail = next;
                        }
                        other => item.push(*other),
                    }
                }
                each(Some(&item))?;
                rest = tail;
            }
            byte if *byte == delimiter => rest = after,
            _ => {
                let end = rest.iter().position(|byte| *byte == delimiter || *byte == b'}')?;
                let (word, tail) = rest.split_at(end);
                each(if word.eq_ignore_ascii_case(b"NULL") { None } else { Some(word) })?;
                rest = tail;
            }
        }
    }
    (depth == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;

    use super::*;

    #[test]
    fn integers() {
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"1x"), None);
        assert_eq!(integer(b""), None);
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(b"1970-01-02"), Some(1));
        assert_eq!(date(b"0001-01-01 BC"), Some(-719_528));
        assert_eq!(date(b"infinity"), Some(i32::MAX));
        assert_eq!(timestamp(b"1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(timestamp(b"1970-01-01 02:00:00+02"), Some(0));
        assert_eq!(timestamp(b"-infinity"), Some(MINUS_INFINITY));
        assert_eq!(time_with_zone(b"01:00:00+02"), Some(23 * 3_600_000_000));
        assert_eq!(
            interval(b"1 year 2 mons -3 days +04:05:06.7"),
            Some(14 * 2_629_800_000_000 - 3 * DAY + 14_706_700_000)
        );
        assert_eq!(interval(b"-00:00:01"), Some(-1_000_000));
        assert_eq!(interval(b"100:00:00"), Some(360_000_000_000));
    }

    #[test]
    fn bytes_and_bits() {
        let mut out = Vec::new();
        bytea(b"\\x00ff10", &mut out).unwrap();
        assert_eq!(out, [0, 255, 16]);
        out.clear();
        bits(b"1000000001", &mut out).unwrap();
        assert_eq!(out, [1, 2]);
        assert_eq!(money(b"-$1,234.50"), b"-1234.50");
    }

    #[test]
    fn arrays() {
        let items = |text: &[u8]| {
            let mut items = Vec::new();
            array(text, b',', |item| {
                items.push(item.map(|i| String::from_utf8(i.to_vec()).unwrap()));
                Some(())
            })?;
            Some(items)
        };
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(items(b"{}").unwrap(), []);
        assert_eq!(items(b"{1,NULL,3}").unwrap(), [some("1"), None, some("3")]);
        assert_eq!(
            items(br#"{"a b","NULL","c\"\\d",""}"#).unwrap(),
            [some("a b"), some("NULL"), some("c\"\\d"), some("")]
        );
        assert_eq!(items(b"[0:1]={{1,2},{3,4}}").unwrap().len(), 4);
        assert_eq!(items(b"{1,2"), None);
    }

    proptest::proptest! {
        #[test]
        fn decimals_are_exact(n in proptest::prelude::any::<i128>(), zeros in 0u32..40, scale in 0usize..20) {
            let big = BigInt::from(n) * BigInt::from(10).pow(zeros);
            let mut text = big.magnitude().to_string();
            if text.len() <= scale { text.insert_str(0, &"0".repeat(scale + 1 - text.len())); }
            if scale > 0 { text.insert(text.len() - scale, '.'); }
            if n < 0 { text.insert(0, '-'); }
            let (digits, found) = decimal(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            digits.write(&mut out);
            let mut expected = Vec::new();
            ratestream_avro::codec::raw::bytes(&big.to_signed_bytes_be(), &mut expected);
            proptest::prop_assert_eq!(found as usize, scale);
            proptest::prop_assert_eq!(out, expected);
        }

        #[test]
        fn hostile_text_never_panics(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = (integer(&text), decimal(&text), date(&text), timestamp(&text), interval(&text), money(&text));
            let _ = (time_of_day(&text), time_with_zone(&text), array(&text, b',', |_| Some(())));
        }
    }
}
