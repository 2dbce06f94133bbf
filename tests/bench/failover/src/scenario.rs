// SPDX-License-Identifier: BSD-3-Clause
//! What befalls the connections.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Network, address};
use crate::traffic::Rate;

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub network: Network,
    pub rate: Rate,
    /// Those that exist when it begins.
    pub connections: usize,
    /// The uplinks whose use again is waited for: any of them.
    pub affected: &'static [usize],
    pub run: fn(&Lab) -> io::Result<Marks>,
}

/// When it happened.
pub struct Marks {
    pub away: Instant,
    /// When the way was free again; times to recovery count from here.
    pub back: Instant,
    /// Gaps that begin later belong to the return.
    pub split: Instant,
}

/// 4 Mbit/s down, 1 Mbit/s up.
const STREAM: Rate = Rate {
    every: ms(20),
    down: 10_000,
    up: 2_500,
};

/// For many connections at once.
const TRICKLE: Rate = Rate {
    every: ms(200),
    down: 400,
    up: 100,
};

/// What the scenarios have in common.
const USUAL: Scenario = Scenario {
    name: "",
    what: "",
    network: Network {
        uplinks: 2,
        backup: false,
        two_servers: false,
        poor: false,
    },
    rate: STREAM,
    connections: 1,
    affected: &[0],
    run: |_| Ok(happened(ms(0))),
};

const ONE: Network = Network {
    uplinks: 1,
    ..USUAL.network
};
const BACKUP: Network = Network {
    backup: true,
    ..USUAL.network
};
const TWO_SERVERS: Network = Network {
    two_servers: true,
    poor: false,
    ..USUAL.network
};

