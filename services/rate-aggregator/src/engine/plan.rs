//! A SELECT as something that can run.

use ratestream_avro::{Kind as AvroKind, Type, Value};

use super::accumulate::Function;
use super::evaluate::FUNCTIONS;
use crate::sql::ast::{Expr, Item, Name, Operator, Select, SqlType, is_aggregate};

/// One aggregate call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub function: Function,
    /// Of what; none for `COUNT(*)`.
    pub argument: Option<Expr>,
}

/// A column that is written.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its value: over the source's row, or over groups and sums (see [`Aggregation::row`]).
    pub expr: Expr,
    /// Its type as far as the statement tells.
    pub ty: SqlType,
}

/// A query that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregation {
    /// WHERE
    pub filter: Option<Expr>,
    /// GROUP BY
    pub groups: Vec<Expr>,
    /// Names of the key columns.
    pub key: Vec<OutputColumn>,
    /// The aggregate calls anywhere in the query.
    pub calls: Vec<Call>,
    /// Value columns.
    pub columns: Vec<OutputColumn>,
    /// HAVING
    pub having: Option<Expr>,
}

/// A query row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// WHERE
    pub filter: Option<Expr>,
    /// Columns; none = all.
    pub columns: Option<Vec<OutputColumn>>,
}

/// How a query runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Row by row.
    Project(Projection),
    /// By group.
    Aggregate(Box<Aggregation>),
}

/// Types of the source's columns, as far as they are known.
pub type Types<'a> = &'a dyn Fn(&Name) -> Option<SqlType>;

/// Plans a SELECT.
///
/// # Errors
/// A sentence about what the query cannot mean.
pub fn plan(select: &Select, types: Types<'_>) -> Result<Plan, String> {
    check_functions(select)?;
    if select.is_aggregation() {
        return aggregation(select, types).map(|plan| Plan::Aggregate(Box::new(plan)));
    }
    if select.having.is_some() {
        return Err("HAVING needs GROUP BY".to_owned());
    }
    if select.items == [Item::Star] {
        return Ok(Plan::Project(Projection { filter: select.filter.clone(), columns: None }));
    }
    let mut columns = Vec::new();
    for item in &select.items {
        let Item::Expr(expr, alias) = item else { return Err("* stands alone in a SELECT".to_owned()) };
        let name = alias.as_ref().map_or_else(|| default_name(expr, columns.len()), |alias| alias.text.clone());
        columns.push(OutputColumn { name, ty: infer(expr, types), expr: expr.clone() });
    }
    unique(columns.iter().map(|column| column.name.as_str()))?;
    Ok(Plan::Project(Projection { filter: select.filter.clone(), columns: Some(columns) }))
}

fn check_functions(select: &Select) -> Result<(), String> {
    let mut problem = None;
    let mut look = |expr: &Expr| {
        if let Expr::Call(name, arguments) = expr {
            if !is_aggregate(name) && !FUNCTIONS.contains(&name.as_str()) {
                problem = Some(format!("function {name} is not known; scalar functions are {}", FUNCTIONS.join(", ")));
            } else if is_aggregate(name) && (arguments.len() > 1 || (arguments.is_empty() && name != "COUNT")) {
                problem = Some(format!("{name} takes one argument"));
            }
        }
    };
    let items = select.items.iter().filter_map(|item| match item {
        Item::Expr(expr, _) => Some(expr),
        Item::Star => None,
    });
    items.chain(&select.filter).chain(&select.group_by).chain(&select.having).for_each(|expr| expr.visit(&mut look));
    problem.map_or(Ok(()), Err)
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            return Err(format!("two columns are called {name}; give one of them another name with AS"));
        }
        seen.push(name);
    }
    Ok(())
}

fn default_name(expr: &Expr, number: usize) -> String {
    match expr {
        Expr::Column(name) => name.text.clone(),
        _ => format!("KSQL_COL_{number}"),
    }
}

