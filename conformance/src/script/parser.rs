// SPDX-License-Identifier: GPL-2.0

//! A script's text, read.

use super::cursor::Cursor;
use super::symbols::Defines;
use super::{code, expression, packet};
use super::{Action, Call, Command, Event, ParseError, Script, ScriptOption, When};

/// Reads a script.
///
/// # Errors
///
/// The first construct that is not known, and its line.
pub fn parse(text: &str, defines: &Defines) -> Result<Script, ParseError> {
    let mut cursor = Cursor::new(text);
    let mut script = Script {
        options: Vec::new(),
        init: None,
        events: Vec::new(),
        cleanup: None,
    };
    while cursor.skip_space() && cursor.at("--") {
        script.options.push(option(&mut cursor)?);
    }
    while cursor.skip_space() {
        if cursor.at("`") {
            let line = cursor.line();
            let command = Command {
                line,
                text: command(&mut cursor)?,
            };
            if script.events.is_empty() && script.init.is_none() {
                script.init = Some(command);
            } else if script.cleanup.is_none() && !script.events.is_empty() {
                script.cleanup = Some(command);
            } else {
                return cursor.error("a command without a time");
            }
            continue;
        }
        if script.cleanup.is_some() {
            return cursor.unexpected("the end of the script after the last commands");
        }
        script.events.push(event(&mut cursor, defines)?);
    }
    if script.events.is_empty() {
        return cursor.error("a script without events");
    }
    Ok(script)
}

fn option(cursor: &mut Cursor<'_>) -> Result<ScriptOption, ParseError> {
    let line = cursor.line();
    cursor.advance(2);
    let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
    let value = match cursor.at("=") {
        true => {
            cursor.advance(1);
            let value = cursor.take_while(|c| !c.is_whitespace());
            Some(value.to_string())
        }
        false => None,
    };
    Ok(ScriptOption {
        line,
        name: name.to_string(),
        value,
    })
}

fn command(cursor: &mut Cursor<'_>) -> Result<String, ParseError> {
    cursor.advance(1);
    let text = cursor.take_until("`")?.to_string();
    cursor.skip_space();
    Ok(text)
}

fn event(cursor: &mut Cursor<'_>, defines: &Defines) -> Result<Event, ParseError> {
    let line = cursor.line();
    let (when, end) = time(cursor)?;
    let action = if cursor.take("<") {
        Action::Inbound(packet::packet(cursor, defines, false)?)
    } else if cursor.take(">") {
        Action::Outbound(packet::packet(cursor, defines, true)?)
    } else if cursor.at("`") {
        Action::Command(command(cursor)?)
    } else if cursor.at("%{") {
        cursor.advance(2);
        let begin = cursor.line();
        let text = cursor.take_until("}%")?;
        Action::Code(code::assertions(text, begin)?)
    } else {
        Action::Call(call(cursor, end)?)
    };
    if end.is_some() && !matches!(action, Action::Call(_)) {
        return cursor.error("`...` is for system calls");
    }
    if matches!(
        when,
        When::AbsoluteRange(..) | When::RelativeRange(..) | When::Any
    ) && !matches!(action, Action::Outbound(_))
    {
        return cursor.error("a range of times, or `*`, is for outbound packets");
    }
    Ok(Event { line, when, action })
}

/// When an event happens, and when the call that blocks ends.
fn time(cursor: &mut Cursor<'_>) -> Result<(When, Option<i64>), ParseError> {
    if cursor.take("*") {
        return Ok((When::Any, None));
    }
    let relative = cursor.take("+");
    let start = cursor.seconds()?;
    if cursor.take("...") {
        let end = cursor.seconds()?;
        let when = match relative {
            true => When::Relative(start),
            false => When::Absolute(start),
        };
        return Ok((when, Some(end)));
    }
    if cursor.take("~") {
        if relative != cursor.take("+") {
            return cursor.error("both ends of a range are relative, or none");
        }
        let end = cursor.seconds()?;
        let when = match relative {
            true => When::RelativeRange(start, end),
            false => When::AbsoluteRange(start, end),
        };
        return Ok((when, None));
    }
    Ok(match relative {
        true => (When::Relative(start), None),
        false => (When::Absolute(start), None),
    })
}

fn call(cursor: &mut Cursor<'_>, end: Option<i64>) -> Result<Call, ParseError> {
    let name = cursor.word()?.to_string();
    cursor.expect("(")?;
    let args = expression::arguments(cursor)?;
    cursor.expect("=")?;
    let result = match cursor.take("?") {
        true => None,
        false => Some(cursor.number()?),
    };
    let mut errno = None;
    if cursor.at("E") {
        errno = Some(cursor.word()?.to_string());
    }
    if cursor.at("(") {
        cursor.advance(1);
        cursor.take_until(")")?;
        cursor.skip_space();
    }
    Ok(Call {
        name,
        args,
        end,
        result,
        errno,
    })
}
