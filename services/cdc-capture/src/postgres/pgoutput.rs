//! Decoder of PostgreSQL's `pgoutput` plug-in, protocol version 1 (PostgreSQL documentation, "Logical Replication Message
//! Formats"). Pure: bytes in, borrowed messages out; nothing is copied and nothing is allocated per row.
#![deny(clippy::indexing_slicing)]

/// A message that ends early or says something unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pgoutput message cannot be read: {0}")]
pub struct WireError(pub String);

/// One message. `begin`, `commit` and logical messages are told apart by the replication client already.
#[derive(Debug, PartialEq)]
pub enum Message<'a> {
    /// `R`: columns of a table, sent before its first change and again when they changed.
    Relation(Relation),
    /// `I`
    Insert {
        /// Table.
        relation: u32,
        /// The row.
        new: TupleKind,
    },
    /// `U`
    Update {
        /// Table.
        relation: u32,
        /// What is known of the old row.
        old: Old,
        /// The row.
        new: TupleKind,
    },
    /// `D`
    Delete {
        /// Table.
        relation: u32,
        /// What is known of the old row.
        old: Old,
    },
    /// `T`
    Truncate {
        /// Tables.
        relations: Vec<u32>,
    },
    /// `O`: the changes that follow came from another server.
    Origin {
        /// Commit position there.
        lsn: u64,
        /// Its name.
        name: &'a str,
    },
    /// `Y`, and anything that carries no change.
    Other,
}

/// A table's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Oid.
    pub id: u32,
    /// Schema; empty means `pg_catalog`.
    pub schema: String,
    /// Table.
    pub table: String,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub identity: u8,
    /// In the order of the tuples.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Part of the replica identity.
    pub is_key: bool,
    /// Name.
    pub name: String,
    /// Type oid.
    pub type_oid: u32,
    /// Type modifier, -1 without.
    pub type_mod: i32,
}

/// Marks that a tuple was read into the scratch of its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TupleKind;

/// What is known of the old row; its cells are in [`Scratch::old`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Nothing: no column of the replica identity changed.
    None,
    /// The replica identity's columns only.
    Key,
    /// The whole row.
    Full,
}

/// A cell's place in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    tag: u8,
    start: usize,
    end: usize,
}

/// Places of the cells of the current message, reused from row to row.
#[derive(Debug, Default)]
pub struct Scratch {
    old: Vec<Place>,
    new: Vec<Place>,
}

/// One value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// SQL null.
    Null,
    /// Out-of-line value that did not change and was not sent.
    Unchanged,
    /// In the type's text form.
    Text(&'a [u8]),
    /// In the type's binary form.
    Binary(&'a [u8]),
}

/// A row as a view into its message.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    data: &'a [u8],
    places: &'a [Place],
}

impl<'a> Tuple<'a> {
    /// The cell of a column; null beyond the end.
    pub fn cell(&self, column: usize) -> Cell<'a> {
        let Some(place) = self.places.get(column) else { return Cell::Null };
        let bytes = || self.data.get(place.start..place.end).unwrap_or_default();
        match place.tag {
            b't' => Cell::Text(bytes()),
            b'b' => Cell::Binary(bytes()),
            b'u' => Cell::Unchanged,
            _ => Cell::Null,
        }
    }

    /// Cells in the message.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True without cells.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Scratch {
    /// The old row of the message last decoded from `data`.
    pub fn old<'a>(&'a self, data: &'a [u8]) -> Tuple<'a> {
        Tuple { data, places: &self.old }
    }

    /// The new row of the message last decoded from `data`.
    pub fn new_row<'a>(&'a self, data: &'a [u8]) -> Tuple<'a> {
        Tuple { data, places: &self.new }
    }

    /// Reads one line of `COPY … TO STDOUT` (text format, without its end) as the new row. Escapes are undone into
    /// `plain`, which is the data that [`Scratch::new_row`] needs.
    pub fn copy_line(&mut self, line: &[u8], plain: &mut Vec<u8>) {
        plain.clear();
        self.new.clear();
        for field in line.split(|byte| *byte == b'\t') {
            let start = plain.len();
            if field == b"\\N" {
                self.new.push(Place { tag: b'n', start, end: start });
                continue;
            }
            unescape(field, plain);
            self.new.push(Place { tag: b't', start, end: plain.len() });
        }
    }
}

