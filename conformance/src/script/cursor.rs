// SPDX-License-Identifier: GPL-2.0

//! A place in a script's text.

use super::{Micros, ParseError};

/// A place in a script's text, which moves on as it is read.
pub(super) struct Cursor<'a> {
    rest: &'a str,
    line: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Cursor {
            rest: text,
            line: 1,
        }
    }

    pub(super) fn line(&self) -> u32 {
        self.line
    }

    pub(super) fn error<T>(&self, what: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError {
            line: self.line,
            what: what.into(),
        })
    }

    /// An error that names what stands here.
    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T, ParseError> {
        let here: String = self.rest.chars().take_while(|c| *c != '\n').collect();
        let here = here.trim_end();
        let here: String = here.chars().take(60).collect();
        match here.is_empty() {
            true => self.error(format!("{wanted} expected at the end of the line")),
            false => self.error(format!("{wanted} expected, not `{here}`")),
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn at(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }

    pub(super) fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count() as u32;
        self.rest = rest;
        taken
    }

    /// Skips white space and comments; `false` at the end of the text.
    pub(super) fn skip_space(&mut self) -> bool {
        loop {
            let space = self.rest.len() - self.rest.trim_start().len();
            self.advance(space);
            if self.at("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(end);
            } else if self.at("/*") {
                let end = self.rest.find("*/").map_or(self.rest.len(), |end| end + 2);
                self.advance(end);
            } else {
                return !self.rest.is_empty();
            }
        }
    }

    /// Takes `text` if it stands here, and the space behind it.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let found = self.at(text);
        if found {
            self.advance(text.len());
            self.skip_space();
        }
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        match self.take(text) {
            true => Ok(()),
            false => self.unexpected(&format!("`{text}`")),
        }
    }

    /// Takes the characters that `wanted` holds for; may be empty. Skips no space.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    /// The text up to `end`, which is taken too.
    pub(super) fn take_until(&mut self, end: &str) -> Result<&'a str, ParseError> {
        match self.rest.find(end) {
            Some(at) => {
                let text = self.advance(at);
                self.advance(end.len());
                Ok(text)
            }
            None => self.unexpected(&format!("`{end}` after")),
        }
    }

    /// A name: letters, digits, underscores.
    pub(super) fn word(&mut self) -> Result<&'a str, ParseError> {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if word.is_empty() {
            return self.unexpected("a name");
        }
        self.skip_space();
        Ok(word)
    }

    /// The word that stands here, which is not taken.
    pub(super) fn peek_word(&self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    /// A number, decimal or hexadecimal, perhaps negative.
    pub(super) fn number(&mut self) -> Result<i64, ParseError> {
        let negative = self.at("-");
        if negative {
            self.advance(1);
        }
        let value = if self.at("0x") || self.at("0X") {
            self.advance(2);
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            i64::from_str_radix(digits, 16).ok()
        } else {
            self.take_while(|c| c.is_ascii_digit()).parse().ok()
        };
        let Some(value) = value else {
            return self.unexpected("a number");
        };
        self.skip_space();
        Ok(if negative { -value } else { value })
    }

    pub(super) fn number_in(&mut self, most: i64, what: &str) -> Result<i64, ParseError> {
        let value = self.number()?;
        match (0..=most).contains(&value) {
            true => Ok(value),
            false => self.error(format!("{what} {value} is out of range")),
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(self.number_in(i64::from(u32::MAX), "number")? as u32)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        Ok(self.number_in(i64::from(u16::MAX), "number")? as u16)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        Ok(self.number_in(i64::from(u8::MAX), "number")? as u8)
    }

    /// Seconds with up to six decimals: `1`, `1.5`, `.005`.
    pub(super) fn seconds(&mut self) -> Result<Micros, ParseError> {
        let whole = self.take_while(|c| c.is_ascii_digit());
        // `0...1` is a range, not a number with decimals.
        let decimals = if self.at(".") && !self.at("..") {
            self.advance(1);
            self.take_while(|c| c.is_ascii_digit())
        } else {
            ""
        };
        if (whole.is_empty() && decimals.is_empty()) || decimals.len() > 6 {
            return self.unexpected("a time");
        }
        let micros = format!("{decimals:0<6}").parse::<Micros>();
        let seconds = if whole.is_empty() {
            Ok(0)
        } else {
            whole.parse::<Micros>()
        };
        self.skip_space();
        match (seconds, micros) {
            (Ok(seconds), Ok(micros)) if seconds < 1 << 40 => Ok(seconds * 1_000_000 + micros),
            _ => self.error("a time that is too long"),
        }
    }
}
