// SPDX-License-Identifier: GPL-2.0
//! Memory for what is in flight, as a kernel gives it: on request, perhaps not, perhaps not for long.

use super::rng::Rng;
use oxtcp_engine::{Flight, FlightMemory};

#[derive(Clone, Default)]
pub struct Memory {
    flight: Option<Box<Flight>>,
    /// Chance per mille that there is none, and that it is taken away before it is used.
    pub scarce: u32,
    rng: Option<Rng>,
    /// How often there was some.
    pub made: u64,
}

impl Memory {
    pub fn new(scarce: u32, rng: Rng) -> Self {
        Memory {
            scarce,
            rng: Some(rng),
            ..Memory::default()
        }
    }

    fn chance(&mut self) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.chance(self.scarce))
    }

    pub fn peek(&self) -> Option<&Flight> {
        self.flight.as_deref()
    }
}

impl FlightMemory for Memory {
    fn get(&mut self) -> Option<&mut Flight> {
        if self.chance() {
            self.flight = None;
        }
        self.flight.as_deref_mut()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        if self.chance() {
            self.flight = None;
            return None;
        }
        if self.flight.is_none() {
            self.made += 1;
        }
        Some(self.flight.get_or_insert_with(Box::default))
    }

    fn release(&mut self) {
        self.flight = None;
    }
}
