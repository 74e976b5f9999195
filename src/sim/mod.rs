//! The simulated world: two sessions, the carriers between them, and everything that can befall those.
//!
//! Time is virtual, and one seed decides everything: it writes a script of lines, streams, faults and replacements
//! ([`plan`], [`faults`], [`blow`]), and every choice on the way derives from it. Carriers are pairs of pipes that carry
//! the real bytes ([`pipe`]), driven as the real driver does it ([`drive`]), dialed again when lost ([`fleet`]) and
//! replaced as planned ([`errand`]).
//! Applications write what can be checked by its offset ([`load`], [`flow`]). The laws are looked at after every step
//! ([`laws`]), and in the end the world becomes well and must come to rest with nothing left.
//!
//! `SIM_SEED=7 cargo test sim -- --nocapture` replays a seed and prints what happens; `SIM_SEEDS=100000 cargo test sim`
//! runs so many, from `SIM_FIRST` on. A seed that fails is run again with ever less of its script, until nothing more can
//! be left out; what is left is printed, with the command that replays that (`SIM_KEEP`, `SIM_BYTES`).

mod agenda;
mod blow;
mod content;
mod drive;
mod errand;
mod faults;
mod fleet;
mod flow;
mod laws;
mod load;
mod pipe;
mod plan;
mod script;
mod seeds;
mod shrink;
mod tests;
mod wire;
mod world;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use self::plan::Plan;
use self::script::Broken;
use self::world::World;

/// Runs a plan to rest; a panic is a law that did not hold, too.
fn attempt(plan: Plan, loud: bool) -> Result<(u64, u64), Broken> {
    catch_unwind(AssertUnwindSafe(|| World::new(plan, loud).run())).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
        Err(Broken { what: format!("panic: {}", what.unwrap_or_default()), at: std::time::Duration::ZERO })
    })
}

/// The part of a script that is kept, and how long a direction of a stream may be; all of it if nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Part {
    kept: Option<Vec<usize>>,
    longest: Option<u64>,
}

impl Part {
    fn of(&self, mut plan: Plan) -> Plan {
        self.kept.iter().for_each(|kept| plan.keep(kept));
        self.longest.iter().for_each(|longest| plan.shorten(*longest));
        plan
    }
}

/// The least of a plan that breaks the same law.
fn shrink(plan: &Plan, broken: &Broken) -> Part {
    let fails =
        |part: &Part| attempt(part.of(plan.clone()), false).is_err_and(|other| other.law() == broken.law());
    let fewest = |longest| {
        shrink::fewest(plan.script.len(), |kept| fails(&Part { kept: Some(kept.to_vec()), longest }))
    };
    let kept = Some(fewest(None));
    let longest = shrink::smallest(plan.longest(), |longest| {
        fails(&Part { kept: kept.clone(), longest: Some(longest) })
    });
    // With shorter streams less may be needed.
    let part = Part { kept: Some(fewest(Some(longest))), longest: Some(longest) };
    if fails(&part) { part } else { Part { kept, longest: None } }
}

/// What an engineer reads of a seed that fails.
fn report(plan: &Plan, broken: &Broken) -> String {
    let part = shrink(plan, broken);
    let kept = part.kept.clone().unwrap_or_default();
    let least = part.of(plan.clone());
    let mut text = format!("SIM_SEED={} at {:?}: {}\n", plan.seed, broken.at, broken.what);
    let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
    line(format!("the least that fails, {} of {} items:", kept.len(), plan.script.len()));
    for (place, item) in kept.iter().zip(&least.script) {
        line(format!("{place:>5}  {item}"));
    }
    if let Err(least) = attempt(least, false) {
        line(format!("then, at {:?}: {}", least.at, least.what));
    }
    let places: Vec<_> = kept.iter().map(ToString::to_string).collect();
    let bytes = part.longest.map(|longest| format!(" SIM_BYTES={longest}")).unwrap_or_default();
    line(format!(
        "replay: SIM_SEED={} SIM_KEEP={}{bytes} cargo test --lib sim -- --nocapture",
        plan.seed,
        places.join(",")
    ));
    text
}
