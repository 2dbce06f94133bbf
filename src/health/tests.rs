// SPDX-License-Identifier: BSD-3-Clause
//! The machine with moved time: a network that answers or does not, and a daemon that may be late.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use super::*;

const PATH: Key = Key {
    index: IfIndex(2),
    address: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
};
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const THIRD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));
const OTHER_FAMILY: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn track(addresses: &[IpAddr]) -> Track {
    Track {
        addresses: addresses.to_vec(),
        interval: 5,
        timeout: 1,
        down: 3,
        up: 2,
        reliability: 1,
    }
}

/// Who answers a probe, and after how many milliseconds.
type Network = fn(now: u64, to: IpAddr) -> Option<u64>;

struct World {
    now: u64,
    health: Health,
    network: Network,
    /// Answers on their way, or in the socket.
    coming: BTreeMap<(u64, u16), IpAddr>,
    /// When each probe was sent, and to whom.
    sent: Vec<(u64, IpAddr)>,
    /// When each verdict came: dead or not.
    verdicts: Vec<(u64, bool)>,
    /// Packets a second that the interface receives, and sends, beside probes.
    traffic: fn(now: u64) -> (u64, u64),
    counters: Counters,
    counted_at: u64,
}

impl World {
    fn new(track: &Track, network: Network) -> Self {
        let mut world = Self {
            now: 1_000_000,
            health: Health::new(),
            network,
            coming: BTreeMap::new(),
            sent: Vec::new(),
            verdicts: Vec::new(),
            traffic: |_| (0, 0),
            counters: Counters::default(),
            counted_at: 1_000_000,
        };
        world.follow(track);
        world
    }

    fn follow(&mut self, track: &Track) -> bool {
        self.health.begin(true);
        let dead = self.is_dead();
        let followed = self.health.follow(Instant(self.now), PATH, track, dead);
        self.health.finish();
        followed
    }

    fn is_dead(&self) -> bool {
        self.verdicts.last().is_some_and(|(_, dead)| *dead)
    }

    /// What the driver does when it wakes up.
    fn wake(&mut self) {
        let now = Instant(self.now);
        while let Some((&(at, seq), &from)) = self.coming.first_key_value() {
            if at > self.now {
                break;
            }
            self.coming.remove(&(at, seq));
            self.health.handle(now, Event::Answer(PATH, from, seq));
        }
        self.health.handle(now, Event::Read);
        while let Some(index) = self.health.next_sample(now) {
            assert_eq!(index, PATH.index);
            self.count();
            self.health
                .handle(now, Event::Traffic(index, Some(self.counters)));
        }
        while let Some((path, dead)) = self.health.next_change(now) {
            assert_eq!(path, PATH);
            self.verdicts.push((self.now, dead));
        }
        while let Some(probe) = self.health.next_probe(now) {
            assert_eq!(probe.path, PATH);
            self.sent.push((self.now, probe.to));
            self.counters.sent += 1;
            if let Some(delay) = (self.network)(self.now, probe.to) {
                self.coming.insert((self.now + delay, probe.seq), probe.to);
            }
        }
        assert!(self.health.deadline() > now, "it spins");
    }

    /// Moves the counters on, a millisecond at a time.
    fn count(&mut self) {
        for at in self.counted_at..self.now {
            let (received, sent) = (self.traffic)(at);
            self.counters.received += u64::from(received > 0 && at % (1000 / received) == 0);
            self.counters.sent += u64::from(sent > 0 && at % (1000 / sent) == 0);
        }
        self.counters.received_bytes = self.counters.received * 1000;
        self.counted_at = self.now;
    }

    /// Runs for so many milliseconds, waking up when it has to.
    fn run(&mut self, span: u64) {
        let end = self.now + span;
        loop {
            self.wake();
            let answer = self.coming.keys().next().map_or(u64::MAX, |(at, _)| *at);
            let next = self.health.deadline().0.min(answer);
            if next >= end {
                break;
            }
            self.now = next;
        }
        self.now = end;
    }

    /// Sleeps through what would have woken it.
    fn stop(&mut self, span: u64) {
        self.now += span;
    }

    /// Milliseconds from `start` to each verdict.
    fn verdicts_since(&self, start: u64) -> Vec<(u64, bool)> {
        let later = self.verdicts.iter().filter(|(at, _)| *at >= start);
        later.map(|(at, dead)| (at - start, *dead)).collect()
    }

