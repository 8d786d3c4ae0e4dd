// SPDX-License-Identifier: GPL-2.0
//! The layout of events, as the kernel tells it in `events/SYSTEM/EVENT/format` and `events/header_page`.

use std::collections::HashMap;

/// Where a field stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub offset: usize,
    pub size: usize,
    /// The four bytes tell where the field's bytes are: offset in the lower half, length in the upper one.
    pub dynamic: bool,
}

/// An event's layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// What a record of it begins with.
    pub id: u16,
    fields: HashMap<String, Field>,
    /// The names of numbers, by field (`__print_symbolic`).
    names: HashMap<String, HashMap<u64, String>>,
}

impl Format {
    /// Reads a `format` file; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut format = Self::default();
        let mut id = None;
        for line in text.lines() {
            let line = line.trim();
            if let Some(number) = line.strip_prefix("ID:") {
                id = number.trim().parse().ok();
            } else if let Some(print) = line.strip_prefix("print fmt:") {
                format.names = symbols(print);
            } else if let Some((name, field)) = field(line) {
                format.fields.insert(name, field);
            }
        }
        format.id = id?;
        Some(format)
    }

    /// The field, if the event has it.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// What the kernel calls this number of the field.
    pub fn name(&self, field: &str, number: u64) -> Option<&str> {
        Some(self.names.get(field)?.get(&number)?)
    }
}

/// `field:u16 lport; offset:20; size:2; signed:0;`, with tabs.
fn field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.strip_prefix("field:")?.split(';');
    let declaration = parts.next()?;
    let number = |part: Option<&str>, key: &str| -> Option<usize> {
        part?.trim().strip_prefix(key)?.trim().parse().ok()
    };
    let offset = number(parts.next(), "offset:")?;
    let size = number(parts.next(), "size:")?;
    let name = declaration.split_whitespace().last()?;
    let name = name.split('[').next()?;
    let dynamic = declaration.starts_with("__data_loc");
    // `__rel_loc` counts from behind the field; the module's events have none.
    (!name.is_empty()).then(|| {
        let field = Field {
            offset,
            size,
            dynamic,
        };
        (name.to_string(), field)
    })
}

/// `__print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, ...)`, as often as it is there.
fn symbols(print: &str) -> HashMap<String, HashMap<u64, String>> {
    const CALL: &str = "__print_symbolic(REC->";
    let mut all = HashMap::new();
    let mut rest = print;
    while let Some(at) = rest.find(CALL) {
        rest = &rest[at + CALL.len()..];
        let Some((name, pairs)) = rest.split_once(',') else {
            break;
        };
        let mut names = HashMap::new();
        let mut pairs = pairs;
        loop {
            let inner = pairs.trim_start_matches([',', ' ']);
            let Some((pair, after)) = inner.strip_prefix('{').and_then(|p| p.split_once('}'))
            else {
                break;
            };
            if let Some((number, text)) = pair.split_once(',') {
                let text = text.trim().trim_matches('"');
                if let Some(number) = integer(number.trim()) {
                    names.insert(number, text.to_string());
                }
            }
            pairs = after;
        }
        all.insert(name.trim().to_string(), names);
        rest = pairs;
    }
    all
}

fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A page's head is of a few words: less than this, whatever the kernel.
const MOST_HEAD: usize = 4096;

/// The layout of what `trace_pipe_raw` hands out: a part of the ring, with a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub timestamp: Field,
    pub commit: Field,
    /// Where records begin, and how many bytes there are for them.
    pub data: Field,
}

impl Page {
    /// Reads `events/header_page`; `None` for what is none, or has other sizes than any kernel has.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: HashMap<String, Field> =
            text.lines().filter_map(|line| field(line.trim())).collect();
        let page = Self {
            timestamp: fields.remove("timestamp")?,
            commit: fields.remove("commit")?,
            data: fields.remove("data")?,
        };
        let whole = page.timestamp.size == 8 && matches!(page.commit.size, 4 | 8);
        let behind = |field: &Field| field.offset.checked_add(field.size);
        let ordered = [&page.commit, &page.timestamp]
            .iter()
            .all(|field| behind(field).is_some_and(|end| page.data.offset >= end))
            && page.data.offset < MOST_HEAD;
        (whole && ordered && (64..1 << 24).contains(&page.data.size)).then_some(page)
    }

    /// Bytes of the whole.
    pub fn size(&self) -> usize {
        self.data.offset + self.data.size
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const HEADER_PAGE: &str = include_str!("recorded/header_page");

    #[test]
    fn format_of_the_module() {
        let format = Format::parse(include_str!("recorded/oxtcp_drop.format")).unwrap();
        let field = |name: &str| format.field(name).cloned().unwrap();
        assert_eq!(field("common_type").size, 2);
        assert_eq!((field("cookie").offset, field("cookie").size), (8, 8));
        assert_eq!((field("local").size, field("local").dynamic), (16, false));
        assert_eq!((field("header").size, field("header").dynamic), (4, true));
        assert_eq!(format.name("reason", 2), Some("NOT_SPECIFIED"));
        assert_eq!(format.name("reason", 12345), None);
        assert_eq!(format.field("nothing"), None);
    }

    #[test]
    fn parse_what_is_no_format() {
        for text in ["", "name: x\n", "ID: none\n", "ID: 70000\n"] {
            assert_eq!(Format::parse(text), None, "{text}");
        }
        let odd = "ID: 3\n\tfield:;\toffset:;\tsize:1;\nfield:int x;\toffset:-1;\tsize:4;\n\
                   print fmt: \"%s\", __print_symbolic(REC->x, { 1, \"A\" }, { y, \"B\" }, { 0x3, \"C\" })";
        let format = Format::parse(odd).unwrap();
        assert_eq!(format.field("x"), None);
        assert_eq!(format.name("x", 1), Some("A"));
        assert_eq!(format.name("x", 3), Some("C"));
        let cut = Format::parse("ID: 3\nprint fmt: __print_symbolic(REC->x, { 1, \"A").unwrap();
        assert_eq!(cut.name("x", 1), None);
    }

    #[test]
    fn header_page() {
        let page = Page::parse(HEADER_PAGE).unwrap();
        assert_eq!(page.size(), 4096);
        assert_eq!(Page::parse(""), None);
        let small = HEADER_PAGE.replace("4080", "10");
        assert_eq!(Page::parse(&small), None);
        for far in ["offset:8;", "offset:0;", "offset:16;"] {
            let text = HEADER_PAGE.replace(far, "offset:18446744073709551615;");
            assert_eq!(Page::parse(&text), None, "{far}");
        }
    }
}
