//! Does what the deck says, one fault after the other, and waits each time until everything moves again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::clock;
use crate::facts::End;
use crate::fault::{Card, Deck, Kind, Row};
use crate::path::{Cut, Flow, Path};
use crate::relay::Door;
use crate::stage::Stage;
use crate::support::Outcome;
use crate::tally::Tally;

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// How often, and how long the fault itself lasted at most.
    pub(crate) faults: std::collections::BTreeMap<Row, (u64, Duration)>,
    /// Bundles that were brought and taken.
    pub(crate) rotations: u64,
    /// Those of them that came together with another fault.
    pub(crate) beside: u64,
    /// Handshakes that were cut.
    pub(crate) handshakes: u64,
    /// Faults after which something stood still for [`TOO_LONG`].
    pub(crate) stuck: u64,
}

/// Injects faults.
pub(crate) struct Injector<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) tally: &'a Tally,
    pub(crate) deck: Deck,
    /// Carriers that a session has when nothing is wrong.
    pub(crate) carriers: usize,
    /// Told when a fault begins, with its time.
    pub(crate) verbose: bool,
    pub(crate) done: Done,
}

impl Injector<'_> {
    /// Goes on until the time is up; the deck of a smoke run is played once.
    pub(crate) async fn run(&mut self, ends: Instant) -> Outcome<()> {
        while clock::now() < ends {
            let Some(card) = self.deck.draw() else { break };
            self.play(card).await?;
        }
        self.tally.pauses.begin(None);
        Ok(())
    }

    async fn play(&mut self, card: Card) -> Outcome<()> {
        // A fault is to meet a link that is whole, or its pauses would be those of the fault before.
        let whole = async {
            while self.sound().len() < self.carriers {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(TOO_LONG, whole).await;
        let told = self.stage.told.clone();
        let end = if self.deck.coin() { End::East } else { End::West };
        let sound = self.sound();
        let one = sound.get(self.deck.pick(sound.len())).cloned();
        let hit = if hits_all(card) { sound.clone() } else { one.into_iter().collect() };
        let harmless = matches!(card.kind, Kind::Control | Kind::Rotation);
        let row = Row { kind: card.kind, left: harmless || hit.len() < sound.len() };
        let taken = told.look(|facts| facts.taken(end));
        self.tally.pauses.begin(Some(row));
        let began = clock::now();
        if self.verbose {
            println!(
                "{:>9.3} s  {}{}",
                self.tally.elapsed().as_secs_f64(),
                card.kind,
                if card.rotates { ", and a rotation" } else { "" }
            );
        }
        if card.rotates {
            self.stage.rotator.rotate(end).await?;
        }
        self.apply(card, &hit).await;
        let over = clock::now();
        let entry = self.done.faults.entry(row).or_default();
        *entry = (entry.0 + 1, entry.1.max(over - began));
        if card.rotates {
            let rotated = told.until(|facts| facts.taken(end) > taken && facts.has_rotated(end));
            if timeout(TOO_LONG, rotated).await.is_err() {
                return Err(format!("{end:?} still has carriers of before its rotation").into());
            }
            self.done.rotations += 1;
            self.done.beside += u64::from(card.kind != Kind::Rotation);
        }
        self.given_up(&hit).await;
        self.recovered(clock::now()).await;
        if self.verbose {
            println!("             {:.0?} until everything moved again", clock::now() - began);
        }
        sleep(self.deck.quiet()).await;
        Ok(())
    }

    /// The carriers that are up and have no fault.
    fn sound(&self) -> Vec<Arc<Path>> {
        let callers: Vec<_> = self.stage.told.look(|facts| facts.callers().collect());
        let mut paths = self.stage.relay.paths();
        paths.retain(|path| path.is_sound() && callers.contains(&path.dialer));
        paths
    }

    /// Does what is to be done, and returns when the fault is over, or is the routers' to deal with.
    async fn apply(&mut self, card: Card, hit: &[Arc<Path>]) {
        let cut = |how: Cut| hit.iter().for_each(|path| path.order(|orders| orders.cut = Some(how)));
        let flow =
            |up, down| hit.iter().for_each(|path| path.order(|orders| (orders.up, orders.down) = (up, down)));
        let relay = &self.stage.relay;
        match card.kind {
            Kind::Control | Kind::Rotation => sleep(card.lasts).await,
            Kind::CutReset => cut(Cut::Reset),
            Kind::CutFinish => cut(Cut::Finish),
            Kind::CutAll => cut(if self.deck.coin() { Cut::Reset } else { Cut::Finish }),
            Kind::CutHandshake => {
                let before = relay.doomed();
                relay.doom(card.times, card.after);
                cut(Cut::Reset);
                // Failed attempts are made again after ever longer waits.
                let all = before + card.times as u64;
                let came = async {
                    while relay.doomed() < all {
                        sleep(LOOK).await;
                    }
                };
                let _ = timeout(HANDSHAKES, came).await;
                relay.spare();
                self.done.handshakes += relay.doomed() - before;
            }
            Kind::Stall | Kind::LongStall => {
                flow(Flow::Hold, Flow::Hold);
                sleep(card.lasts).await;
                flow(Flow::Pass, Flow::Pass);
            }
            Kind::BlackHole => flow(Flow::Vanish, Flow::Vanish),
            Kind::HalfOpenUp => flow(Flow::Vanish, Flow::Pass),
            Kind::HalfOpenDown => flow(Flow::Pass, Flow::Vanish),
            Kind::Slow => {
                flow(Flow::Drip, Flow::Drip);
                sleep(card.lasts).await;
                flow(Flow::Pass, Flow::Pass);
            }
            Kind::Refused => {
                relay.door(Door::Refusing);
                cut(Cut::Reset);
                sleep(card.lasts).await;
                relay.door(Door::Open);
            }
            Kind::Silent => {
                relay.door(Door::Silent);
                flow(Flow::Hold, Flow::Hold);
                sleep(card.lasts).await;
                relay.open();
            }
        }
    }

    /// Waits until the routers have given up what was cut, or has swallowed what it was given: what is on its way behind
    /// the fault still arrives for a moment, and would look as if all was well.
    async fn given_up(&mut self, hit: &[Arc<Path>]) {
        let dead: Vec<_> = hit.iter().filter(|path| !path.is_sound()).map(|path| path.dialer).collect();
        let none_left = self.stage.told.until(|facts| facts.callers().all(|caller| !dead.contains(&caller)));
        if timeout(TOO_LONG, none_left).await.is_err() {
            println!("STUCK: a carrier that is dead was not given up for {TOO_LONG:?}");
            self.done.stuck += 1;
        }
        // What swallows everything swallows the end of its connections, too, and would be kept for ever.
        for path in hit.iter().filter(|path| !path.is_sound()) {
            path.order(|orders| orders.cut = Some(Cut::Reset));
        }
    }

    /// Waits until every connection that should be moving has moved since then.
    async fn recovered(&mut self, since: Instant) {
        let moved = async {
            while !self.tally.all_moved_since(since) {
                sleep(LOOK).await;
            }
        };
        if timeout(TOO_LONG, moved).await.is_err() {
            println!("STUCK: not all connections have moved for {TOO_LONG:?}");
            self.done.stuck += 1;
        }
    }
}

/// Whether it is of all carriers.
fn hits_all(card: Card) -> bool {
    match card.kind {
        Kind::CutAll | Kind::Refused | Kind::Silent => true,
        Kind::Stall | Kind::Slow => card.all,
        _ => false,
    }
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Twice the resume window of a router: nothing that goes on stands still for so long.
const TOO_LONG: Duration = Duration::from_secs(60);

/// How long the handshakes that are to be cut are waited for. With another carrier up their dials are no hurry.
const HANDSHAKES: Duration = Duration::from_millis(1500);
