// SPDX-License-Identifier: GPL-2.0

//! The Python of scripts: assertions on integers.

use super::ParseError;

/// `assert condition, message`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Where it stands.
    pub line: u32,
    /// What must hold.
    pub condition: Term,
    /// The condition as it is written.
    pub text: String,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// A number.
    Int(i64),
    /// A variable.
    Name(String),
    /// `not a`
    Not(Box<Term>),
    /// `-a`
    Negative(Box<Term>),
    /// `a + b` and the like.
    Binary(Operator, Box<Term>, Box<Term>),
    /// `a < b <= c`
    Compare(Box<Term>, Vec<(Comparison, Term)>),
    /// `a and b`
    And(Box<Term>, Box<Term>),
    /// `a or b`
    Or(Box<Term>, Box<Term>),
}

/// An operator between numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `//`, rounded down.
    Divide,
    /// `%`, with the divisor's sign.
    Modulo,
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
    /// `<<`
    Left,
    /// `>>`
    Right,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// A variable that the implementation does not tell.
    Unknown(String),
    /// Division by zero, or a number that is too large.
    Arithmetic,
}

impl Term {
    /// The value; truth is 1.
    ///
    /// # Errors
    ///
    /// See [`EvalError`].
    pub fn value(&self, names: &dyn Fn(&str) -> Option<i64>) -> Result<i64, EvalError> {
        Ok(match self {
            Term::Int(value) => *value,
            Term::Name(name) => names(name).ok_or_else(|| EvalError::Unknown(name.clone()))?,
            Term::Not(term) => i64::from(term.value(names)? == 0),
            Term::Negative(term) => -term.value(names)?,
            Term::Binary(operator, a, b) => {
                let (a, b) = (a.value(names)?, b.value(names)?);
                operator.apply(a, b).ok_or(EvalError::Arithmetic)?
            }
            Term::Compare(first, rest) => {
                let mut left = first.value(names)?;
                for (comparison, term) in rest {
                    let right = term.value(names)?;
                    if !comparison.holds(left, right) {
                        return Ok(0);
                    }
                    left = right;
                }
                1
            }
            Term::And(a, b) => match a.value(names)? {
                0 => 0,
                _ => b.value(names)?,
            },
            Term::Or(a, b) => match a.value(names)? {
                0 => b.value(names)?,
                value => value,
            },
        })
    }

    /// The variables that occur.
    pub fn names<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Term::Int(_) => {}
            Term::Name(name) => found.push(name),
            Term::Not(term) | Term::Negative(term) => term.names(found),
            Term::Binary(_, a, b) | Term::And(a, b) | Term::Or(a, b) => {
                a.names(found);
                b.names(found);
            }
            Term::Compare(first, rest) => {
                first.names(found);
                for (_, term) in rest {
                    term.names(found);
                }
            }
        }
    }
}

impl Operator {
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            // Python rounds towards minus infinity.
            Operator::Divide => {
                let quotient = a.checked_div(b)?;
                Some(quotient - i64::from(a % b != 0 && (a < 0) != (b < 0)))
            }
            Operator::Modulo => {
                let rest = a.checked_rem(b)?;
                Some(if rest != 0 && (rest < 0) != (b < 0) {
                    rest + b
                } else {
                    rest
                })
            }
            Operator::And => Some(a & b),
            Operator::Or => Some(a | b),
            Operator::Xor => Some(a ^ b),
            Operator::Left => a.checked_shl(u32::try_from(b).ok()?),
            Operator::Right => a.checked_shr(u32::try_from(b).ok()?),
        }
    }
}

impl Comparison {
    fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Comparison::Equal => a == b,
            Comparison::NotEqual => a != b,
            Comparison::Less => a < b,
            Comparison::LessOrEqual => a <= b,
            Comparison::Greater => a > b,
            Comparison::GreaterOrEqual => a >= b,
        }
    }
}

/// The assertions of a piece of code that begins in `line`.
pub(super) fn assertions(text: &str, line: u32) -> Result<Vec<Assertion>, ParseError> {
    let mut found = Vec::new();
    for (at, statement) in statements(text) {
        let line = line + at;
        let fail = |what: String| ParseError { line, what };
        let tokens = tokens(&statement).map_err(fail)?;
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
        };
        if parser.take_word("assert").is_none() {
            return Err(fail(format!("`{statement}` is no assertion")));
        }
        let begin = parser.at;
        let condition = parser.or().map_err(fail)?;
        let text = tokens[begin..parser.at].join(" ");
        // What follows a comma is the message, which has no part in the verdict.
        if parser.at < tokens.len() && parser.take(",").is_none() {
            let rest = tokens[parser.at..].join(" ");
            return Err(fail(format!("`{rest}` in `{statement}`")));
        }
        found.push(Assertion {
            line,
            condition,
            text,
        });
    }
    match found.is_empty() {
        true => Err(ParseError {
            line,
            what: "code without an assertion".into(),
        }),
        false => Ok(found),
    }
}

/// Statements, each with how many lines it stands below the first.
fn statements(text: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut statement = String::new();
    let mut begin = 0;
    let mut joined = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        let (line, joins) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        if !joined {
            begin = at as u32;
        }
        statement.push_str(line);
        statement.push(' ');
        joined = joins;
        if !joins {
            add_parts(&mut found, begin, &std::mem::take(&mut statement));
        }
    }
    add_parts(&mut found, begin, &statement);
    found
}

fn add_parts(found: &mut Vec<(u32, String)>, line: u32, statement: &str) {
    for part in statement.split(';') {
        if !part.trim().is_empty() {
            found.push((line, part.trim().to_string()));
        }
    }
}

