//! The stored position in Debezium's format, and what it means together with the slot. Pure.

use ratestream_connect::TaskError;
use serde_json::{Value as Json, json};

use super::error::config;
use super::settings::SnapshotMode;

/// What is stored in `connect-offsets`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offset {
    /// End of the last transaction that is completely in Kafka.
    pub lsn: u64,
    /// A snapshot was begun and not finished.
    pub in_snapshot: bool,
    /// That snapshot has published rows already, so its slot existed.
    pub published: bool,
    /// The cluster's system identifier, when we wrote it.
    pub system: Option<String>,
}

impl Offset {
    /// Reads ours and Debezium's.
    pub fn parse(json: &Json) -> Option<Self> {
        let number = |key: &str| json.get(key).and_then(Json::as_u64);
        let snapshot = match json.get("snapshot") {
            None | Some(Json::Null | Json::Bool(false)) => false,
            Some(Json::String(word)) => word != "false",
            Some(_) => true,
        };
        let completed = json.get("snapshot_completed").and_then(Json::as_bool).unwrap_or(false)
            || json.get("last_snapshot_record").and_then(Json::as_bool).unwrap_or(false);
        let lsn = number("lsn_commit").or_else(|| number("lsn_proc")).or_else(|| number("lsn"))?;
        let system = json.get("system_identifier").and_then(Json::as_str).map(str::to_owned);
        let published = json.get("rows_published").and_then(Json::as_bool).unwrap_or(false);
        Some(Self { lsn, in_snapshot: snapshot && !completed, published, system })
    }

    /// A finished transaction.
    pub fn streaming(lsn: u64, xid: u32, commit_micros: i64, system: &str) -> Json {
        json!({
            "lsn_proc": lsn, "lsn_commit": lsn, "lsn": lsn, "txId": xid, "ts_usec": commit_micros,
            "messageType": "COMMIT", "system_identifier": system,
        })
    }

    /// A snapshot under way, or its end.
    pub fn snapshot(lsn: u64, micros: i64, stage: Stage, system: &str) -> Json {
        let completed = stage == Stage::Completed;
        json!({
            "snapshot": "INITIAL", "snapshot_completed": completed, "last_snapshot_record": completed,
            "lsn": lsn, "txId": 0, "ts_usec": micros, "rows_published": stage != Stage::Announced,
            "system_identifier": system,
        })
    }
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its slot is about to be made.
    Announced,
    /// Rows are in Kafka.
    Publishing,
    /// All rows are.
    Completed,
}

/// The slot as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotState {
    /// Output plug-in.
    pub plugin: String,
    /// Database.
    pub database: String,
    /// Process that holds it.
    pub active_pid: Option<i32>,
    /// Confirmed position.
    pub confirmed: u64,
    /// Where its WAL begins: before every change that it can still bring.
    pub restart: u64,
    /// Its WAL is gone.
    pub lost: bool,
    /// Application name of the holder.
    pub holder: Option<String>,
    /// Bytes of WAL that it holds.
    pub retained: i64,
}

/// The slot of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Has to be made.
    Create,
    /// Is ours, but of no use any more: drop it and make another.
    Recreate,
    /// Stays. Rows that an earlier snapshot published may be gone or changed since; the stream that begins before them
    /// brings every such change, so that no reader keeps a row that nobody will ever delete.
    Keep {
        /// Position given to the rows: before every change that the stream will bring.
        floor: u64,
        /// Where the stream begins.
        from: u64,
    },
}

/// How a task begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Read all rows, then stream.
    Snapshot(Slot),
    /// Make the slot and stream.
    Fresh,
    /// Go on.
    Resume {
        /// End of the last transaction in Kafka.
        lsn: u64,
    },
}

/// Decides from what is stored and what the server has; a gap is an error, never silence.
///
/// # Errors
/// With code, cause and repair.
pub fn decide(
    mode: SnapshotMode,
    slot_name: &str,
    connector: &str,
    offset: Option<&Offset>,
    slot: Option<&SlotState>,
    (system, database): (&str, &str),
) -> Result<Start, TaskError> {
    let foreign = slot.filter(|slot| slot.plugin != "pgoutput" || slot.database != database);
    if let Some(slot) = foreign {
        return Err(config(
            "PGS010",
            format!(
                "The replication slot {slot_name} belongs to the plug-in {} in the database {}.",
                slot.plugin, slot.database
            ),
            "Choose another slot.name.",
        ));
    }
    let again = format!(
        "To read all rows again: PUT /connectors/{connector}/stop, DELETE /connectors/{connector}/offsets, \
         in PostgreSQL SELECT pg_drop_replication_slot('{slot_name}'); then PUT /connectors/{connector}/resume. \
         Or set snapshot.mode=when_needed."
    );
    let Some(offset) = offset else { return first_start(mode, slot_name, slot.is_some()) };
    if let Some(stored) = offset.system.as_deref().filter(|stored| *stored != system) {
        return Err(config(
            "PGS012",
            format!("The stored position belongs to the PostgreSQL cluster {stored}, but this one is {system}."),
            again,
        ));
    }
    // rows that are published and deleted since would stay for ever without the slot that knows of it
    let orphaned = offset.published && slot.is_none_or(|slot| slot.lost) && mode != SnapshotMode::WhenNeeded;
    if offset.in_snapshot && !orphaned {
        return Ok(Start::Snapshot(match slot {
            None => Slot::Create,
            Some(slot) if slot.lost => Slot::Recreate,
            Some(slot) => Slot::Keep { floor: offset.lsn, from: slot.confirmed },
        }));
    }
    if mode == SnapshotMode::InitialOnly {
        return Ok(Start::Resume { lsn: offset.lsn });
    }
    let gap = gap(slot_name, offset, slot);
    match gap {
        None if mode == SnapshotMode::Always => {
            let floor = slot.map_or(0, |slot| slot.restart);
            Ok(Start::Snapshot(Slot::Keep { floor, from: offset.lsn }))
        }
        None => Ok(Start::Resume { lsn: offset.lsn }),
        Some(_) if mode == SnapshotMode::WhenNeeded => {
            Ok(Start::Snapshot(if slot.is_some() { Slot::Recreate } else { Slot::Create }))
        }
        Some((code, cause)) => Err(config(code, cause, again)),
    }
}

