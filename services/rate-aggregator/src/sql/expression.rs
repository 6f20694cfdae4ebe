//! Expressions, by precedence climbing.

use ratestream_avro::Value;
use sqlparser::tokenizer::Token;

use super::ast::{Expr, Name, Operator};
use super::tokens::{Cursor, SqlError};

/// Deepest nesting of expressions.
const DEPTH_MAX: usize = 100;

/// Parses an expression.
///
/// # Errors
/// With the place where it stops being one.
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Expr, SqlError> {
    climb(cursor, 0, 0)
}

fn operator(token: &Token) -> Option<(Operator, u8)> {
    Some(match token {
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("OR") => (Operator::Or, 1),
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("AND") => (Operator::And, 2),
        Token::Eq => (Operator::Equal, 4),
        Token::Neq => (Operator::NotEqual, 4),
        Token::Lt => (Operator::Less, 4),
        Token::LtEq => (Operator::LessEqual, 4),
        Token::Gt => (Operator::Greater, 4),
        Token::GtEq => (Operator::GreaterEqual, 4),
        Token::StringConcat => (Operator::Concat, 5),
        Token::Plus => (Operator::Add, 5),
        Token::Minus => (Operator::Subtract, 5),
        Token::Mul => (Operator::Multiply, 6),
        Token::Div => (Operator::Divide, 6),
        Token::Mod => (Operator::Modulo, 6),
        _ => return None,
    })
}

fn climb(cursor: &mut Cursor<'_>, least: u8, depth: usize) -> Result<Expr, SqlError> {
    if depth > DEPTH_MAX {
        return Err(cursor.error("the expression nests too deeply"));
    }
    let mut left = prefix(cursor, depth)?;
    loop {
        if least <= 3 && cursor.is_word("IS") {
            cursor.advance();
            let not = cursor.take_words(&["NOT"]);
            cursor.expect_word("NULL")?;
            left = Expr::IsNull(Box::new(left), not);
            continue;
        }
        let Some((found, strength)) = operator(cursor.peek()).filter(|(_, strength)| *strength > least) else {
            return Ok(left);
        };
        cursor.advance();
        let right = climb(cursor, strength, depth + 1)?;
        left = Expr::Binary(Box::new(left), found, Box::new(right));
    }
}

fn prefix(cursor: &mut Cursor<'_>, depth: usize) -> Result<Expr, SqlError> {
    match cursor.peek().clone() {
        Token::LParen => {
            cursor.advance();
            let inner = climb(cursor, 0, depth + 1)?;
            cursor.expect(&Token::RParen)?;
            Ok(inner)
        }
        Token::Minus => {
            cursor.advance();
            Ok(Expr::Negate(Box::new(climb(cursor, 6, depth + 1)?)))
        }
        Token::Number(text, _) => {
            let value = match text.parse::<i64>() {
                Ok(whole) => Value::Long(whole),
                Err(_) => Value::Double(text.parse().map_err(|_| cursor.error("this number is too large"))?),
            };
            cursor.advance();
            Ok(Expr::Literal(value))
        }
        Token::SingleQuotedString(text) => {
            cursor.advance();
            Ok(Expr::Literal(Value::String(text.into())))
        }
        Token::Word(word) if word.quote_style.is_none() => word_prefix(cursor, &word.value.to_uppercase(), depth),
        Token::Word(_) | Token::DoubleQuotedString(_) => column(cursor),
        _ => Err(cursor.wanted("an expression")),
    }
}

fn word_prefix(cursor: &mut Cursor<'_>, word: &str, depth: usize) -> Result<Expr, SqlError> {
    match word {
        "NOT" => {
            cursor.advance();
            Ok(Expr::Not(Box::new(climb(cursor, 2, depth + 1)?)))
        }
        "NULL" | "TRUE" | "FALSE" => {
            cursor.advance();
            Ok(Expr::Literal(if word == "NULL" { Value::Null } else { Value::Boolean(word == "TRUE") }))
        }
        "CASE" => case(cursor, depth),
        "FROM" | "WHERE" | "GROUP" | "EMIT" | "AS" => Err(cursor.wanted("an expression")),
        _ if *cursor.peek_second() == Token::LParen => call(cursor, word, depth),
        _ => column(cursor),
    }
}

fn case(cursor: &mut Cursor<'_>, depth: usize) -> Result<Expr, SqlError> {
    cursor.advance();
    let mut branches = Vec::new();
    while cursor.take_words(&["WHEN"]) {
        let condition = climb(cursor, 0, depth + 1)?;
        cursor.expect_word("THEN")?;
        branches.push((condition, climb(cursor, 0, depth + 1)?));
    }
    if branches.is_empty() {
        return Err(cursor.wanted("WHEN"));
    }
    let otherwise = if cursor.take_words(&["ELSE"]) { Some(Box::new(climb(cursor, 0, depth + 1)?)) } else { None };
    cursor.expect_word("END")?;
    Ok(Expr::Case(branches, otherwise))
}

fn call(cursor: &mut Cursor<'_>, name: &str, depth: usize) -> Result<Expr, SqlError> {
    cursor.advance();
    cursor.advance();
    let mut arguments = Vec::new();
    if name == "COUNT" && cursor.take(&Token::Mul) {
        cursor.expect(&Token::RParen)?;
        return Ok(Expr::Call(name.to_owned(), arguments));
    }
    if name == "CAST" {
        let value = climb(cursor, 0, depth + 1)?;
        cursor.expect_word("AS")?;
        let ty = cursor.name()?;
        cursor.expect(&Token::RParen)?;
        return Ok(Expr::Call(name.to_owned(), vec![value, Expr::Literal(Value::String(ty.text.into()))]));
    }
    while !cursor.take(&Token::RParen) {
        if !arguments.is_empty() {
            cursor.expect(&Token::Comma)?;
        }
        arguments.push(climb(cursor, 0, depth + 1)?);
    }
    Ok(Expr::Call(name.to_owned(), arguments))
}

/// A column, perhaps behind its source's name.
fn column(cursor: &mut Cursor<'_>) -> Result<Expr, SqlError> {
    let mut name: Name = cursor.name()?;
    if cursor.take(&Token::Period) {
        name = cursor.name()?;
    }
    Ok(Expr::Column(name))
}