fn aggregation(select: &Select, types: Types<'_>) -> Result<Aggregation, String> {
    if select.group_by.iter().any(Expr::has_aggregate) || select.filter.as_ref().is_some_and(Expr::has_aggregate) {
        return Err("aggregates cannot stand in WHERE or GROUP BY; use HAVING".to_owned());
    }
    let mut calls = Vec::new();
    let mut key: Vec<Option<OutputColumn>> = vec![None; select.group_by.len()];
    let mut columns = Vec::new();
    for item in &select.items {
        let Item::Expr(expr, alias) = item else { return Err("SELECT * cannot be combined with GROUP BY".to_owned()) };
        let group = select.group_by.iter().position(|group| group == expr);
        if let Some(slot) = group.and_then(|position| key.get_mut(position)).filter(|slot| slot.is_none()) {
            let name = alias.as_ref().map_or_else(|| default_name(expr, columns.len()), |alias| alias.text.clone());
            *slot = Some(OutputColumn { name, ty: infer(expr, types), expr: expr.clone() });
            continue;
        }
        // Unnamed columns are numbered among themselves.
        let unnamed = columns.iter().filter(|column: &&OutputColumn| column.name.starts_with("KSQL_COL_")).count();
        let name = alias.as_ref().map_or_else(|| default_name(expr, unnamed), |alias| alias.text.clone());
        let ty = infer(expr, types);
        columns.push(OutputColumn { name, ty, expr: rewrite(expr, &select.group_by, &mut calls)? });
    }
    let having = select.having.as_ref().map(|expr| rewrite(expr, &select.group_by, &mut calls)).transpose()?;
    if columns.is_empty() {
        return Err("a GROUP BY query needs a column beside its key, for example COUNT(*)".to_owned());
    }
    let name_of = |(position, slot): (usize, Option<OutputColumn>)| {
        slot.or_else(|| {
            let expr = select.group_by.get(position)?;
            let name = default_name(expr, position);
            Some(OutputColumn { name, ty: infer(expr, types), expr: expr.clone() })
        })
    };
    let key: Vec<OutputColumn> = key.into_iter().enumerate().filter_map(name_of).collect();
    unique(key.iter().chain(&columns).map(|column| column.name.as_str()))?;
    Ok(Aggregation { filter: select.filter.clone(), groups: select.group_by.clone(), key, calls, columns, having })
}

/// Replaces aggregate calls and grouped expressions by the columns under which a result row has them.
fn rewrite(expr: &Expr, groups: &[Expr], calls: &mut Vec<Call>) -> Result<Expr, String> {
    if let Some(position) = groups.iter().position(|group| group == expr) {
        return Ok(Expr::Column(group_column(position)));
    }
    let mut inner = |expr: &Expr| rewrite(expr, groups, calls).map(Box::new);
    Ok(match expr {
        Expr::Call(name, arguments) => match Function::from_name(name) {
            Some(function) => {
                let call = Call { function, argument: arguments.first().cloned() };
                let position = calls.iter().position(|known| *known == call).unwrap_or_else(|| {
                    calls.push(call);
                    calls.len() - 1
                });
                Expr::Column(sum_column(position))
            }
            None => {
                let arguments: Result<Vec<Expr>, String> =
                    arguments.iter().map(|argument| rewrite(argument, groups, calls)).collect();
                Expr::Call(name.clone(), arguments?)
            }
        },
        Expr::Column(name) => {
            return Err(format!("column {name} is neither in GROUP BY nor inside of an aggregate"));
        }
        Expr::Literal(_) => expr.clone(),
        Expr::Not(part) => Expr::Not(inner(part)?),
        Expr::Negate(part) => Expr::Negate(inner(part)?),
        Expr::IsNull(part, not) => Expr::IsNull(inner(part)?, *not),
        Expr::Binary(left, operator, right) => Expr::Binary(inner(left)?, *operator, inner(right)?),
        Expr::Case(branches, otherwise) => {
            let mut rewritten = Vec::new();
            for (condition, value) in branches {
                rewritten.push((rewrite(condition, groups, calls)?, rewrite(value, groups, calls)?));
            }
            let otherwise = match otherwise {
                Some(value) => Some(Box::new(rewrite(value, groups, calls)?)),
                None => None,
            };
            Expr::Case(rewritten, otherwise)
        }
    })
}

fn group_column(position: usize) -> Name {
    Name { text: format!("\u{1}group{position}"), quoted: true }
}

fn sum_column(position: usize) -> Name {
    Name { text: format!("\u{1}sum{position}"), quoted: true }
}

impl Aggregation {
    /// The row that value columns and HAVING are evaluated over.
    pub fn row(&self, group: &[Value], sums: impl Iterator<Item = Value>) -> Vec<(String, Value)> {
        let groups = group.iter().enumerate().map(|(position, value)| (group_column(position).text, value.clone()));
        groups.chain(sums.enumerate().map(|(position, value)| (sum_column(position).text, value))).collect()
    }
}

/// The type of an expression, as far as declared columns tell; unknown columns are taken for text where a type is needed.
pub fn infer(expr: &Expr, types: Types<'_>) -> SqlType {
    match expr {
        Expr::Column(name) => types(name).unwrap_or(SqlType::Other("UNKNOWN".into())),
        Expr::Literal(Value::Boolean(_)) | Expr::Not(_) | Expr::IsNull(..) => SqlType::Boolean,
        Expr::Literal(Value::Long(_) | Value::Int(_)) => SqlType::Bigint,
        Expr::Literal(Value::Double(_)) => SqlType::Double,
        Expr::Literal(_) => SqlType::Text,
        Expr::Negate(inner) => infer(inner, types),
        Expr::Binary(_, Operator::Concat, _) => SqlType::Text,
        Expr::Binary(
            left,
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo,
            right,
        ) => match (infer(left, types), infer(right, types)) {
            (SqlType::Integer | SqlType::Bigint, SqlType::Integer | SqlType::Bigint) => SqlType::Bigint,
            _ => SqlType::Double,
        },
        Expr::Binary(..) => SqlType::Boolean,
        Expr::Case(branches, _) => branches.first().map_or(SqlType::Text, |(_, value)| infer(value, types)),
        Expr::Call(name, arguments) => infer_call(name, arguments, types),
    }
}