/// Undoes COPY's backslash escapes.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((escaped, after)) = tail.get(1..).and_then(<[u8]>::split_first) else {
            rest = &[];
            break;
        };
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => *other,
        });
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Decodes one message; its tuples' cells go to `scratch`.
///
/// # Errors
/// [`WireError`] when the bytes end early or a tag is unknown.
pub fn decode<'a>(data: &'a [u8], scratch: &mut Scratch) -> Result<Message<'a>, WireError> {
    let mut reader = Reader { data, at: 0 };
    scratch.old.clear();
    scratch.new.clear();
    Ok(match reader.u8()? {
        b'R' => Message::Relation(relation(&mut reader)?),
        b'I' => {
            let relation = reader.u32()?;
            reader.expect(b'N')?;
            tuple(&mut reader, &mut scratch.new)?;
            Message::Insert { relation, new: TupleKind }
        }
        b'U' => {
            let relation = reader.u32()?;
            let mut tag = reader.u8()?;
            let old = match tag {
                b'K' => Old::Key,
                b'O' => Old::Full,
                _ => Old::None,
            };
            if old != Old::None {
                tuple(&mut reader, &mut scratch.old)?;
                tag = reader.u8()?;
            }
            if tag != b'N' {
                return Err(WireError(format!("tag {tag} where a new row is expected")));
            }
            tuple(&mut reader, &mut scratch.new)?;
            Message::Update { relation, old, new: TupleKind }
        }
        b'D' => {
            let relation = reader.u32()?;
            let old = match reader.u8()? {
                b'K' => Old::Key,
                b'O' => Old::Full,
                tag => return Err(WireError(format!("tag {tag} where an old row is expected"))),
            };
            tuple(&mut reader, &mut scratch.old)?;
            Message::Delete { relation, old }
        }
        b'T' => {
            let count = reader.u32()? as usize;
            reader.u8()?;
            if count > reader.left() / 4 {
                return Err(WireError(format!("{count} truncated tables in {} bytes", reader.left())));
            }
            let relations = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
            Message::Truncate { relations }
        }
        b'O' => Message::Origin { lsn: reader.u64()?, name: reader.text()? },
        b'Y' => Message::Other,
        tag => return Err(WireError(format!("unknown message {:?}", char::from(tag)))),
    })
}

fn relation(reader: &mut Reader<'_>) -> Result<Relation, WireError> {
    let id = reader.u32()?;
    let schema = reader.text()?.to_owned();
    let table = reader.text()?.to_owned();
    let identity = reader.u8()?;
    let count = usize::from(reader.u16()?);
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        columns.push(RelationColumn {
            is_key: reader.u8()? & 1 == 1,
            name: reader.text()?.to_owned(),
            type_oid: reader.u32()?,
            #[allow(clippy::cast_possible_wrap)]
            type_mod: reader.u32()? as i32,
        });
    }
    Ok(Relation { id, schema, table, identity, columns })
}

