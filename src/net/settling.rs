//! Two looks that agree: what is on a disk is believed when it was found the same twice.
//!
//! A file that is being written is seen half; a folder that is being swapped is seen as a mixture. Neither shows, but
//! neither stays.

/// One thing that is looked at again and again.
///
/// ```text
///              another            the same
///   settled ───────────▶ doubted ───────────▶ settled, and that is a change
///      ▲                  │    │ another ─▶ doubted
///      └── what it was ───┘
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Settling<V> {
    /// What was believed last.
    settled: Option<V>,
    /// What was seen once since.
    doubted: Option<V>,
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Something else than before, now for the second time: it is believed.
    Change,
    /// Something else than before, for the first time. Look again soon.
    Doubt,
    /// What is believed already.
    Nothing,
}

impl<V> Default for Settling<V> {
    fn default() -> Self {
        Self { settled: None, doubted: None }
    }
}

impl<V: PartialEq> Settling<V> {
    /// Takes in what a look has seen.
    pub(crate) fn observe(&mut self, seen: V) -> Shown {
        if self.settled.as_ref() == Some(&seen) {
            self.doubted = None;
            Shown::Nothing
        } else if self.doubted.as_ref() == Some(&seen) {
            self.doubted = None;
            self.settled = Some(seen);
            Shown::Change
        } else {
            self.doubted = Some(seen);
            Shown::Doubt
        }
    }

    /// What is believed; `None` before the first two looks that agree.
    pub(crate) fn settled(&self) -> Option<&V> {
        self.settled.as_ref()
    }

    /// Whether the last look has shown something that is not believed yet.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubted.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_twice_running_is_believed_once() {
        use Shown::{Change, Doubt, Nothing};
        let rows: &[(&str, &[(char, Shown)])] = &[
            ("from nothing", &[('a', Doubt), ('a', Change), ('a', Nothing)]),
            ("half-written", &[('a', Doubt), ('a', Change), ('h', Doubt), ('b', Doubt), ('b', Change)]),
            ("taken back", &[('a', Doubt), ('a', Change), ('b', Doubt), ('a', Nothing), ('b', Doubt)]),
            ("a storm", &[('a', Doubt), ('b', Doubt), ('c', Doubt), ('d', Doubt), ('d', Change)]),
            ("there and back", &[('a', Doubt), ('a', Change), ('b', Doubt), ('b', Change), ('a', Doubt)]),
        ];
        for (name, row) in rows {
            let mut settling = Settling::default();
            for (step, (seen, shown)) in row.iter().enumerate() {
                assert_eq!(settling.observe(*seen), *shown, "{name}, step {step}");
                assert_eq!(settling.is_in_doubt(), *shown == Doubt, "{name}, step {step}");
            }
        }
    }
}