    fn figures(&self) -> Figures {
        *self.health.figures(PATH).expect("a path")
    }
}

fn all_answer(_: u64, _: IpAddr) -> Option<u64> {
    Some(20)
}

fn none_answer(_: u64, _: IpAddr) -> Option<u64> {
    None
}

#[test]
fn a_path_that_answers_costs_a_probe_for_each_interval() {
    let mut world = World::new(&track(&[FIRST, OTHER_FAMILY, SECOND]), all_answer);
    world.run(100_000);
    assert_eq!(world.verdicts, []);
    assert!(
        (20..=22).contains(&world.sent.len()),
        "{}",
        world.sent.len()
    );
    assert!(world.sent.iter().all(|(_, to)| *to == FIRST));
    for pair in world.sent.windows(2) {
        let interval = pair[1].0 - pair[0].0;
        assert!((4750..=5250).contains(&interval), "{interval}");
    }
    let gaps: Vec<_> = world
        .sent
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert!(
        gaps.iter().min() != gaps.iter().max(),
        "no jitter: {gaps:?}"
    );
    let figures = world.figures();
    assert_eq!((figures.latency, figures.loss()), (20, Some(0)));
}

#[test]
fn a_family_that_is_not_tracked_is_not_probed() {
    let mut world = World::new(&track(&[OTHER_FAMILY]), all_answer);
    assert!(!world.follow(&track(&[OTHER_FAMILY])));
    world.run(100_000);
    assert_eq!(
        (world.sent.len(), world.health.deadline()),
        (0, Instant::NEVER)
    );
}

#[test]
fn a_silent_path_is_dead_soon_after_the_first_doubt() {
    for (down, addresses, latest) in [
        (1, &[FIRST][..], 1000),
        (3, &[FIRST], 1700),
        (10, &[FIRST], 2500),
        (1, &[FIRST, SECOND, THIRD], 1600),
        (3, &[FIRST, SECOND, THIRD], 1800),
        (10, &[FIRST, SECOND, THIRD], 2500),
    ] {
        let track = Track {
            down,
            ..track(addresses)
        };
        let mut world = World::new(&track, none_answer);
        world.run(20_000);
        let [(at, true)] = world.verdicts_since(1_000_000)[..] else {
            panic!("{down}: {:?}", world.verdicts)
        };
        assert!((1000..=latest).contains(&at), "{down}: dead after {at} ms");
        // And with the interval before it, it is known within that and two seconds.
        let mut world = World::new(&track, |now, _| (now < 1_100_000).then_some(20));
        world.run(200_000);
        let [(at, true)] = world.verdicts_since(1_100_000)[..] else {
            panic!("{down}: {:?}", world.verdicts)
        };
        assert!(at <= 5250 + latest, "{down}: dead after {at} ms");
    }
}

#[test]
fn losses_that_are_no_row_mean_nothing() {
    // One in ten, thrice as long as the losses that a verdict takes.
    let mut world = World::new(&track(&[FIRST]), |now, _| {
        (now / 130 % 10 != 0).then_some(300)
    });
    world.run(3_600_000);
    assert_eq!(world.verdicts, []);
    assert!(world.figures().loss() < Some(50));
}

#[test]
fn slow_answers_are_answers() {
    for delay in [300u64, 600, 990] {
        let network: Network = match delay {
            300 => |_, _| Some(300),
            600 => |_, _| Some(600),
            _ => |_, _| Some(990),
        };
        let mut world = World::new(&track(&[FIRST]), network);
        world.run(600_000);
        assert_eq!(world.verdicts, [], "{delay}");
        // From the second on it is known how slow they are.
        assert!(world.sent.len() <= 125, "{delay}: {}", world.sent.len());
        assert_eq!(u64::from(world.figures().latency), delay);
    }
    let mut world = World::new(&track(&[FIRST]), |_, _| Some(1200));
    world.run(10_000);
    assert!(world.is_dead());
    let patient = Track {
        timeout: 2,
        ..track(&[FIRST])
    };
    let mut world = World::new(&patient, |_, _| Some(1200));
    world.run(100_000);
    assert_eq!(world.verdicts, []);
}

