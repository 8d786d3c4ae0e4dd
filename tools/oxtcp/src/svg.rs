// SPDX-License-Identifier: GPL-2.0
//! Pictures in SVG: text without scripts, in generic fonts, with colours for light and for dark surroundings.

use std::fmt::Write;

/// A picture that grows by elements. Its classes are those of [`STYLE`].
pub struct Picture {
    width: f64,
    body: String,
}

/// Where a text stands beside its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Picture {
    /// An empty one of this width.
    pub fn new(width: f64) -> Self {
        Self {
            width,
            body: String::new(),
        }
    }

    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(Number);
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        );
    }

    /// A path with SVG's commands; nothing if it has none.
    pub fn path(&mut self, class: &str, commands: &str) {
        if !commands.is_empty() {
            let _ = writeln!(self.body, "<path class=\"{class}\" d=\"{commands}\"/>");
        }
    }

    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        self.turned_text(class, at, anchor, 0.0, text);
    }

    /// A text that is turned about its point by so many degrees, clockwise.
    pub fn turned_text(
        &mut self,
        class: &str,
        at: (f64, f64),
        anchor: Anchor,
        degrees: f64,
        text: &str,
    ) {
        let (x, y) = (Number(at.0), Number(at.1));
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turn = if degrees.abs() < 0.05 {
            String::new()
        } else {
            format!(" transform=\"rotate({} {x} {y})\"", Number(degrees))
        };
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\"{turn}>{}</text>",
            escaped(text)
        );
    }

    /// A text in front of what is already there: its surroundings are cleared.
    pub fn label(&mut self, class: &str, at: (f64, f64), anchor: Anchor, degrees: f64, text: &str) {
        self.turned_text(&format!("halo {class}"), at, anchor, degrees, text);
        self.turned_text(class, at, anchor, degrees, text);
    }

    /// The file, of this height, and with a title for those who do not see it.
    pub fn finish(self, height: f64, title: &str) -> String {
        let (width, height) = (Number(self.width), Number(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            escaped(title),
            self.body
        )
    }
}

/// A coordinate, to a tenth of a pixel.
pub struct Number(pub f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        let sign = if tenths < 0 { "-" } else { "" };
        let (whole, rest) = (tenths.abs() / 10, tenths.abs() % 10);
        match rest {
            0 => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{rest}"),
        }
    }
}

/// For text and attributes. What XML cannot have becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// `paper` and `ink`; a class for each kind of thing, filled with `f-`, drawn as a line with `s-`.
const STYLE: &str = "
text{font:12px sans-serif;fill:#1f2328}
.code{font:11px monospace}
.halo{stroke:#fff;stroke-width:4px;stroke-linejoin:round}
.big{font-size:15px;font-weight:bold}
.bold{font-weight:bold}
.small{font-size:11px}
line,path{fill:none;stroke-width:1.3}
.thin{stroke-width:.6}
.wide{stroke-width:2}
.dash{stroke-dasharray:2 4}
.paper{fill:#fff}
.s-ink{stroke:#1f2328}.f-ink{fill:#1f2328}
.s-mute{stroke:#afb8c1}.f-mute{fill:#59636e}
.s-grid{stroke:#e4e8ec}
.s-data{stroke:#0969da}.f-data{fill:#0969da}
.s-ack{stroke:#1a7f37}.f-ack{fill:#1a7f37}
.s-window{stroke:#9a6700}.f-window{fill:#9a6700}
.s-sack{stroke:#8250df}.f-sack{fill:#8250df}
.s-lost{stroke:#cf222e}.f-lost{fill:#cf222e}
.s-cwnd{stroke:#0e7490}.f-cwnd{fill:#0e7490}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.halo{stroke:#0d1117}
.paper{fill:#0d1117}
.s-ink{stroke:#e6edf3}.f-ink{fill:#e6edf3}
.s-mute{stroke:#57606a}.f-mute{fill:#9198a1}
.s-grid{stroke:#21262d}
.s-data{stroke:#58a6ff}.f-data{fill:#58a6ff}
.s-ack{stroke:#3fb950}.f-ack{fill:#3fb950}
.s-window{stroke:#d29922}.f-window{fill:#d29922}
.s-sack{stroke:#bc8cff}.f-sack{fill:#bc8cff}
.s-lost{stroke:#ff7b72}.f-lost{fill:#ff7b72}
.s-cwnd{stroke:#39c5cf}.f-cwnd{fill:#39c5cf}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_a_digit() {
        let text = |number| Number(number).to_string();
        assert_eq!(
            [0.0, -0.04, -0.06, 12.25, 1e3].map(text),
            ["0", "0", "-0.1", "12.3", "1000"]
        );
    }

    #[test]
    fn text_is_escaped() {
        let mut picture = Picture::new(10.0);
        picture.text("", (1.0, 2.0), Anchor::End, "<a & \"b\">\u{1}");
        let svg = picture.finish(20.0, "a<b");
        assert!(
            svg.contains(">&lt;a &amp; &quot;b&quot;&gt;?</text>"),
            "{svg}"
        );
        assert!(svg.contains("<title>a&lt;b</title>"), "{svg}");
    }
}