fn tokens(text: &str) -> Result<Vec<&str>, String> {
    const OPERATORS: [&str; 24] = [
        "==", "!=", "<=", ">=", "<<", ">>", "//", "<", ">", "+", "-", "*", "%", "&", "|", "^", "(",
        ")", ",", "'", "\"", "[", "]", ".",
    ];
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let len = if c.is_ascii_alphanumeric() || c == '_' {
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len())
        } else if c == '\'' || c == '"' {
            match rest[1..].find(c) {
                Some(end) => end + 2,
                None => return Err(format!("a text without an end in `{text}`")),
            }
        } else {
            match OPERATORS.iter().find(|o| rest.starts_with(**o)) {
                Some(operator) => operator.len(),
                None => return Err(format!("`{c}` in `{text}`")),
            }
        };
        found.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    Ok(found)
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).copied().unwrap_or("")
    }

    fn take(&mut self, token: &str) -> Option<()> {
        (self.peek() == token).then(|| self.at += 1)
    }

    fn take_word(&mut self, word: &str) -> Option<()> {
        self.take(word)
    }

    fn or(&mut self) -> Result<Term, String> {
        let mut left = self.and()?;
        while self.take_word("or").is_some() {
            left = Term::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Term, String> {
        let mut left = self.not()?;
        while self.take_word("and").is_some() {
            left = Term::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Term, String> {
        match self.take_word("not") {
            Some(()) => Ok(Term::Not(Box::new(self.not()?))),
            None => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<Term, String> {
        let first = self.binary(0)?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                "==" => Comparison::Equal,
                "!=" => Comparison::NotEqual,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                _ => break,
            };
            self.at += 1;
            rest.push((comparison, self.binary(0)?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Term::Compare(Box::new(first), rest),
        })
    }

    /// Python's precedence, from the weakest: `|`, `^`, `&`, shifts, sums, products.
    fn binary(&mut self, level: usize) -> Result<Term, String> {
        const LEVELS: [&[(&str, Operator)]; 6] = [
            &[("|", Operator::Or)],
            &[("^", Operator::Xor)],
            &[("&", Operator::And)],
            &[("<<", Operator::Left), (">>", Operator::Right)],
            &[("+", Operator::Add), ("-", Operator::Subtract)],
            &[
                ("*", Operator::Multiply),
                ("//", Operator::Divide),
                ("%", Operator::Modulo),
            ],
        ];
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some((_, operator)) = operators.iter().find(|(o, _)| *o == self.peek()) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = Term::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Term, String> {
        if self.take("-").is_some() {
            return Ok(Term::Negative(Box::new(self.unary()?)));
        }
        if self.take("(").is_some() {
            let term = self.or()?;
            return match self.take(")") {
                Some(()) => Ok(term),
                None => Err("`)` is missing".into()),
            };
        }
        let token = self.peek().to_string();
        self.at += 1;
        let digits = token.strip_prefix("0x").map(|hex| (hex, 16));
        let (digits, radix) = digits.unwrap_or((&token, 10));
        match token.chars().next() {
            Some('0'..='9') => i64::from_str_radix(digits, radix)
                .map(Term::Int)
                .map_err(|_| format!("`{token}` is no number")),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => match self.peek() {
                "(" | "[" | "." => Err(format!("`{token}{}`", self.peek())),
                _ => Ok(Term::Name(token)),
            },
            _ => Err(format!("`{token}` in an expression")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<i64, String> {
        let code = format!("assert {text}");
        let found = assertions(&code, 1).map_err(|error| error.what)?;
        let names = |name: &str| match name {
            "a" => Some(7),
            "b" => Some(-7),
            _ => None,
        };
        found[0]
            .condition
            .value(&names)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn value__table() {
        let table = [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("1460 - 12", 1448),
            ("b // 2", -4),
            ("b % 3", 2),
            ("a & 3 == 3", 1),
            ("(a & 8) != 0", 0),
            ("1 < a < 10", 1),
            ("1 < a < 7", 0),
            ("not a == 7 or b == -7", 1),
            ("a == 7 and 0x10", 16),
            ("1 << 4 | 1", 17),
            ("a <= 7 and a >= 7", 1),
        ];
        for (text, expected) in table {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn value__what_is_unknown_is_named() {
        assert_eq!(value("c == 1"), Err(r#"Unknown("c")"#.into()));
        assert_eq!(value("a // 0"), Err("Arithmetic".into()));
        assert_eq!(value("len(a)"), Err("`len(`".into()));
        assert_eq!(value("a @ 1"), Err("`@` in `assert a @ 1`".into()));
        assert_eq!(value("a 1"), Err("`1` in `assert a 1`".into()));
        assert_eq!(value("(a"), Err("`)` is missing".into()));
    }

    #[test]
    fn assertions__lines_and_messages() {
        let code = "\nassert a == 1, 'a=%d' % a  # why\nassert b; \\\n  assert 1 <= c <= 2, c;\n";
        let found = assertions(code, 10).unwrap();
        let found: Vec<_> = found.iter().map(|a| (a.line, a.text.as_str())).collect();
        assert_eq!(found, [(11, "a == 1"), (12, "b"), (12, "1 <= c <= 2")]);
        let found = assertions("assert a == 1;\\\n assert b;\\\n", 1).unwrap();
        assert_eq!(found.len(), 2);
        assert!(assertions("x = 1", 1).is_err());
        assert!(assertions("  ", 1).is_err());
    }
}
