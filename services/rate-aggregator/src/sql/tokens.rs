//! A cursor over the tokens of a text, with places for messages.

use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::ast::Name;

/// Longest text taken.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// A text that is not a statement: place and sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}:{column}: {message}")]
pub struct SqlError {
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What is wrong and what was expected.
    pub message: String,
}

/// The tokens without white space, and where we are.
pub struct Cursor<'t> {
    text: &'t str,
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl<'t> Cursor<'t> {
    /// Cuts a text into tokens.
    ///
    /// # Errors
    /// For a text that is too long or ends inside of a string.
    pub fn new(text: &'t str) -> Result<Cursor<'t>, SqlError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
            return Err(SqlError { line: 1, column: 1, message });
        }
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|error| SqlError {
            line: error.location.line,
            column: error.location.column,
            message: error.message,
        })?;
        let tokens = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        Ok(Cursor { text, tokens, at: 0 })
    }

    /// The present token.
    pub fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::EOF, |token| &token.token)
    }

    /// The token after the present one.
    pub fn peek_second(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::EOF, |token| &token.token)
    }

    /// Takes the present token.
    pub fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// Takes a token if it is this one.
    pub fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        self.at += usize::from(found);
        found
    }

    /// Whether the present token is this word, unquoted, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    /// Takes words if all of them follow in this order.
    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let here = self.tokens.get(self.at..).unwrap_or_default();
        let found =
            here.len() >= words.len() && words.iter().zip(here).all(|(word, token)| is_word(&token.token, word));
        self.at += if found { words.len() } else { 0 };
        found
    }

    /// Takes a token or says what was expected.
    ///
    /// # Errors
    /// With place and found token.
    pub fn expect(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.take(token) { Ok(()) } else { Err(self.wanted(&format!("'{token}'"))) }
    }

    /// Takes a word or says that it was expected.
    ///
    /// # Errors
    /// With place and found token.
    pub fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take_words(&[word]) { Ok(()) } else { Err(self.wanted(word)) }
    }

    /// Takes a name.
    ///
    /// # Errors
    /// With place and found token.
    pub fn name(&mut self) -> Result<Name, SqlError> {
        let name = match self.peek() {
            Token::Word(word) if word.quote_style.is_some() => Name { text: word.value.clone(), quoted: true },
            Token::Word(word) => Name::plain(&word.value),
            Token::DoubleQuotedString(text) => Name { text: text.clone(), quoted: true },
            _ => return Err(self.wanted("a name")),
        };
        self.at += 1;
        Ok(name)
    }

    /// The error that something else was expected here.
    pub fn wanted(&self, what: &str) -> SqlError {
        let found = match self.peek() {
            Token::EOF => "the end of the text".to_owned(),
            token => format!("'{token}'"),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    /// An error at the present token.
    pub fn error(&self, message: impl Into<String>) -> SqlError {
        let here = self.tokens.get(self.at).or(self.tokens.last()).map(|token| token.span.start);
        let (line, column) = here.map_or((1, 1), |start| (start.line, start.column));
        SqlError { line, column, message: message.into() }
    }

    /// The place of the present token.
    pub fn place(&self) -> usize {
        self.at
    }

    /// The text between a place and the present token.
    pub fn text_since(&self, place: usize) -> &'t str {
        let offset = |index: usize, end: bool| -> Option<usize> {
            let span = self.tokens.get(index)?.span;
            let at = if end { span.end } else { span.start };
            let line_start = if at.line <= 1 {
                0
            } else {
                self.text.match_indices('\n').nth(usize::try_from(at.line).ok()? - 2)?.0 + 1
            };
            let line = self.text.get(line_start..)?;
            let column = usize::try_from(at.column).ok()?.saturating_sub(1);
            Some(line_start + line.char_indices().nth(column).map_or(line.len(), |(index, _)| index))
        };
        let from = offset(place, false).unwrap_or(0);
        let to = self.at.checked_sub(1).and_then(|last| offset(last, true)).unwrap_or(self.text.len());
        self.text.get(from..to).unwrap_or(self.text).trim()
    }
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}