#[test]
fn it_is_back_after_so_many_answers() {
    for up in [1, 2, 10] {
        let track = Track {
            up,
            ..track(&[FIRST])
        };
        let mut world = World::new(&track, |now, _| (now >= 1_030_000).then_some(20));
        world.run(60_000);
        let [(at, false)] = world.verdicts_since(1_030_000)[..] else {
            panic!("{up}: {:?}", world.verdicts)
        };
        assert!(at <= 5250 + u64::from(up) * 120, "{up}: back after {at} ms");
        let answered = world
            .sent
            .iter()
            .filter(|(sent, _)| (1_030_000..1_030_000 + at).contains(sent));
        assert_eq!(answered.count(), up as usize);
    }
}

#[test]
fn a_loss_among_the_answers_keeps_it_dead() {
    // Of two probes one is answered.
    let mut world = World::new(&track(&[FIRST]), |now, _| {
        (now >= 1_030_000 && now / 110 % 2 == 0).then_some(20)
    });
    world.run(29_000);
    assert!(world.is_dead());
    let sent = world.sent.len();
    world.network = none_answer;
    world.run(50_000);
    assert!(world.is_dead());
    // A dead path costs a probe for each interval as well.
    assert!(world.sent.len() - sent <= 11, "{}", world.sent.len() - sent);
}

#[test]
fn who_comes_and_goes_has_to_answer_for_longer_each_time() {
    // 40 seconds there, 10 not.
    let mut world = World::new(&track(&[FIRST]), |now, _| {
        (now % 50_000 >= 10_000).then_some(20)
    });
    world.run(300_000);
    let mut waits = Vec::new();
    for pair in world.verdicts.windows(2) {
        if let [(_, true), (back, false)] = pair {
            waits.push(back % 50_000 - 10_000);
        }
    }
    assert!(waits[0] < 5500, "the first return is believed: {waits:?}");
    assert!(waits[1] >= 5000, "{waits:?}");
    assert!(waits[2] >= 10_000, "{waits:?}");
    assert!(waits[3] >= 20_000, "{waits:?}");
    // Once it has been there for a minute all is forgotten.
    world.network = all_answer;
    world.run(200_000);
    let start = world.now;
    world.network = none_answer;
    world.run(10_000);
    world.network = all_answer;
    world.run(10_000);
    let [(_, true), (at, false)] = world.verdicts_since(start)[..] else {
        panic!("{:?}", world.verdicts_since(start))
    };
    assert!(at < 15_500, "{at}");
}

#[test]
fn as_many_must_answer_as_is_asked_for() {
    for (reliability, answering, dead) in [
        (1, 1, false),
        (2, 1, true),
        (2, 2, false),
        (3, 2, true),
        (3, 3, false),
        // All there are.
        (8, 3, false),
    ] {
        let track = Track {
            reliability,
            ..track(&[FIRST, SECOND, THIRD])
        };
        // The last ones are those that answer.
        let network: Network = match answering {
            1 => |_, to| (to == THIRD).then_some(20),
            2 => |_, to| (to != FIRST).then_some(20),
            _ => all_answer,
        };
        let mut world = World::new(&track, network);
        world.run(100_000);
        assert_eq!(world.is_dead(), dead, "{reliability} of {answering}");
        if !dead {
            // Those that answered are the ones to be asked again.
            let end = world.sent.len() - reliability.min(3) as usize * 5;
            assert_eq!(world.verdicts, []);
            assert!(
                world.sent[end..]
                    .iter()
                    .all(|(at, to)| (world.network)(*at, *to).is_some()),
                "{reliability} of {answering}"
            );
        }
    }
}

#[test]
fn a_daemon_that_was_stopped_judges_nothing() {
    // Stopped at each moment of the first seconds, in which answers come or do not.
    for network in [all_answer as Network, none_answer] {
        for before in (0..1600).step_by(50) {
            let mut world = World::new(&track(&[FIRST]), all_answer);
            world.run(20_000);
            world.network = network;
            world.run(before);
            let verdicts = world.verdicts.len();
            world.stop(10_000);
            // What it finds when it is back, before anything is sent that could be answered.
            world.network = all_answer;
            world.run(60_000);
            let news = world.verdicts.split_off(verdicts);
            assert_eq!(news, [], "stopped after {before} ms");
        }
    }
}

