//! One table's rows as Confluent's connector writes them: a flat record named after the table, Connect's logical types.

use std::sync::Arc;

use ratestream_avro::{AvroError, Field, Schema, Type, codec};
use ratestream_connect::transforms::Datum;

use crate::postgres::pgoutput::{Cell, RelationColumn, Tuple};
use crate::postgres::table::{TableInfo, avro_name};
use crate::postgres::types::{Kind, Modes, TimeMode, TypeInfo};

struct Column {
    tuple: usize,
    name: String,
    kind: Kind,
    nullable: bool,
}

/// Layout and schema of a table's rows.
pub struct RowPlan {
    /// Schema of the row.
    pub schema: Arc<Schema>,
    columns: Vec<Column>,
}

/// The kind as Connect knows it: no Debezium names, milliseconds.
fn plain(kind: Kind, best_fit: bool) -> Option<Kind> {
    Some(match kind {
        Kind::Text(_) | Kind::Enum(_) => Kind::Text(None),
        Kind::ZonedTimestamp(_) => Kind::ConnectTimestamp,
        Kind::ZonedTime => Kind::ConnectTime,
        Kind::Decimal { precision: Some(precision), scale, money: false } if best_fit => match (precision, scale) {
            (..10, ..=0) => Kind::Int32,
            (..19, ..=0) => Kind::Int64,
            (_, ..=0) => Kind::Decimal { precision: Some(precision), scale, money: false },
            _ => Kind::DecimalDouble,
        },
        // without a scale there is no fixed one to write: the exact text, or a double when numbers are wanted
        Kind::VariableDecimal if best_fit => Kind::DecimalDouble,
        Kind::VariableDecimal => Kind::DecimalText,
        Kind::Interval | Kind::Bits(_) | Kind::Point => return None,
        Kind::Array(item) => Kind::Array(Box::new(plain(*item, best_fit)?)),
        other => other,
    })
}

impl RowPlan {
    /// Compiles a table.
    ///
    /// # Errors
    /// When its columns make no Avro schema.
    pub fn compile(
        table: &str,
        relation: &[RelationColumn],
        info: &TableInfo,
        best_fit: bool,
        lookup: &dyn Fn(u32) -> Option<TypeInfo>,
    ) -> Result<Self, AvroError> {
        let modes = Modes { time: TimeMode::Connect, ..Modes::default() };
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (tuple, column) in relation.iter().enumerate() {
            let kind = Kind::of(column.type_oid, column.type_mod, modes, lookup).and_then(|kind| plain(kind, best_fit));
            let Some(kind) = kind else {
                tracing::warn!(table, column = column.name, "the column's type has no form in Connect; it is left out");
                continue;
            };
            let nullable = info.columns.iter().find(|c| c.name == column.name).is_none_or(|c| c.nullable);
            let (name, ty) = (avro_name(&column.name), kind.avro(None));
            fields.push(if nullable { Field::optional(&name, ty) } else { Field::new(&name, ty) });
            columns.push(Column { tuple, name: column.name.clone(), kind, nullable });
        }
        let name = avro_name(table);
        let schema = Schema::new(Type::record(&name).fields(fields).with("connect.name", name.as_str()).build())?;
        Ok(Self { schema, columns })
    }

    /// Appends the Avro form of a row.
    ///
    /// # Errors
    /// Name of the column whose value cannot be written.
    pub fn encode(&self, row: Tuple<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        for column in &self.columns {
            let start = out.len();
            let Cell::Text(text) = row.cell(column.tuple) else {
                out.push(0);
                continue;
            };
            if column.nullable {
                out.push(2);
            }
            if column.kind.encode(text, out).is_err() {
                if !column.nullable {
                    return Err(column.name.clone());
                }
                out.truncate(start);
                out.push(0);
            }
        }
        Ok(())
    }

    /// A row as a value, for transformations.
    ///
    /// # Errors
    /// A sentence.
    pub fn value(&self, row: Tuple<'_>) -> Result<Datum, String> {
        let mut bytes = Vec::new();
        self.encode(row, &mut bytes).map_err(|column| format!("the value of {column} has no Avro form"))?;
        let value = codec::decode(&self.schema, &bytes).map_err(|error| error.to_string())?;
        Ok((Arc::clone(&self.schema), value))
    }
}

#[cfg(test)]
mod tests {
    use ratestream_avro::Value;

    use super::*;
    use crate::postgres::pgoutput::Scratch;
    use crate::postgres::table::ColumnInfo;

    #[test]
    fn a_row_is_flat_and_named_after_its_table() {
        let column = |name: &str, type_oid| RelationColumn { is_key: false, name: name.into(), type_oid, type_mod: -1 };
        let relation = [column("id", 20), column("event", 25), column("created_on", 1114), column("span", 1186)];
        let info =
            TableInfo { columns: vec![ColumnInfo { name: "id".into(), ..ColumnInfo::default() }], key: Vec::new() };
        let plan = RowPlan::compile("customer_events", &relation, &info, false, &|_| None).unwrap();
        assert_eq!(
            plan.schema.canonical(),
            concat!(
                r#"{"type":"record","name":"customer_events","fields":[{"name":"id","type":"long"},"#,
                r#"{"name":"event","type":["null","string"],"default":null},"#,
                r#"{"name":"created_on","type":["null",{"type":"long","connect.version":1,"#,
                r#""connect.name":"org.apache.kafka.connect.data.Timestamp","logicalType":"timestamp-millis"}],"default":null}],"#,
                r#""connect.name":"customer_events"}"#
            )
        );
        let (mut scratch, mut bytes) = (Scratch::default(), Vec::new());
        scratch.copy_line(b"5\t\\N\t1970-01-01 00:00:01.002\t1 day", &mut bytes);
        let (_, value) = plan.value(scratch.new_row(&bytes)).unwrap();
        let row = value.as_record().unwrap();
        assert_eq!(row.get("id"), Some(&Value::Long(5)));
        assert_eq!(row.get("event"), Some(&Value::Null));
        assert_eq!(row.get("created_on"), Some(&Value::Timestamp(1_002_000)));
    }
}