fn infer_call(name: &str, arguments: &[Expr], types: Types<'_>) -> SqlType {
    let first = || arguments.first().map_or(SqlType::Text, |argument| infer(argument, types));
    match name {
        "COUNT" => SqlType::Bigint,
        "LEN" => SqlType::Integer,
        "AVG" => SqlType::Double,
        "SUM" => match first() {
            SqlType::Integer | SqlType::Bigint => SqlType::Bigint,
            _ => SqlType::Double,
        },
        "CAST" => match arguments.get(1) {
            Some(Expr::Literal(value)) => SqlType::from_word(value.as_str().unwrap_or("STRING")),
            _ => SqlType::Text,
        },
        "ROUND" if arguments.len() == 1 => SqlType::Bigint,
        "ABS" | "FLOOR" | "CEIL" | "ROUND" | "MIN" | "MAX" | "COALESCE" | "IFNULL" | "NULLIF" | "GREATEST"
        | "LEAST" | "AS_VALUE" => match first() {
            SqlType::Integer if !matches!(name, "MIN" | "MAX" | "AS_VALUE") => SqlType::Bigint,
            other => other,
        },
        _ => SqlType::Text,
    }
}

/// The Avro type in which a column is written, nullable.
pub fn avro_type(ty: &SqlType) -> Type {
    match ty {
        SqlType::Boolean => Type::boolean(),
        SqlType::Integer => Type::int(),
        SqlType::Bigint => Type::long(),
        SqlType::Double => Type::double(),
        SqlType::Text | SqlType::Other(_) => Type::string(),
    }
    .optional()
}

/// A value in the form that [`avro_type`] takes.
pub fn fit(value: Value, ty: &SqlType) -> Value {
    use super::evaluate::{number, text};
    if value.is_null() {
        return value;
    }
    match ty {
        SqlType::Boolean => value.as_bool().map_or(Value::Null, Value::Boolean),
        SqlType::Integer => value.as_i64().and_then(|whole| i32::try_from(whole).ok()).map_or(Value::Null, Value::Int),
        SqlType::Bigint => {
            value.as_i64().or_else(|| number(&value).map(|float| float as i64)).map_or(Value::Null, Value::Long)
        }
        SqlType::Double => number(&value).map_or(Value::Null, Value::Double),
        SqlType::Text | SqlType::Other(_) => Value::String(text(&value).into()),
    }
}

/// The SQL type of an Avro type.
pub fn sql_type(ty: &Type) -> SqlType {
    match ty.non_null() {
        Type::Primitive(primitive) => match primitive.kind() {
            AvroKind::Boolean => SqlType::Boolean,
            AvroKind::Int => SqlType::Integer,
            AvroKind::Long => SqlType::Bigint,
            AvroKind::Float | AvroKind::Double => SqlType::Double,
            AvroKind::String => SqlType::Text,
            AvroKind::Bytes => SqlType::Other("BYTES".into()),
            AvroKind::Null => SqlType::Text,
        },
        Type::Enum(_) => SqlType::Text,
        other => SqlType::Other(other.describe().to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Statement, parse};

    fn planned(text: &str) -> Result<Plan, String> {
        let parsed = parse(text, false).unwrap().remove(0);
        let Statement::Select(select) = parsed.statement else { panic!() };
        plan(&select, &|name| (name.text == "RATE").then_some(SqlType::Integer))
    }

    #[test]
    fn the_articles_count_has_ksqls_column_name_and_the_country_as_key() {
        let Plan::Aggregate(plan) = planned("SELECT COUNT(*), Country_name FROM r GROUP BY Country_name;").unwrap()
        else {
            panic!()
        };
        assert_eq!((plan.key[0].name.as_str(), plan.columns[0].name.as_str()), ("COUNTRY_NAME", "KSQL_COL_0"));
        assert_eq!(plan.columns[0].ty, SqlType::Bigint);
    }

    #[test]
    fn calls_are_shared_and_results_computed_over_them() {
        let text = "SELECT c, SUM(rate) AS s, SUM(rate) / COUNT(*) AS a FROM r GROUP BY c HAVING COUNT(*) > 1;";
        let Plan::Aggregate(plan) = planned(text).unwrap() else { panic!() };
        assert_eq!(plan.calls.len(), 2);
        let row = plan.row(&["x".into()], [Value::Long(9), Value::Long(3)].into_iter());
        assert_eq!(super::super::evaluate::evaluate(&plan.columns[1].expr, row.as_slice()), Value::Long(3));
    }

    #[test]
    fn nonsense_is_named() {
        assert!(planned("SELECT a, COUNT(*) FROM r GROUP BY b;").unwrap_err().contains("column A"));
        assert!(planned("SELECT FOO(a) FROM r;").unwrap_err().contains("FOO"));
        assert!(planned("SELECT a, b AS a FROM r;").unwrap_err().contains("called A"));
    }
}