#[test]
fn a_starved_daemon_judges_nothing() {
    // It always comes 300 ms late.
    let mut world = World::new(&track(&[FIRST]), |now, _| (now % 3 == 0).then_some(20));
    for _ in 0..2000 {
        world.wake();
        let answer = world.coming.keys().next().map_or(u64::MAX, |(at, _)| *at);
        world.now = world.health.deadline().0.min(answer) + 300;
    }
    assert_eq!(world.verdicts, []);
}

#[test]
fn answers_that_wait_in_the_socket_count_before_timeouts() {
    let mut world = World::new(&track(&[FIRST]), |_, _| Some(950));
    world.run(30_000);
    for _ in 0..100 {
        // Awake at the very end of the timeout only.
        world.wake();
        world.now = world.health.deadline().0.max(world.now + 1000);
    }
    assert_eq!(world.verdicts, []);
    assert_eq!(world.figures().loss(), Some(0));
}

/// A transfer until this moment, which is in the middle of one of the sampled windows.
const DEATH: u64 = 1_030_077;

#[test]
fn the_silence_of_a_busy_interface_is_noticed_at_once() {
    let down: fn(u64) -> (u64, u64) = |now| if now < DEATH { (300, 100) } else { (0, 5) };
    let download: fn(u64) -> (u64, u64) = |now| if now < DEATH { (300, 100) } else { (0, 0) };
    let upload: fn(u64) -> (u64, u64) = |now| if now < DEATH { (40, 80) } else { (0, 5) };
    for traffic in [down, download, upload] {
        let network: Network = |now, _| (now < DEATH).then_some(20);
        let mut world = World::new(&track(&[FIRST]), network);
        world.traffic = traffic;
        world.run(60_000);
        let [(at, true)] = world.verdicts_since(DEATH)[..] else {
            panic!("{:?}", world.verdicts)
        };
        assert!(at <= 1500, "dead after {at} ms");
    }
}

#[test]
fn what_is_sent_without_an_answer_brings_a_probe_forward() {
    let track = Track {
        interval: 60,
        ..track(&[FIRST])
    };
    let mut world = World::new(&track, |now, _| (now < 1_070_000).then_some(20));
    world.traffic = |now| if now < 1_075_000 { (0, 0) } else { (0, 10) };
    world.run(110_000);
    let [(at, true)] = world.verdicts_since(1_070_000)[..] else {
        panic!("{:?}", world.verdicts)
    };
    // The next would have gone 47 seconds later at the earliest.
    assert!(at <= 30_000, "dead after {at} ms");
}

#[test]
fn the_end_of_a_transfer_costs_one_probe() {
    let mut world = World::new(&track(&[FIRST]), all_answer);
    // For two seconds of each ten.
    world.traffic = |now| {
        if now % 10_000 < 2000 {
            (300, 100)
        } else {
            (0, 0)
        }
    };
    world.run(100_000);
    assert_eq!(world.verdicts, []);
    assert!(world.sent.len() <= 35, "{}", world.sent.len());
}

#[test]
fn chatter_that_nobody_answers_costs_little() {
    let mut world = World::new(&track(&[FIRST]), all_answer);
    world.traffic = |_| (0, 10);
    world.run(100_000);
    assert_eq!(world.verdicts, []);
    assert!(world.sent.len() <= 41, "{}", world.sent.len());
}

#[test]
fn much_that_arrives_puts_probes_off_for_a_while() {
    let mut world = World::new(&track(&[FIRST]), all_answer);
    world.traffic = |_| (300, 100);
    world.run(300_000);
    assert!((9..=12).contains(&world.sent.len()), "{}", world.sent.len());
    // A neighbour's broadcasts are no sign of life: a kilobyte each, ten in a second.
    let network: Network = |now, _| (now < 1_030_000).then_some(20);
    let mut world = World::new(&track(&[FIRST]), network);
    world.traffic = |_| (10, 0);
    world.run(60_000);
    let [(at, true)] = world.verdicts_since(1_030_000)[..] else {
        panic!("{:?}", world.verdicts)
    };
    assert!(at <= 7000, "dead after {at} ms");
    // And even a flood of them does not keep a dead path alive.
    let mut world = World::new(&track(&[FIRST]), network);
    world.traffic = |_| (300, 0);
    world.run(100_000);
    assert!(world.is_dead());
}

