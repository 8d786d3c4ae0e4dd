// SPDX-License-Identifier: GPL-2.0
//! Axes: from values to places, and ticks at round numbers.

use crate::svg::{Anchor, Picture};

/// A unit of what an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    name: &'static str,
    /// What one of it is.
    size: f64,
}

impl Unit {
    /// Of nanoseconds, from the largest on.
    pub const TIMES: &'static [Unit] = &[
        Unit {
            name: "s",
            size: 1e9,
        },
        Unit {
            name: "ms",
            size: 1e6,
        },
        Unit {
            name: "µs",
            size: 1e3,
        },
    ];
    /// Of bytes.
    pub const BYTES: &'static [Unit] = &[
        Unit {
            name: "GB",
            size: 1e9,
        },
        Unit {
            name: "MB",
            size: 1e6,
        },
        Unit {
            name: "kB",
            size: 1e3,
        },
        Unit {
            name: "bytes",
            size: 1.0,
        },
    ];
}

/// An axis.
pub struct Axis {
    values: (f64, f64),
    places: (f64, f64),
    unit: Unit,
    step: f64,
}

impl Axis {
    /// For these values at these places; with a unit that gives short numbers, and about so many ticks.
    pub fn new(values: (f64, f64), places: (f64, f64), units: &[Unit], ticks: usize) -> Axis {
        let span = (values.1 - values.0).max(f64::MIN_POSITIVE);
        let unit = units
            .iter()
            .find(|unit| span >= unit.size)
            .or(units.last())
            .copied()
            .unwrap_or(Unit {
                name: "",
                size: 1.0,
            });
        let rough = span / unit.size / ticks as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * power);
        Axis {
            values,
            places,
            unit,
            step,
        }
    }

    pub fn place(&self, value: f64) -> f64 {
        let part = (value - self.values.0) / (self.values.1 - self.values.0);
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    /// Where it begins and ends.
    pub fn ends(&self) -> (f64, f64) {
        self.places
    }

    pub fn unit(&self) -> &'static str {
        self.unit.name
    }

    /// Places and labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let digits = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        let (low, high) = (
            self.values.0 / self.unit.size,
            self.values.1 / self.unit.size,
        );
        let first = (low / self.step - 1e-6).ceil() as i64;
        let last = (high / self.step + 1e-6).floor() as i64;
        (first..=last)
            .map(|index| {
                let value = index as f64 * self.step;
                (
                    self.place(value * self.unit.size),
                    format!("{value:.digits$}"),
                )
            })
            .collect()
    }

    /// Writes the labels of an axis to the right, and its name at the end.
    pub fn labels(&self, picture: &mut Picture, y: f64, name: &str) {
        for (x, label) in self.ticks() {
            picture.text("small f-mute", (x, y), Anchor::Middle, &label);
        }
        let middle = (self.places.0 + self.places.1) / 2.0;
        let text = format!("{name} ({})", self.unit());
        picture.text("small f-mute", (middle, y + 18.0), Anchor::Middle, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: (f64, f64), units: &[Unit], ticks: usize) -> Vec<String> {
        let axis = Axis::new(values, (0.0, 100.0), units, ticks);
        let labels = axis.ticks().into_iter().map(|(_, label)| label);
        labels.chain([axis.unit().to_string()]).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels((0.0, 1.37e9), Unit::TIMES, 8),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "s"]
        );
        assert_eq!(
            labels((1e6, 23.7e6), Unit::BYTES, 6),
            ["5", "10", "15", "20", "MB"]
        );
        assert_eq!(labels((0.0, 900.0), Unit::BYTES, 3), ["0", "500", "bytes"]);
        assert_eq!(
            labels((12_345.0, 12_345.5), Unit::TIMES, 2).last().unwrap(),
            "µs"
        );
    }

    #[test]
    fn place_is_linear() {
        let axis = Axis::new((100.0, 200.0), (400.0, 0.0), Unit::BYTES, 5);
        assert_eq!(
            [100.0, 150.0, 200.0].map(|value| axis.place(value)),
            [400.0, 200.0, 0.0]
        );
    }
}
