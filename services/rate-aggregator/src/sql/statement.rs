//! Statements, with the forgiveness that a person at a keyboard needs.
//!
//! What ksqlDB refuses but can only mean one thing is accepted with a warning that shows the statement as it should be; with
//! `strict` the warning is the refusal.

use sqlparser::tokenizer::Token;

use super::ast::{Column, Item, Kind, Properties, Select, Show, SqlType, Statement};
use super::expression;
use super::tokens::{Cursor, SqlError};

/// One statement of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its text, without the semicolon.
    pub text: String,
    /// What was forgiven.
    pub warnings: Vec<String>,
}

/// Parses all statements of a text.
///
/// # Errors
/// The first place that no statement can have; with `strict` also what would only be a warning.
pub fn parse(text: &str, strict: bool) -> Result<Vec<Parsed>, SqlError> {
    let mut parser = Parser { cursor: Cursor::new(text)?, warnings: Vec::new(), strict };
    let mut all = Vec::new();
    while !parser.cursor.at_end() {
        if parser.cursor.take(&Token::SemiColon) {
            continue;
        }
        let place = parser.cursor.place();
        let statement = parser.statement()?;
        let text = parser.cursor.text_since(place).to_owned();
        if !parser.cursor.take(&Token::SemiColon) {
            if !parser.cursor.at_end() {
                return Err(parser.cursor.wanted("';'"));
            }
            parser.forgive("The statement does not end in ';'.")?;
        }
        let mut warnings = std::mem::take(&mut parser.warnings);
        let canonical = statement.canonical();
        if !warnings.is_empty() && !canonical.is_empty() {
            warnings.push(format!("Corrected statement: {canonical}"));
        }
        all.push(Parsed { statement, text, warnings });
    }
    Ok(all)
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    warnings: Vec<String>,
    strict: bool,
}

