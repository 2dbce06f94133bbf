// SPDX-License-Identifier: BSD-3-Clause
//! Probes: which paths are probed, and what becomes of the verdicts.

#[cfg(feature = "control")]
use core::fmt::Write;

use super::Engine;
#[cfg(feature = "control")]
use crate::control::{Form, Value};
#[cfg(feature = "control")]
use crate::health::Figures;
use crate::health::{Event, Health, Key, Probe};
use crate::netlink::IfIndex;
use crate::network::{LocalAddress, Verdict};
use crate::time::Instant;

impl Engine {
    /// Takes in what became of probes.
    pub(super) fn on_probes(&mut self, now: Instant, event: Event) {
        self.health.handle(now, event);
        while let Some((path, dead)) = self.health.next_change(now) {
            let news = self.network.set_dead(path.index, path.address, dead);
            self.schedule.reconcile_due |= news;
            let mut used = self.network.usable();
            let is_it = |a: &LocalAddress| Key::of(a) == path && a.verdict == Verdict::AllDead;
            if !dead && used.any(is_it) && !self.manages_connections() {
                self.endpoints.note_return(path.address);
                self.healer.on_path_gained(now);
            }
        }
    }

    /// Follows the paths that lack nothing else. One that has no probes any more is not dead.
    pub(super) fn follow_paths(&mut self, now: Instant) {
        use Verdict::*;
        let fit = |a: &LocalAddress| {
            a.verdict.is_used() || matches!(a.verdict, Standby | HoldDown | Dead)
        };
        let Self {
            health,
            network,
            config,
            ..
        } = self;
        let used = config.uses_track();
        if !health.begin(used) {
            return;
        }
        for address in network.addresses().filter(|_| used) {
            let Some(interface) = network.interface(address.index) else {
                continue;
            };
            if fit(address) {
                let track = config.track(&interface.name);
                health.follow(now, Key::of(address), track, address.is_dead());
            }
        }
        health.finish();
        while let Some(address) = network.take_interruption() {
            health.restart(now, Key::of(address));
        }
        let is_over =
            |address: &LocalAddress| (fit(address) || !used) && !health.follows(Key::of(address));
        self.schedule.reconcile_due |= network.revive(&is_over);
    }

    /// Returns the paths that are probed.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Returns an interface whose counters are to be read, for [`Event::Traffic`].
    pub fn next_sample(&self, now: Instant) -> Option<IfIndex> {
        self.health.next_sample(now)
    }

    /// Returns the next probe to be sent now.
    pub fn next_probe(&mut self, now: Instant) -> Option<Probe> {
        self.health.next_probe(now)
    }

    /// Writes what the probes of a path show, if it is probed.
    #[cfg(feature = "control")]
    pub(super) fn write_probes(&self, now: Instant, address: &LocalAddress, form: &mut Form<'_>) {
        let Some(figures) = self.health.figures(Key::of(address)) else {
            return form.json("track", Value::Nothing);
        };
        let Figures { latency, .. } = *figures;
        let (mut text, mut answer) = (heapless::String::<64>::new(), [Value::Nothing; 2]);
        if figures.answered_at != Instant::default() {
            let _ = write!(text, "; answers in {latency} ms");
            let ago = now.age(figures.answered_at);
            answer = [
                Value::Milliseconds(latency.saturating_mul(1000)),
                Value::Span(ago),
            ];
        }
        let mut loss = Value::Nothing;
        if let Some(per_cent) = figures.loss() {
            let _ = write!(text, "; {per_cent} % of probes lost");
            loss = Value::Number(per_cent.into());
        }
        form.words(&text);
        form.open("track", "{");
        let [latency, last_answer] = answer;
        form.json("latency", latency);
        form.json("packetloss", loss);
        form.json("last_answer", last_answer);
        form.close("}");
    }
}
