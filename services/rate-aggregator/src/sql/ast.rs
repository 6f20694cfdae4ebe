//! What a statement says.

use std::fmt;

use ratestream_avro::Value;

/// A name: unquoted ones are upper case, back-ticked ones as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The text that counts.
    pub text: String,
    /// It was quoted.
    pub quoted: bool,
}

impl Name {
    /// An unquoted name.
    pub fn plain(text: &str) -> Name {
        Name { text: text.to_uppercase(), quoted: false }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quoted { write!(out, "`{}`", self.text) } else { out.write_str(&self.text) }
    }
}

/// Stream or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Facts.
    Stream,
    /// The newest row by key.
    Table,
}

impl Kind {
    /// `STREAM`, `TABLE`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Stream => "STREAM",
            Kind::Table => "TABLE",
        }
    }
}

/// A column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlType {
    /// BOOLEAN
    Boolean,
    /// INTEGER
    Integer,
    /// BIGINT
    Bigint,
    /// DOUBLE
    Double,
    /// VARCHAR
    Text,
    /// Anything else, kept as it was written (DECIMAL(4, 2), TIMESTAMP, BYTES …).
    Other(String),
}

impl SqlType {
    /// From its word in a statement, upper case.
    pub fn from_word(word: &str) -> SqlType {
        match word {
            "BOOLEAN" => SqlType::Boolean,
            "INT" | "INTEGER" => SqlType::Integer,
            "BIGINT" => SqlType::Bigint,
            "DOUBLE" => SqlType::Double,
            "VARCHAR" | "STRING" => SqlType::Text,
            other => SqlType::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            SqlType::Boolean => "BOOLEAN",
            SqlType::Integer => "INTEGER",
            SqlType::Bigint => "BIGINT",
            SqlType::Double => "DOUBLE",
            SqlType::Text => "STRING",
            SqlType::Other(word) => word,
        })
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// `KEY` or `PRIMARY KEY`.
    pub key: bool,
}

/// An operator with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Concat,
}

impl Operator {
    /// As printed.
    pub fn sign(self) -> &'static str {
        match self {
            Operator::Or => "OR",
            Operator::And => "AND",
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterEqual => ">=",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
            Operator::Concat => "||",
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A column, with the source's name cut off.
    Column(Name),
    /// A constant.
    Literal(Value),
    /// `NOT e`
    Not(Box<Expr>),
    /// `-e`
    Negate(Box<Expr>),
    /// `a op b`
    Binary(Box<Expr>, Operator, Box<Expr>),
    /// `e IS [NOT] NULL`; the flag says NOT.
    IsNull(Box<Expr>, bool),
    /// `CASE WHEN c THEN v … ELSE e END`
    Case(Vec<(Expr, Expr)>, Option<Box<Expr>>),
    /// A function; `COUNT(*)` has no arguments.
    Call(String, Vec<Expr>),
}

impl Expr {
    /// Whether an aggregate is called anywhere in it.
    pub fn has_aggregate(&self) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= matches!(expr, Expr::Call(name, _) if is_aggregate(name)));
        found
    }

    /// Calls `look` with every part, outermost first.
    pub fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Expr)) {
        look(self);
        match self {
            Expr::Column(_) | Expr::Literal(_) => {}
            Expr::Not(inner) | Expr::Negate(inner) | Expr::IsNull(inner, _) => inner.visit(look),
            Expr::Binary(left, _, right) => {
                left.visit(look);
                right.visit(look);
            }
            Expr::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    condition.visit(look);
                    value.visit(look);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.visit(look);
                }
            }
            Expr::Call(_, arguments) => arguments.iter().for_each(|argument| argument.visit(look)),
        }
    }
}

/// The aggregates of this version.
pub fn is_aggregate(name: &str) -> bool {
    matches!(name, "COUNT" | "SUM" | "AVG" | "MIN" | "MAX")
}

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Column(name) => write!(out, "{name}"),
            Expr::Literal(Value::Null) => out.write_str("NULL"),
            Expr::Literal(Value::String(text)) => write!(out, "'{}'", text.replace('\'', "''")),
            Expr::Literal(value) => write!(out, "{}", value.to_json()),
            Expr::Not(inner) => write!(out, "(NOT {inner})"),
            Expr::Negate(inner) => write!(out, "-{inner}"),
            Expr::Binary(left, operator, right) => write!(out, "({left} {} {right})", operator.sign()),
            Expr::IsNull(inner, not) => write!(out, "({inner} IS {}NULL)", if *not { "NOT " } else { "" }),
            Expr::Case(branches, otherwise) => {
                out.write_str("CASE")?;
                for (condition, value) in branches {
                    write!(out, " WHEN {condition} THEN {value}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(out, " ELSE {otherwise}")?;
                }
                out.write_str(" END")
            }
            Expr::Call(name, arguments) if name == "COUNT" && arguments.is_empty() => out.write_str("COUNT(*)"),
            Expr::Call(name, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                write!(out, "{name}({})", arguments.join(", "))
            }
        }
    }
}

