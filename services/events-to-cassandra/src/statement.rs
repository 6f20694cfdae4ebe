//! CQL texts: the one place that quotes names. Pure.

use crate::mapping::Mapping;

/// A name as an identifier, whatever is in it.
pub(crate) fn name(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// `keyspace.table`.
pub(crate) fn table(mapping: &Mapping) -> String {
    format!("{}.{}", name(&mapping.keyspace), name(&mapping.table))
}

/// An insert of all columns, then the write timestamp.
pub(crate) fn insert(mapping: &Mapping) -> String {
    let columns: Vec<String> = mapping.columns.iter().map(|column| name(column)).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let ttl = mapping.ttl.map_or_else(String::new, |ttl| format!(" AND TTL {ttl}"));
    format!("INSERT INTO {} ({}) VALUES ({marks}) USING TIMESTAMP ?{ttl}", table(mapping), columns.join(", "))
}

/// A delete by primary key, with the write timestamp first.
pub(crate) fn delete(mapping: &Mapping, primary_key: &[String]) -> String {
    let conditions: Vec<String> = primary_key.iter().map(|column| format!("{} = ?", name(column))).collect();
    format!("DELETE FROM {} USING TIMESTAMP ? WHERE {}", table(mapping), conditions.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mappings;
    use ratestream_connect::ConnectorConfig;

    #[test]
    fn names_are_quoted_and_statements_carry_the_timestamp() {
        let given = [
            ("topic.t.ks.Tbl.mapping".to_owned(), "id=key, x\"y=value.z".to_owned()),
            ("topic.t.ks.Tbl.ttl".to_owned(), "60".to_owned()),
        ];
        let mappings = Mappings::new(&ConnectorConfig::new(given.into(), &[])).unwrap();
        let mapping = &mappings.0[0];
        assert_eq!(
            insert(mapping),
            "INSERT INTO ks.\"Tbl\" (id, \"x\"\"y\") VALUES (?, ?) USING TIMESTAMP ? AND TTL 60"
        );
        assert_eq!(delete(mapping, &["id".into()]), "DELETE FROM ks.\"Tbl\" USING TIMESTAMP ? WHERE id = ?");
    }
}
