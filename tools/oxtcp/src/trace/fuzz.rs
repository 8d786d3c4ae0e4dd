// SPDX-License-Identifier: GPL-2.0
//! What the fuzz targets of `tools/fuzz` feed to the reader of the kernel's ring buffer: pages, and the layouts by which they are read.

use super::decode::{Decoder, NAMES, RECORDED};
use super::event::Clock;
use super::flows::Flows;
use super::format::{Format, Page};
use super::json;
use super::log::Log;
use super::page::{records, Lost};
use crate::output::{Color, Painter};

/// Pages of the ring buffer, by the layouts of a kernel that there is.
pub fn ring(bytes: &[u8]) {
    const PAGE: &str = include_str!("recorded/header_page");
    let layout = Page::parse(PAGE).expect("a kernel's layout");
    let formats = RECORDED.map(|text| Format::parse(text).expect("a kernel's layout"));
    read(bytes, &layout, &Decoder::new(formats));
}

/// Layouts, of the page and of an event, each ended by a byte 0; behind them what is read by them.
pub fn layout(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or(&[])).into_owned();
    let (page, format) = (text(), text());
    let rest = parts.next().unwrap_or(&[]);
    let (page, format) = (Page::parse(&page), Format::parse(&format));
    if let Some(page) = &page {
        assert!(page.size() > page.data.offset);
    }
    if let (Some(page), Some(format)) = (page, format) {
        let _ = format.name("reason", 2);
        // All events have this one, and differ by the number.
        let formats = (0..NAMES.len() as u16).map(|which| {
            let mut format = format.clone();
            format.id = format.id.wrapping_add(which);
            format
        });
        read(rest, &page, &Decoder::new(formats));
    }
}

fn read(bytes: &[u8], layout: &Page, decoder: &Decoder) {
    let clock = Clock { offset: 1 << 60 };
    let mut log = Log::new(Painter::new(Color::Never));
    let mut flows = Flows::default();
    for page in bytes.chunks(layout.size()) {
        let mut taken = 0;
        let lost = records(page, layout, |time, record| {
            taken += record.len();
            if let Some(event) = decoder.decode(time, record) {
                flows.observe(&event);
                assert!(log.line(&event, &flows).ends_with('\n'));
                assert!(json::object(&event, clock).is_object());
            }
        });
        assert!(taken <= page.len());
        assert!(lost != Lost::Events(0) || page.len() > layout.data.offset);
    }
}