fn tuple(reader: &mut Reader<'_>, places: &mut Vec<Place>) -> Result<(), WireError> {
    let count = reader.u16()?;
    for _ in 0..count {
        let tag = reader.u8()?;
        let length = match tag {
            b'n' | b'u' => 0,
            b't' | b'b' => reader.u32()? as usize,
            _ => return Err(WireError(format!("unknown cell {:?}", char::from(tag)))),
        };
        let start = reader.at;
        reader.take(length)?;
        places.push(Place { tag, start, end: reader.at });
    }
    Ok(())
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.data.len().saturating_sub(self.at)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(length);
        match end.and_then(|end| self.data.get(self.at..end)) {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => Err(WireError(format!("{length} bytes are needed at {}, {} are left", self.at, self.left()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| WireError("short".to_owned()))
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn expect(&mut self, tag: u8) -> Result<(), WireError> {
        match self.u8()? {
            found if found == tag => Ok(()),
            found => Err(WireError(format!("tag {:?} instead of {:?}", char::from(found), char::from(tag)))),
        }
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(WireError("a name without end".to_owned()));
        };
        let bytes = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(bytes).map_err(|_| WireError("a name that is not UTF-8".to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn cell(out: &mut Vec<u8>, text: &str) {
        out.push(b't');
        out.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }

    #[test]
    fn a_relation_is_read() {
        let mut data = vec![b'R', 0, 0, 0x40, 1];
        data.extend_from_slice(b"rating\0rates\0d\0\x02");
        data.extend_from_slice(b"\x01id\0\0\0\0\x14\xff\xff\xff\xff");
        data.extend_from_slice(b"\0name\0\0\0\0\x19\0\0\0\x08");
        let Message::Relation(relation) = decode(&data, &mut Scratch::default()).unwrap() else { panic!() };
        assert_eq!((relation.id, relation.schema.as_str(), relation.table.as_str()), (0x4001, "rating", "rates"));
        assert_eq!(relation.identity, b'd');
        assert!(relation.columns[0].is_key && !relation.columns[1].is_key);
        assert_eq!((relation.columns[0].type_oid, relation.columns[0].type_mod), (20, -1));
        assert_eq!((relation.columns[1].type_oid, relation.columns[1].type_mod), (25, 8));
    }

    #[test]
    fn an_update_with_its_old_key_is_read() {
        let mut data = vec![b'U', 0, 0, 0, 9, b'K', 0, 2];
        cell(&mut data, "1");
        data.push(b'n');
        data.extend_from_slice(&[b'N', 0, 3]);
        cell(&mut data, "2");
        data.push(b'u');
        data.push(b'n');
        let mut scratch = Scratch::default();
        let message = decode(&data, &mut scratch).unwrap();
        assert_eq!(message, Message::Update { relation: 9, old: Old::Key, new: TupleKind });
        assert_eq!(scratch.old(&data).cell(0), Cell::Text(b"1"));
        let new = scratch.new_row(&data);
        assert_eq!([new.cell(0), new.cell(1), new.cell(2)], [Cell::Text(b"2"), Cell::Unchanged, Cell::Null]);
    }

    #[test]
    fn deletes_and_truncates_are_read() {
        let mut data = vec![b'D', 0, 0, 0, 9, b'O', 0, 1];
        cell(&mut data, "x");
        let mut scratch = Scratch::default();
        assert_eq!(decode(&data, &mut scratch).unwrap(), Message::Delete { relation: 9, old: Old::Full });
        let data = [b'T', 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(decode(&data, &mut scratch).unwrap(), Message::Truncate { relations: vec![1, 2] });
    }

    #[test]
    fn copy_escapes_are_undone() {
        let mut scratch = Scratch::default();
        let mut plain = Vec::new();
        scratch.copy_line(b"1\t\\N\ta\\tb\\\\c\\n\t", &mut plain);
        let row = scratch.new_row(&plain);
        assert_eq!(row.len(), 4);
        assert_eq!([row.cell(0), row.cell(1)], [Cell::Text(b"1"), Cell::Null]);
        assert_eq!([row.cell(2), row.cell(3)], [Cell::Text(b"a\tb\\c\n"), Cell::Text(b"")]);
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_never_panic(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = decode(&data, &mut Scratch::default());
        }

        #[test]
        fn hostile_changes_never_panic(tag in 0..4usize, data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let mut message = vec![[b'I', b'U', b'D', b'R'][tag], 0, 0, 0, 1];
            message.extend(data);
            let _ = decode(&message, &mut Scratch::default());
        }
    }
}