/// In the scenarios that outlast it, so that they need not last a minute.
const CLOSE_TIMEOUT: u32 = 5;
/// Longer than that.
const LONG: Duration = ms(8_000);

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "S0",
        what: "a new connection",
        connections: 0,
        affected: &[1],
        run: |lab| {
            lab.watch();
            lab.open(1, ms(0))?;
            Ok(happened(ms(6_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S1",
        what: "fibre without carrier 10 s, addresses and routes stay",
        run: |lab| outage(lab, &[0], ms(10_000), ms(8_000)),
        ..USUAL
    },
    Scenario {
        name: "S1n",
        what: "the same, and the address is removed and given back",
        run: |lab| {
            let away = Instant::now();
            lab.carrier(0, false)?;
            lab.configure(0, false, false)?;
            sleep(ms(10_000));
            lab.carrier(0, true)?;
            lab.configure(0, false, true)?;
            Ok(returned(lab, away, ms(8_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S2",
        what: "fibre blackholed upstream 10 s",
        run: |lab| blackhole(lab, ms(10_000), ms(20_000)),
        ..USUAL
    },
    Scenario {
        name: "S2l",
        what: "fibre blackholed upstream 60 s",
        // The kernel tries the path again up to a minute later, and only then comes the stall.
        run: |lab| blackhole(lab, ms(60_000), ms(120_000)),
        ..USUAL
    },
    Scenario {
        name: "S2a",
        what: "both blackholed upstream 10 s",
        affected: &[0, 1],
        run: |lab| {
            let away = Instant::now();
            (0..2).for_each(|n| lab.blackhole(n, true));
            sleep(ms(10_000));
            (0..2).for_each(|n| lab.blackhole(n, false));
            Ok(returned(lab, away, ms(20_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S4-initial",
        what: "the initial subflow is reset",
        run: |lab| {
            lab.watch();
            lab.controls[0].reset_one();
            Ok(happened(ms(8_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S4-joined",
        what: "the joined subflow is reset",
        affected: &[1],
        run: |lab| {
            lab.watch();
            lab.controls[1].reset_one();
            Ok(happened(ms(8_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S4-middlebox",
        what: "a middlebox of the fibre resets whatever comes for 2 s",
        run: |lab| {
            let away = Instant::now();
            lab.controls[0].reset_all(true);
            sleep(ms(2_000));
            lab.controls[0].reset_all(false);
            Ok(returned(lab, away, ms(10_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S5",
        what: "the fibre gets another address and gateway",
        run: |lab| {
            lab.configure(0, false, false)?;
            lab.traffic.lock().wanted[0] = address(0, true);
            lab.configure(0, true, true)?;
            lab.watch();
            Ok(happened(ms(8_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S6",
        what: "the fibre's carrier flaps ten times in 5 s",
        run: |lab| {
            let away = Instant::now();
            for _ in 0..10 {
                lab.carrier(0, false)?;
                sleep(ms(250));
                lab.carrier(0, true)?;
                sleep(ms(250));
            }
            Ok(returned(lab, away, ms(8_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S7",
        what: "LTE is backup, fibre without carrier 10 s",
        network: BACKUP,
        run: |lab| outage(lab, &[0], ms(10_000), ms(12_000)),
        ..USUAL
    },
    Scenario {
        name: "S7b",
        what: "LTE is backup, fibre blackholed upstream 10 s",
        network: BACKUP,
        run: |lab| blackhole(lab, ms(10_000), ms(20_000)),
        ..USUAL
    },
    Scenario {
        name: "S8",
        what: "49 new connections while the fibre is without carrier 10 s; addresses and routes stay",
        rate: TRICKLE,
        connections: 0,
        run: |lab| {
            let away = Instant::now();
            lab.carrier(0, false)?;
            lab.open(49, ms(200))?;
            sleep(ms(1_000));
            lab.carrier(0, true)?;
            Ok(returned(lab, away, ms(10_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S8b",
        what: "49 new connections while the fibre is blackholed upstream 10 s",
        rate: TRICKLE,
        connections: 0,
        run: |lab| opened_in_vain(lab, 49, ms(200)),
        ..USUAL
    },
    Scenario {
        name: "S8bl",
        what: "149 new connections while the fibre is blackholed upstream 60 s",
        rate: TRICKLE,
        connections: 0,
        run: |lab| opened_in_vain(lab, 149, ms(400)),
        ..USUAL
    },
    Scenario {
        name: "S8c",
        what: "49 new connections while the fibre, used by ten, is blackholed upstream 10 s",
        rate: TRICKLE,
        connections: 10,
        run: |lab| opened_in_vain(lab, 49, ms(200)),
        ..USUAL
    },
    Scenario {
        name: "S9",
        what: "200 connections, fibre without carrier 8 s",
        rate: TRICKLE,
        connections: 200,
        run: |lab| outage(lab, &[0], ms(8_000), ms(20_000)),
        ..USUAL
    },
    Scenario {
        name: "S10b",
        what: "five new connections with a server that has two links and announces both addresses",
        network: TWO_SERVERS,
        rate: TRICKLE,
        connections: 0,
        affected: &[],
        run: |lab| {
            lab.open(5, ms(0))?;
            Ok(happened(ms(8_000)))
        },
    },
    Scenario {
        name: "S10c",
        what: "that server's first link without carrier 8 s",
        network: TWO_SERVERS,
        affected: &[],
        run: |lab| {
            let away = Instant::now();
            lab.server_carrier(0, false)?;
            sleep(ms(8_000));
            lab.server_carrier(0, true)?;
            Ok(returned(lab, away, ms(12_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S11",
        what: "connection opened while the LTE gateway answers nothing, ARP included, for 5 s",
        connections: 0,
        affected: &[1],
        run: |lab| {
            let away = Instant::now();
            lab.silence(1, true)?;
            lab.open(1, ms(0))?;
            // The kernel gives up looking for the gateway, and with that the join, after 3 s.
            sleep(ms(5_000));
            lab.silence(1, false)?;
            Ok(returned(lab, away, ms(65_000)))
        },
        ..USUAL
    },
    Scenario {
        name: "S12-two-1.2",
        what: "both uplinks without carrier 1.2 s",
        affected: &[0, 1],
        run: |lab| outage(lab, &[0, 1], ms(1_200), ms(15_000)),
        ..USUAL
    },
    Scenario {
        name: "S12-two-3",
        what: "both uplinks without carrier 3 s",
        affected: &[0, 1],
        run: |lab| outage(lab, &[0, 1], ms(3_000), ms(15_000)),
        ..USUAL
    },
    Scenario {
        name: "S12-two-long",
        what: "both uplinks without carrier 8 s, close_timeout is 5 s",
        affected: &[0, 1],
        run: |lab| {
            lab.close_timeout(CLOSE_TIMEOUT)?;
            outage(lab, &[0, 1], LONG, ms(20_000))
        },
        ..USUAL
    },
    Scenario {
        name: "S12-one-1.2",
        what: "the only uplink without carrier 1.2 s",
        network: ONE,
        run: |lab| outage(lab, &[0], ms(1_200), ms(15_000)),
        ..USUAL
    },
    Scenario {
        name: "S12-one-3",
        what: "the only uplink without carrier 3 s",
        network: ONE,
        run: |lab| outage(lab, &[0], ms(3_000), ms(15_000)),
        ..USUAL
    },
    Scenario {
        name: "S12-one-long",
        what: "the only uplink without carrier 8 s, close_timeout is 5 s",
        network: ONE,
        run: |lab| {
            lab.close_timeout(CLOSE_TIMEOUT)?;
            outage(lab, &[0], LONG, ms(20_000))
        },
        ..USUAL
    },
    Scenario {
        name: "S13-first",
        what: "the only uplink without carrier 8 s, its address is removed first, another one comes \
               with the carrier; close_timeout is 5 s",
        network: ONE,
        run: |lab| renumbering(lab, true),
        ..USUAL
    },
    Scenario {
        name: "S13-last",
        what: "the same, and the old address is removed when the new one is there",
        network: ONE,
        run: |lab| renumbering(lab, false),
        ..USUAL
    },
];

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The way has just become free again: watches what becomes of it.
fn returned(lab: &Lab, away: Instant, observe: Duration) -> Marks {
    lab.watch();
    let back = Instant::now();
    sleep(observe);
    Marks {
        away,
        back,
        split: back,
    }
}

/// Something happened that is over at once.
fn happened(observe: Duration) -> Marks {
    let away = Instant::now();
    sleep(observe);
    Marks {
        away,
        back: away,
        split: away + ms(5_000),
    }
}

fn outage(lab: &Lab, uplinks: &[usize], long: Duration, observe: Duration) -> io::Result<Marks> {
    let away = Instant::now();
    uplinks.iter().try_for_each(|&n| lab.carrier(n, false))?;
    sleep(long);
    uplinks.iter().try_for_each(|&n| lab.carrier(n, true))?;
    Ok(returned(lab, away, observe))
}

fn blackhole(lab: &Lab, long: Duration, observe: Duration) -> io::Result<Marks> {
    let away = Instant::now();
    lab.blackhole(0, true);
    sleep(long);
    lab.blackhole(0, false);
    Ok(returned(lab, away, observe))
}

/// New connections while the fibre leads nowhere.
fn opened_in_vain(lab: &Lab, count: usize, every: Duration) -> io::Result<Marks> {
    let away = Instant::now();
    lab.blackhole(0, true);
    lab.open(count, every)?;
    sleep(ms(1_000));
    lab.blackhole(0, false);
    Ok(returned(lab, away, ms(10_000)))
}

/// A PPPoE session that ends and comes back with another address, after which or before which the
/// old one is removed.
fn renumbering(lab: &Lab, removed_first: bool) -> io::Result<Marks> {
    lab.close_timeout(CLOSE_TIMEOUT)?;
    let away = Instant::now();
    lab.carrier(0, false)?;
    if removed_first {
        lab.configure(0, false, false)?;
    }
    sleep(LONG);
    lab.carrier(0, true)?;
    lab.traffic.lock().wanted[0] = address(0, true);
    lab.configure(0, true, true)?;
    if !removed_first {
        lab.configure(0, false, false)?;
    }
    Ok(returned(lab, away, ms(20_000)))
}
