//! Which groups of a link are drained.

use std::collections::BTreeSet;

use crate::id::GroupName;

/// Which groups of a link are drained: no session of them begins until they are resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    /// All of them, those that its document comes to list included.
    all: bool,
    /// These, unless all are.
    groups: BTreeSet<GroupName>,
}

impl Drained {
    /// Whether a group is drained.
    pub(crate) fn has(&self, group: &GroupName) -> bool {
        self.all || self.groups.contains(group)
    }

    /// Whether the link is drained as a whole.
    pub(crate) fn is_all(&self) -> bool {
        self.all
    }

    /// Drains a group, or all of them; says whether that is news.
    pub(crate) fn drain(&mut self, group: Option<&GroupName>) -> bool {
        match group {
            Some(group) => !self.all && self.groups.insert(group.clone()),
            None => {
                self.groups.clear();
                !std::mem::replace(&mut self.all, true)
            }
        }
    }

    /// Resumes a group, or all of them; says whether that is news. If all were drained and one is resumed, the others that
    /// are `listed` stay drained.
    pub(crate) fn resume(&mut self, group: Option<&GroupName>, listed: &[GroupName]) -> bool {
        let Some(group) = group else {
            return std::mem::take(self) != Self::default();
        };
        if std::mem::take(&mut self.all) {
            self.groups = listed.iter().cloned().collect();
        }
        self.groups.remove(group)
    }

    /// Forgets groups that the link's document does not list any more.
    pub(crate) fn keep(&mut self, listed: &[GroupName]) {
        self.groups.retain(|group| listed.contains(group));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    #[test]
    fn one_group_of_a_drained_link_is_resumed_and_the_others_stay_drained() {
        let (a, b, c) = (named("a"), named("b"), named("c"));
        let (mut drained, listed) = (Drained::default(), [a.clone(), b.clone()]);
        assert_eq!((drained.drain(None), drained.drain(None), drained.drain(Some(&a))), (true, false, false));
        assert!(drained.resume(Some(&a), &listed));
        assert_eq!([&a, &b, &c].map(|group| drained.has(group)), [false, true, false]);
        assert!(!drained.resume(Some(&a), &listed));
        assert_eq!((drained.resume(None, &[]), drained.resume(None, &[])), (true, false));
    }

    #[test]
    fn a_group_that_is_listed_no_more_comes_back_undrained() {
        let (a, b) = (named("a"), named("b"));
        let mut drained = Drained::default();
        assert!(drained.drain(Some(&a)) && drained.drain(Some(&b)));
        drained.keep(std::slice::from_ref(&b));
        assert_eq!([&a, &b].map(|group| drained.has(group)), [false, true]);
    }
}