impl Parser<'_> {
    fn forgive(&mut self, what: impl Into<String>) -> Result<(), SqlError> {
        if self.strict {
            return Err(self.cursor.error(what));
        }
        self.warnings.push(what.into());
        Ok(())
    }

    fn statement(&mut self) -> Result<Statement, SqlError> {
        if self.cursor.take_words(&["CREATE"]) {
            return self.create();
        }
        if self.cursor.is_word("SELECT") {
            return Ok(Statement::Select(self.select()?));
        }
        if self.cursor.take_words(&["SHOW"]) || self.cursor.take_words(&["LIST"]) {
            return self.show();
        }
        if self.cursor.take_words(&["DESCRIBE"]) {
            let name = self.cursor.name()?;
            self.cursor.take_words(&["EXTENDED"]);
            return Ok(Statement::Describe(name));
        }
        if self.cursor.take_words(&["DROP"]) {
            return self.drop();
        }
        if self.cursor.take_words(&["TERMINATE"]) {
            let name = if self.cursor.take_words(&["ALL"]) { None } else { Some(self.cursor.name()?) };
            return Ok(Statement::Terminate(name));
        }
        if self.cursor.take_words(&["SET"]) || self.cursor.take_words(&["UNSET"]) {
            while !matches!(self.cursor.peek(), Token::SemiColon | Token::EOF) {
                self.cursor.advance();
            }
            return Ok(Statement::Set);
        }
        Err(self.cursor.wanted("CREATE, SELECT, SHOW, LIST, DESCRIBE, DROP, TERMINATE, SET or UNSET"))
    }

    fn kind(&mut self) -> Result<Kind, SqlError> {
        if self.cursor.take_words(&["STREAM"]) {
            Ok(Kind::Stream)
        } else if self.cursor.take_words(&["TABLE"]) {
            Ok(Kind::Table)
        } else {
            Err(self.cursor.wanted("STREAM or TABLE"))
        }
    }

    fn create(&mut self) -> Result<Statement, SqlError> {
        self.cursor.take_words(&["OR", "REPLACE"]);
        self.cursor.take_words(&["SOURCE"]);
        let kind = self.kind()?;
        let if_not_exists = self.cursor.take_words(&["IF", "NOT", "EXISTS"]);
        let name = self.cursor.name()?;
        let columns = if self.cursor.take(&Token::LParen) { self.columns()? } else { Vec::new() };
        let with = if self.cursor.take_words(&["WITH"]) { self.properties()? } else { Vec::new() };
        if columns.is_empty() && self.cursor.take_words(&["AS"]) {
            let select = self.select()?;
            let mut kind = kind;
            if kind == Kind::Stream && select.is_aggregation() {
                kind = Kind::Table;
                self.forgive(format!(
                    "The query counts by group, which gives a table: {name} was made with CREATE TABLE AS SELECT."
                ))?;
            }
            return Ok(Statement::CreateAs { kind, name, with, select, if_not_exists });
        }
        if self.cursor.take_words(&["EMIT", "CHANGES"]) {
            self.forgive("EMIT CHANGES belongs to a query; a statement that names a topic has none. It was left out.")?;
        }
        if !with.iter().any(|(key, _)| key == "KAFKA_TOPIC") {
            return Err(self.cursor.error(format!("WITH (KAFKA_TOPIC='…') is missing: which topic is {name}?")));
        }
        Ok(Statement::CreateSource { kind, name, columns, with, if_not_exists })
    }

    fn columns(&mut self) -> Result<Vec<Column>, SqlError> {
        let mut columns = Vec::new();
        loop {
            let name = self.cursor.name()?.text;
            let ty = self.column_type()?;
            let primary = self.cursor.take_words(&["PRIMARY"]);
            let key = self.cursor.take_words(&["KEY"]) || primary;
            columns.push(Column { name, ty, key });
            if self.cursor.take(&Token::RParen) {
                return Ok(columns);
            }
            if self.cursor.take(&Token::Comma) {
                continue;
            }
            if !matches!(self.cursor.peek(), Token::Word(_)) {
                return Err(self.cursor.wanted("',' or ')'"));
            }
            let found = self.cursor.peek().to_string();
            self.forgive(format!("A comma is missing before {found}."))?;
        }
    }

    fn column_type(&mut self) -> Result<SqlType, SqlError> {
        let word = self.cursor.name()?.text;
        let mut text = word.clone();
        let close = match self.cursor.peek() {
            Token::LParen => Token::RParen,
            Token::Lt => Token::Gt,
            _ => return Ok(SqlType::from_word(&word)),
        };
        loop {
            let token = self.cursor.advance();
            if token == Token::EOF {
                return Err(self.cursor.wanted(&format!("'{close}'")));
            }
            text.push_str(&token.to_string());
            if token == close {
                return Ok(if word == "VARCHAR" { SqlType::Text } else { SqlType::Other(text) });
            }
        }
    }

    fn properties(&mut self) -> Result<Properties, SqlError> {
        self.cursor.expect(&Token::LParen)?;
        let mut all = Vec::new();
        while !self.cursor.take(&Token::RParen) {
            if !all.is_empty() {
                self.cursor.expect(&Token::Comma)?;
            }
            let key = self.cursor.name()?.text.to_uppercase();
            self.cursor.expect(&Token::Eq)?;
            let value = match self.cursor.advance() {
                Token::SingleQuotedString(text) | Token::Number(text, _) => text,
                Token::Word(word) => word.value,
                _ => return Err(self.cursor.wanted("a value in quotes")),
            };
            all.push((key, value));
        }
        Ok(all)
    }

    fn select(&mut self) -> Result<Select, SqlError> {
        self.cursor.expect_word("SELECT")?;
        let mut items = vec![self.item()?];
        while self.cursor.take(&Token::Comma) {
            items.push(self.item()?);
        }
        self.cursor.expect_word("FROM")?;
        let from = self.cursor.name()?;
        for later in ["JOIN", "INNER", "LEFT", "WINDOW", "PARTITION"] {
            if self.cursor.is_word(later) {
                return Err(self.cursor.error(format!("{later} is not there yet in this version")));
            }
        }
        let filter = if self.cursor.take_words(&["WHERE"]) { Some(expression::parse(&mut self.cursor)?) } else { None };
        let mut group_by = Vec::new();
        if self.cursor.take_words(&["GROUP", "BY"]) {
            group_by.push(expression::parse(&mut self.cursor)?);
            while self.cursor.take(&Token::Comma) {
                group_by.push(expression::parse(&mut self.cursor)?);
            }
        }
        let having =
            if self.cursor.take_words(&["HAVING"]) { Some(expression::parse(&mut self.cursor)?) } else { None };
        let emit_changes = self.cursor.take_words(&["EMIT", "CHANGES"]);
        let limit = if self.cursor.take_words(&["LIMIT"]) { Some(self.limit()?) } else { None };
        Ok(Select { items, from, filter, group_by, having, emit_changes, limit })
    }

    fn limit(&mut self) -> Result<u64, SqlError> {
        let error = self.cursor.wanted("a whole number");
        match self.cursor.advance() {
            Token::Number(text, _) => text.parse().map_err(|_| error),
            _ => Err(error),
        }
    }

    fn item(&mut self) -> Result<Item, SqlError> {
        if self.cursor.take(&Token::Mul) {
            return Ok(Item::Star);
        }
        let expr = expression::parse(&mut self.cursor)?;
        let alias = if self.cursor.take_words(&["AS"]) { Some(self.cursor.name()?) } else { None };
        Ok(Item::Expr(expr, alias))
    }

    fn show(&mut self) -> Result<Statement, SqlError> {
        let all = [
            ("STREAMS", Show::Streams),
            ("TABLES", Show::Tables),
            ("QUERIES", Show::Queries),
            ("TOPICS", Show::Topics),
            ("PROPERTIES", Show::Properties),
        ];
        for (word, what) in all {
            if self.cursor.take_words(&[word]) {
                self.cursor.take_words(&["EXTENDED"]);
                return Ok(Statement::Show(what));
            }
        }
        Err(self.cursor.wanted("STREAMS, TABLES, QUERIES, TOPICS or PROPERTIES"))
    }

    fn drop(&mut self) -> Result<Statement, SqlError> {
        let kind = self.kind()?;
        let if_exists = self.cursor.take_words(&["IF", "EXISTS"]);
        let name = self.cursor.name()?;
        let delete_topic = self.cursor.take_words(&["DELETE", "TOPIC"]);
        Ok(Statement::Drop { kind, name, if_exists, delete_topic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Parsed {
        let mut all = parse(text, false).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    const FIRST: &str = "CREATE STREAM RATES_STREAM\n(id BIGINT,\ncustomer_name VARCHAR,\nCountry_name VARCHAR\nrate INT)\nWITH (KAFKA_TOPIC='RATES',\nVALUE_FORMAT='AVRO')\nEMIT CHANGES;";
    const SECOND: &str = "CREATE STREAM RATES_COUNT AS\nSELECT COUNT(*), Country_name FROM RATES_STREAM\nGROUP BY Country_name\nEMIT CHANGES;";

    #[test]
    fn the_first_statement_as_printed_is_understood_and_corrected() {
        let parsed = one(FIRST);
        let Statement::CreateSource { columns, with, .. } = &parsed.statement else { panic!("{parsed:?}") };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["ID", "CUSTOMER_NAME", "COUNTRY_NAME", "RATE"]);
        assert_eq!(with[0], ("KAFKA_TOPIC".into(), "RATES".into()));
        assert_eq!(parsed.warnings.len(), 3, "{:?}", parsed.warnings);
        assert!(parsed.warnings[0].contains("comma is missing before rate"));
        let corrected = parsed.warnings[2].strip_prefix("Corrected statement: ").unwrap();
        assert!(one(corrected).warnings.is_empty(), "{corrected}");
        let refused = parse(FIRST, true).unwrap_err();
        assert_eq!((refused.line, refused.column), (5, 1));
    }

    #[test]
    fn counting_into_a_stream_makes_a_table() {
        let parsed = one(SECOND);
        let Statement::CreateAs { kind, select, .. } = &parsed.statement else { panic!("{parsed:?}") };
        assert_eq!((*kind, select.emit_changes, select.group_by.len()), (Kind::Table, true, 1));
        assert!(
            parsed.warnings[1].contains("CREATE TABLE RATES_COUNT AS SELECT COUNT(*), COUNTRY_NAME FROM RATES_STREAM")
        );
        assert!(parse(SECOND, true).is_err());
    }

    #[test]
    fn a_back_ticked_topic_keeps_its_case() {
        let parsed = one(
            "CREATE STREAM RATES WITH (KAFKA_TOPIC='RATES', VALUE_FORMAT='AVRO') AS SELECT id, rate FROM `ratingserver.rating.rates`;",
        );
        let Statement::CreateAs { select, .. } = parsed.statement else { panic!() };
        assert_eq!(select.from.text, "ratingserver.rating.rates");
        assert!(parsed.warnings.is_empty());
    }

    #[test]
    fn several_statements_and_their_texts() {
        let all =
            parse("SHOW STREAMS; SELECT * FROM R EMIT CHANGES LIMIT 3;\nDROP TABLE IF EXISTS x DELETE TOPIC", false)
                .unwrap();
        let texts: Vec<&str> = all.iter().map(|parsed| parsed.text.as_str()).collect();
        assert_eq!(
            texts,
            ["SHOW STREAMS", "SELECT * FROM R EMIT CHANGES LIMIT 3", "DROP TABLE IF EXISTS x DELETE TOPIC"]
        );
        assert_eq!(all[2].warnings, ["The statement does not end in ';'."]);
    }

    #[test]
    fn precedence_and_printing_agree() {
        let Statement::Select(select) =
            one("SELECT a + b * 2 AS x FROM t WHERE NOT a = 1 AND b IS NOT NULL OR c <> 'it''s';").statement
        else {
            panic!()
        };
        assert_eq!(
            select.to_string(),
            "SELECT (A + (B * 2)) AS X FROM T WHERE (((NOT (A = 1)) AND (B IS NOT NULL)) OR (C <> 'it''s'))"
        );
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = parse("CREATE STREAM s (a INT) WITH (VALUE_FORMAT='AVRO');", false).unwrap_err();
        assert!(error.message.contains("KAFKA_TOPIC"), "{error}");
        let error = parse("SELECT *\nFORM t;", false).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "expected FROM, found 'FORM'"));
        assert!(parse("nonsense", false).unwrap_err().message.contains("CREATE"));
    }
}