#[test]
fn without_counters_there_are_only_probes() {
    let mut world = World::new(&track(&[FIRST]), all_answer);
    let index = world.health.next_sample(Instant(world.now)).expect("one");
    let none = Event::Traffic(index, None);
    world.health.handle(Instant(world.now), none);
    assert_eq!(world.health.next_sample(Instant(world.now + 100_000)), None);
    world.run(100_000);
    assert!((20..=22).contains(&world.sent.len()));
}

#[test]
fn who_cannot_send_judges_nothing_and_tries_again() {
    let mut world = World::new(&track(&[FIRST]), none_answer);
    for _ in 0..100 {
        let now = Instant(world.now);
        world.health.handle(now, Event::Read);
        let mut tries = 0;
        while let Some(probe) = world.health.next_probe(now) {
            tries += 1;
            world.health.handle(now, Event::Blind(probe.path));
        }
        assert!(tries <= 1);
        assert_eq!(world.health.next_change(Instant(world.now)), None);
        world.now += 1000;
    }
    assert_eq!(world.figures().loss(), None);
    world.network = none_answer;
    world.run(20_000);
    assert!(world.is_dead(), "once they can be sent they count");
}

#[test]
fn answers_of_others_are_none() {
    let mut world = World::new(&track(&[FIRST]), none_answer);
    let now = Instant(world.now);
    let probe = world.health.next_probe(now).expect("a probe");
    let other = Key {
        index: IfIndex(3),
        ..PATH
    };
    for event in [
        Event::Answer(other, FIRST, probe.seq),
        Event::Answer(PATH, SECOND, probe.seq),
        Event::Answer(PATH, FIRST, probe.seq.wrapping_add(8)),
        Event::Answer(PATH, FIRST, probe.seq.wrapping_add(1)),
    ] {
        world.health.handle(now, event);
        assert_eq!(world.figures().loss(), None, "{event:?}");
    }
    world
        .health
        .handle(now, Event::Answer(PATH, FIRST, probe.seq));
    assert_eq!(world.figures().loss(), Some(0));
}

#[test]
fn a_reload_keeps_the_verdict() {
    let mut world = World::new(&track(&[FIRST]), none_answer);
    world.run(20_000);
    assert!(world.is_dead());
    assert!(world.follow(&track(&[FIRST])));
    assert!(world.follow(&Track {
        interval: 7,
        ..track(&[SECOND])
    }));
    assert_eq!(world.health.next_change(Instant(world.now)), None);
    world.run(20_000);
    assert_eq!(world.verdicts.len(), 1);
    world.network = all_answer;
    world.run(20_000);
    assert_eq!(world.verdicts.len(), 2);
    assert_eq!(world.sent.last().expect("one").1, SECOND);
}

#[test]
fn a_path_that_was_dead_starts_dead() {
    let mut world = World::new(&track(&[FIRST]), none_answer);
    world.run(20_000);
    // Its carrier goes, and comes back.
    world.health.begin(true);
    world.health.finish();
    assert!(!world.health.follows(PATH));
    assert_eq!(world.health.deadline(), Instant::NEVER);
    world.follow(&track(&[FIRST]));
    world.network = all_answer;
    let start = world.now;
    world.run(1000);
    let [(at, false)] = world.verdicts_since(start)[..] else {
        panic!("{:?}", world.verdicts)
    };
    assert!(at <= 150, "{at}");
}

/// The first packets over a link that has just come up are often lost.
#[test]
fn what_may_be_back_is_not_asked_only_once() {
    let seldom = Track {
        interval: 600,
        ..track(&[FIRST])
    };
    for link_is_seen_down in [false, true] {
        let mut world = World::new(&seldom, |now, _| (now >= 2_000_050).then_some(20));
        world.run(999_500);
        assert!(world.is_dead());
        world.now = 2_000_000;
        if link_is_seen_down {
            world.health.begin(true);
            world.health.finish();
            world.follow(&seldom);
        } else {
            world.health.restart(Instant(world.now), PATH);
        }
        world.run(5000);
        let [(at, false)] = world.verdicts_since(2_000_000)[..] else {
            panic!("{link_is_seen_down}: {:?}", world.verdicts)
        };
        assert!(at <= 350, "{link_is_seen_down}: {at}");
    }
    // If it is not, it is asked as often as ever.
    let mut world = World::new(&seldom, none_answer);
    world.run(999_500);
    let before = world.sent.len();
    world.health.restart(Instant(world.now), PATH);
    world.run(500_000);
    assert_eq!(world.sent.len() - before, 3);
}
