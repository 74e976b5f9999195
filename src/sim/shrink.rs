//! Makes a script that fails as short as it can be while it still fails.

/// The items of a script of which none can be left out: first halves are tried, then smaller parts, then one by one until
/// no single one can go (delta debugging; Zeller and Hildebrandt, 2002). `fails` says whether what is kept still does.
pub(super) fn fewest(items: usize, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..items).collect();
    let mut part = items.div_ceil(2).max(1);
    loop {
        let before = kept.len();
        let mut start = 0;
        while start < kept.len() {
            let end = (start + part).min(kept.len());
            let fewer: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            if fails(&fewer) {
                kept = fewer;
            } else {
                start = end;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
        } else if kept.len() == before {
            return kept;
        }
    }
}

/// The least power-of-two part of a number for which it still fails.
pub(super) fn smallest(number: u64, mut fails: impl FnMut(u64) -> bool) -> u64 {
    let halves = std::iter::successors(Some(number), |number| (*number > 0).then_some(number / 2));
    halves.skip(1).take_while(|half| fails(*half)).last().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_together_is_all_that_is_kept() {
        for count in [1, 2, 3, 7, 40, 133] {
            for (first, second) in [(0, 0), (0, count - 1), (count / 2, count / 3)] {
                let mut tries = 0;
                let kept = fewest(count, |kept| {
                    tries += 1;
                    kept.contains(&first) && kept.contains(&second)
                });
                let mut expected = vec![first, second];
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(kept, expected);
                assert!(tries <= 8 * count, "{tries} tries for {count} items");
            }
        }
    }

    #[test]
    fn what_fails_whatever_is_kept_shrinks_to_nothing() {
        assert_eq!(fewest(9, |_| true), Vec::<usize>::new());
        assert_eq!(fewest(0, |_| true), Vec::<usize>::new());
    }

    #[test]
    fn a_number_is_halved_as_long_as_it_fails() {
        assert_eq!(smallest(1000, |number| number >= 100), 125);
        assert_eq!(smallest(1000, |number| number >= 600), 1000);
        assert_eq!(smallest(1000, |_| true), 0);
    }
}
