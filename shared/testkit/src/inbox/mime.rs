//! Reads what the tests and the page need of a message: headers (RFC 5322, encoded words of RFC 2047), and the first plain
//! and HTML parts (RFC 2045/2046, base64 and quoted-printable). Unknown character sets are read as UTF-8 with replacements.

/// Nested multiparts beyond this depth are left unread.
const MAX_DEPTH: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) headers: Vec<(String, String)>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

impl Parsed {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

pub(super) fn parse(raw: &[u8]) -> Parsed {
    let text = String::from_utf8_lossy(raw).replace("\r\n", "\n");
    let (head, body) = split(&text);
    let mut parsed = Parsed { headers: headers(head), ..Parsed::default() };
    let own = parsed.headers.clone();
    collect(&mut parsed, &own, body, 0);
    parsed
}

fn split(text: &str) -> (&str, &str) {
    if let Some(body) = text.strip_prefix('\n') {
        return ("", body);
    }
    text.split_once("\n\n").unwrap_or((text, ""))
}

fn headers(head: &str) -> Vec<(String, String)> {
    let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
    let pairs = unfolded.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_lowercase(), decode_words(value.trim()))).collect()
}

fn collect(parsed: &mut Parsed, headers: &[(String, String)], body: &str, depth: u32) {
    let kind = find(headers, "content-type").unwrap_or("text/plain");
    let lower = kind.to_lowercase();
    if lower.starts_with("multipart/") {
        let Some(boundary) = parameter(kind, "boundary").filter(|_| depth < MAX_DEPTH) else { return };
        let mark = format!("\n--{boundary}");
        let whole = format!("\n{body}");
        for piece in whole.split(mark.as_str()).skip(1) {
            if piece.starts_with("--") {
                break;
            }
            let (head, inner) = split(piece.strip_prefix('\n').unwrap_or(piece));
            collect(parsed, &self::headers(head), inner, depth + 1);
        }
        return;
    }
    let bytes = match find(headers, "content-transfer-encoding").unwrap_or("7bit").to_lowercase().as_str() {
        "base64" => base64(body),
        "quoted-printable" => quoted_printable(body, false),
        _ => body.as_bytes().to_vec(),
    };
    let decoded = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    if lower.starts_with("text/plain") {
        parsed.text.get_or_insert(decoded);
    } else if lower.starts_with("text/html") {
        parsed.html.get_or_insert(decoded);
    }
}

fn parameter(value: &str, name: &str) -> Option<String> {
    let found = value.split(';').skip(1).find_map(|part| {
        let (key, content) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(content)
    })?;
    Some(found.trim().trim_matches('"').to_owned())
}

/// `=?utf-8?b?…?=` and `=?utf-8?q?…?=`; blanks between two such words belong to neither (RFC 2047, 6.2).
fn decode_words(value: &str) -> String {
    let mut plain = String::new();
    let mut pending: Vec<u8> = Vec::new(); // neighbours may split a letter between them
    let mut rest = value;
    while let Some(start) = rest.find("=?") {
        let Some((bytes, length)) = word(&rest[start..]) else { break };
        let between = &rest[..start];
        if pending.is_empty() || !between.trim().is_empty() {
            plain.push_str(&String::from_utf8_lossy(&std::mem::take(&mut pending)));
            plain.push_str(between);
        }
        pending.extend(bytes);
        rest = &rest[start + length..];
    }
    plain.push_str(&String::from_utf8_lossy(&pending));
    plain.push_str(rest);
    plain
}

/// Decodes the encoded word at the start of `text`; also its length.
fn word(text: &str) -> Option<(Vec<u8>, usize)> {
    let mut parts = text.get(2..)?.splitn(4, '?');
    let (set, encoding, content) = (parts.next()?, parts.next()?, parts.next()?);
    if !parts.next()?.starts_with('=') {
        return None;
    }
    let bytes = match encoding {
        "b" | "B" => base64(content),
        "q" | "Q" => quoted_printable(content, true),
        _ => return None,
    };
    let bytes = if set.eq_ignore_ascii_case("iso-8859-1") {
        bytes.iter().map(|b| char::from(*b)).collect::<String>().into_bytes()
    } else {
        bytes
    };
    Some((bytes, 2 + set.len() + 1 + encoding.len() + 1 + content.len() + 2))
}

fn quoted_printable(text: &str, in_header: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (byte, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'=', Some(value)) => {
                out.push(value);
                at += 3;
                continue;
            }
            (b'=', None) if bytes.get(at + 1) == Some(&b'\n') => at += 1, // a soft line break
            (b'_', _) if in_header => out.push(b' '),
            _ => out.push(*byte),
        }
        at += 1;
    }
    out
}

fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0_u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xFF).unwrap_or_default());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_in_both_encodings_and_split_letters() {
        assert_eq!(decode_words("=?utf-8?b?U2Now7ZuZQ==?= Gr=?utf-8?q?=C3=BC=C3=9Fe_an?="), "Schöne Grüße an");
        assert_eq!(decode_words("=?utf-8?q?=C3?= =?utf-8?q?=BC?="), "ü");
        assert_eq!(decode_words("a =? b"), "a =? b");
        assert_eq!(decode_words("=?iso-8859-1?q?=E9t=E9?="), "été");
    }

    #[test]
    fn both_parts_of_an_alternative() {
        let raw = "Subject: Low rating:\r\n 1\r\nContent-Type: multipart/alternative; boundary=\"xy\"\r\n\r\n--xy\r\n\
                   Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                   gr=C3=BC=\r\nn\r\n--xy\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+aGk8L2I+\r\n--xy--\r\n";
        let parsed = parse(raw.as_bytes());
        assert_eq!(parsed.header("subject"), Some("Low rating: 1"));
        assert_eq!(parsed.text.as_deref(), Some("grün"));
        assert_eq!(parsed.html.as_deref(), Some("<b>hi</b>"));
    }

    #[test]
    fn a_body_without_headers_is_text() {
        assert_eq!(parse(b"\r\nhello").text.as_deref(), Some("hello"));
        assert_eq!(parse(b"").headers.len(), 0);
    }
}