/// A start without a stored position.
fn first_start(mode: SnapshotMode, slot_name: &str, slot_exists: bool) -> Result<Start, TaskError> {
    match (slot_exists, mode) {
        (true, _) => Err(config(
            "PGS011",
            format!(
                "The replication slot {slot_name} exists already, but this connector has no stored position: it may be another reader's."
            ),
            format!("Choose another slot.name, or if nobody needs it: SELECT pg_drop_replication_slot('{slot_name}');"),
        )),
        (false, SnapshotMode::NoData) => Ok(Start::Fresh),
        (false, _) => Ok(Start::Snapshot(Slot::Create)),
    }
}

/// What the stored position and the slot leave out between them: code and cause.
fn gap(slot_name: &str, offset: &Offset, slot: Option<&SlotState>) -> Option<(&'static str, String)> {
    match slot {
        None => Some((
            "PGS013",
            format!(
                "The replication slot {slot_name} is gone, and with it every change since {}.",
                lsn_text(offset.lsn)
            ),
        )),
        Some(slot) if slot.lost => Some((
            "PGS014",
            format!(
                "PostgreSQL removed the WAL of the replication slot {slot_name} (max_slot_wal_keep_size), and with it changes since {}.",
                lsn_text(offset.lsn)
            ),
        )),
        Some(slot) if slot.confirmed > offset.lsn => Some((
            "PGS015",
            format!(
                "The replication slot {slot_name} stands at {}, beyond the stored position {}: it was recreated or moved by somebody else, and the changes between are lost.",
                lsn_text(slot.confirmed),
                lsn_text(offset.lsn)
            ),
        )),
        Some(_) => None,
    }
}

/// `16/B374D848`
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// The number of `16/B374D848`.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(confirmed: u64) -> SlotState {
        SlotState { plugin: "pgoutput".into(), database: "db".into(), confirmed, ..SlotState::default() }
    }

    fn decided(offset: Option<Json>, slot: Option<SlotState>) -> Result<Start, String> {
        let offset = offset.map(|json| Offset::parse(&json).unwrap());
        decide(SnapshotMode::Initial, "s", "c", offset.as_ref(), slot.as_ref(), ("77", "db")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_gap_is_never_passed_over_in_silence() {
        let stored = || Some(Offset::streaming(100, 1, 2, "77"));
        assert_eq!(decided(stored(), Some(slot(100))), Ok(Start::Resume { lsn: 100 }));
        assert_eq!(decided(stored(), Some(slot(50))), Ok(Start::Resume { lsn: 100 }));
        assert!(decided(stored(), Some(slot(101))).unwrap_err().starts_with("PGS015"));
        assert!(decided(stored(), None).unwrap_err().starts_with("PGS013"));
        assert!(decided(stored(), Some(SlotState { lost: true, ..slot(1) })).unwrap_err().starts_with("PGS014"));
        let other = Some(Offset::streaming(100, 1, 2, "88"));
        assert!(decided(other, Some(slot(100))).unwrap_err().starts_with("PGS012"));
    }

    #[test]
    fn snapshots_begin_and_begin_again() {
        assert_eq!(decided(None, None), Ok(Start::Snapshot(Slot::Create)));
        assert!(decided(None, Some(slot(5))).unwrap_err().starts_with("PGS011"));
        let under_way = Some(Offset::snapshot(5, 1, Stage::Publishing, "77"));
        assert_eq!(decided(under_way.clone(), Some(slot(6))), Ok(Start::Snapshot(Slot::Keep { floor: 5, from: 6 })));
        assert!(decided(under_way, None).unwrap_err().starts_with("PGS013"));
        let announced = Some(Offset::snapshot(5, 1, Stage::Announced, "77"));
        assert_eq!(decided(announced, None), Ok(Start::Snapshot(Slot::Create)));
        let done = Some(Offset::snapshot(5, 1, Stage::Completed, "77"));
        assert_eq!(decided(done, Some(slot(5))), Ok(Start::Resume { lsn: 5 }));
    }

    #[test]
    fn debeziums_offsets_are_read() {
        let theirs = json!({"lsn_proc": 24023128, "messageType": "INSERT", "lsn_commit": 24022000, "lsn": 24023128, "txId": 7, "ts_usec": 1});
        assert_eq!(Offset::parse(&theirs), Some(Offset { lsn: 24_022_000, ..Offset::default() }));
        assert_eq!(parse_lsn("16/B374D848").map(lsn_text).as_deref(), Some("16/B374D848"));
    }
}
