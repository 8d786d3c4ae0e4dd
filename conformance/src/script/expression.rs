// SPDX-License-Identifier: GPL-2.0

//! The arguments of system calls.

use super::cursor::Cursor;
use super::ParseError;

/// An argument, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// `...`: whatever the runner chooses.
    Ellipsis,
    /// `NULL`
    Null,
    /// A number.
    Int(i64),
    /// A name: `SOL_SOCKET`.
    Word(String),
    /// `"..."`
    Text(Vec<u8>),
    /// `A|B`
    Or(Vec<Expr>),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{a, b}`
    Tuple(Vec<Expr>),
    /// `{a=1, b(2)=3}`; what stands in brackets behind a name is left out.
    Fields(Vec<(String, Expr)>),
}

/// The arguments of a call, from behind its opening bracket to its closing one.
pub(super) fn arguments(cursor: &mut Cursor<'_>) -> Result<Vec<Expr>, ParseError> {
    items(cursor, ")")
}

fn items(cursor: &mut Cursor<'_>, end: &str) -> Result<Vec<Expr>, ParseError> {
    let mut items = Vec::new();
    if cursor.take(end) {
        return Ok(items);
    }
    loop {
        items.push(expression(cursor)?);
        if cursor.take(end) {
            return Ok(items);
        }
        if !cursor.take(",") {
            return cursor.unexpected(&format!("`,` or `{end}`"));
        }
    }
}

fn expression(cursor: &mut Cursor<'_>) -> Result<Expr, ParseError> {
    let first = primary(cursor)?;
    if !cursor.at("|") {
        return Ok(first);
    }
    let mut terms = vec![first];
    while cursor.take("|") {
        terms.push(primary(cursor)?);
    }
    Ok(Expr::Or(terms))
}

fn primary(cursor: &mut Cursor<'_>) -> Result<Expr, ParseError> {
    match cursor.peek() {
        Some('.') => {
            cursor.expect("...")?;
            Ok(Expr::Ellipsis)
        }
        Some('[') => {
            cursor.expect("[")?;
            Ok(Expr::List(items(cursor, "]")?))
        }
        Some('{') => {
            cursor.expect("{")?;
            braces(cursor)
        }
        Some('"') => text(cursor),
        Some('-' | '0'..='9') => Ok(Expr::Int(cursor.number()?)),
        Some(c) if c.is_ascii_alphabetic() || c == '_' => match cursor.word()? {
            "NULL" => Ok(Expr::Null),
            word => Ok(Expr::Word(word.to_string())),
        },
        _ => cursor.unexpected("an argument"),
    }
}

/// What stands behind `{`.
fn braces(cursor: &mut Cursor<'_>) -> Result<Expr, ParseError> {
    if !cursor.peek().is_some_and(|c| c.is_ascii_lowercase()) {
        return Ok(Expr::Tuple(items(cursor, "}")?));
    }
    let mut fields = Vec::new();
    loop {
        let name = cursor.word()?.to_string();
        if cursor.take("(") {
            arguments(cursor)?;
        }
        cursor.expect("=")?;
        fields.push((name, expression(cursor)?));
        if cursor.take("}") {
            return Ok(Expr::Fields(fields));
        }
        if !cursor.take(",") {
            return cursor.unexpected("`,` or `}`");
        }
    }
}

fn text(cursor: &mut Cursor<'_>) -> Result<Expr, ParseError> {
    cursor.advance(1);
    let inside = cursor.take_until("\"")?;
    let mut bytes = Vec::new();
    let mut rest = inside;
    while let Some(c) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix("\\x") {
            let byte = hex
                .get(..2)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            let Some(byte) = byte else {
                return cursor.error(format!("a bad escape in \"{inside}\""));
            };
            bytes.push(byte);
            rest = &hex[2..];
        } else if c == '\\' {
            return cursor.error(format!("an unknown escape in \"{inside}\""));
        } else {
            bytes.extend(c.to_string().bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    cursor.skip_space();
    Ok(Expr::Text(bytes))
}