/// One item of a SELECT list.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// `*`
    Star,
    /// An expression with its alias.
    Expr(Expr, Option<Name>),
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// What.
    pub items: Vec<Item>,
    /// From where.
    pub from: Name,
    /// WHERE
    pub filter: Option<Expr>,
    /// GROUP BY
    pub group_by: Vec<Expr>,
    /// HAVING
    pub having: Option<Expr>,
    /// EMIT CHANGES
    pub emit_changes: bool,
    /// LIMIT
    pub limit: Option<u64>,
}

impl Select {
    /// Whether it aggregates.
    pub fn is_aggregation(&self) -> bool {
        let calls = |item: &Item| matches!(item, Item::Expr(expr, _) if expr.has_aggregate());
        !self.group_by.is_empty() || self.items.iter().any(calls)
    }
}

impl fmt::Display for Select {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| match item {
                Item::Star => "*".to_owned(),
                Item::Expr(expr, None) => expr.to_string(),
                Item::Expr(expr, Some(alias)) => format!("{expr} AS {alias}"),
            })
            .collect();
        write!(out, "SELECT {} FROM {}", items.join(", "), self.from)?;
        if let Some(filter) = &self.filter {
            write!(out, " WHERE {filter}")?;
        }
        if !self.group_by.is_empty() {
            let groups: Vec<String> = self.group_by.iter().map(ToString::to_string).collect();
            write!(out, " GROUP BY {}", groups.join(", "))?;
        }
        if let Some(having) = &self.having {
            write!(out, " HAVING {having}")?;
        }
        if self.emit_changes {
            out.write_str(" EMIT CHANGES")?;
        }
        if let Some(limit) = self.limit {
            write!(out, " LIMIT {limit}")?;
        }
        Ok(())
    }
}

/// WITH (…): upper-case keys with their texts.
pub type Properties = Vec<(String, String)>;

/// What SHOW lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Show {
    Streams,
    Tables,
    Queries,
    Topics,
    Properties,
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields repeat the grammar")]
pub enum Statement {
    CreateSource {
        kind: Kind,
        name: Name,
        columns: Vec<Column>,
        with: Properties,
        if_not_exists: bool,
    },
    CreateAs {
        kind: Kind,
        name: Name,
        with: Properties,
        select: Select,
        if_not_exists: bool,
    },
    Select(Select),
    Show(Show),
    Describe(Name),
    Drop {
        kind: Kind,
        name: Name,
        if_exists: bool,
        delete_topic: bool,
    },
    Terminate(Option<Name>),
    /// SET and UNSET: taken, without effect beyond their session.
    Set,
}

impl Statement {
    /// The statement as it should have been written.
    pub fn canonical(&self) -> String {
        match self {
            Statement::CreateSource { kind, name, columns, with, if_not_exists } => {
                let columns: Vec<String> = columns
                    .iter()
                    .map(|column| {
                        let key = match (column.key, kind) {
                            (false, _) => "",
                            (true, Kind::Stream) => " KEY",
                            (true, Kind::Table) => " PRIMARY KEY",
                        };
                        format!("{} {}{key}", column.name, column.ty)
                    })
                    .collect();
                let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
                format!("CREATE {} {}{name}{columns}{};", kind.word(), guard(*if_not_exists), properties(with))
            }
            Statement::CreateAs { kind, name, with, select, if_not_exists } => {
                format!("CREATE {} {}{name}{} AS {select};", kind.word(), guard(*if_not_exists), properties(with))
            }
            Statement::Select(select) => format!("{select};"),
            _ => String::new(),
        }
    }
}

fn guard(if_not_exists: bool) -> &'static str {
    if if_not_exists { "IF NOT EXISTS " } else { "" }
}

fn properties(with: &Properties) -> String {
    if with.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = with.iter().map(|(key, value)| format!("{key}='{}'", value.replace('\'', "''"))).collect();
    format!(" WITH ({})", pairs.join(", "))
}
