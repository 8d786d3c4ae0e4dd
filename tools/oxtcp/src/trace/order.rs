// SPDX-License-Identifier: GPL-2.0
//! Events of several processors, in the order in which they happened.

use super::event::Event;

/// Holds back what may yet be preceded by another processor's.
#[derive(Default)]
pub struct Order {
    waiting: Vec<Event>,
}

impl Order {
    /// Where [`super::tracefs::Instance::read`] puts what it reads.
    pub fn inbox(&mut self) -> &mut Vec<Event> {
        &mut self.waiting
    }

    /// All up to `until`, sorted: whoever read all processors after that time has all of them.
    pub fn take(&mut self, until: u64) -> Vec<Event> {
        // Stable: what one processor has written in a nanosecond stays in its order.
        self.waiting.sort_by_key(|event| event.time);
        let ready = self.waiting.partition_point(|event| event.time <= until);
        let rest = self.waiting.split_off(ready);
        std::mem::replace(&mut self.waiting, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Timer, What};
    use super::super::flows::tests::event;
    use super::*;

    #[test]
    fn take_sorts_and_holds_back() {
        let mut order = Order::default();
        let at = |time, cookie| Event {
            time,
            cookie,
            ..event(What::Timer(Timer::Pace))
        };
        order.inbox().extend([at(5, 1), at(9, 2), at(20, 3)]);
        order.inbox().extend([at(1, 4), at(9, 5), at(30, 6)]);
        let cookies =
            |events: Vec<Event>| -> Vec<u64> { events.iter().map(|event| event.cookie).collect() };
        assert_eq!(cookies(order.take(9)), [4, 1, 2, 5]);
        order.inbox().push(at(12, 7));
        assert_eq!(cookies(order.take(u64::MAX)), [7, 3, 6]);
        assert!(order.take(u64::MAX).is_empty());
    }
}
