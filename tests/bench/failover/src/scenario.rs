//! What befalls the connections.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{Lab, address};
use crate::traffic::Rate;

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    pub uplinks: usize,
    pub connections: usize,
    /// The uplinks whose use again is waited for: any of them.
    pub affected: &'static [usize],
    run: fn(&Lab) -> io::Result<Marks>,
}

/// When it happened.
pub struct Marks {
    pub away: Instant,
    /// When the way was free again; times to recovery count from here.
    pub back: Instant,
    /// Gaps that begin later belong to the return.
    pub split: Instant,
}

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "S1",
        what: "fibre without carrier 10 s, addresses and routes stay",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| outage(lab, &[0], ms(10_000), ms(8_000)),
    },
    Scenario {
        name: "S1n",
        what: "the same, and the address is removed and given back",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| {
            let away = Instant::now();
            lab.carrier(0, false)?;
            lab.configure(0, false, false)?;
            sleep(ms(10_000));
            lab.carrier(0, true)?;
            lab.configure(0, false, true)?;
            Ok(returned(lab, away, ms(8_000)))
        },
    },
    Scenario {
        name: "S2",
        what: "fibre blackholed upstream 10 s",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| blackhole(lab, ms(10_000), ms(20_000)),
    },
    Scenario {
        name: "S2l",
        what: "fibre blackholed upstream 60 s",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| blackhole(lab, ms(60_000), ms(30_000)),
    },
    Scenario {
        name: "S4-initial",
        what: "the initial subflow is reset",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| {
            lab.watch();
            lab.controls[0].reset_one();
            Ok(happened(ms(8_000)))
        },
    },
    Scenario {
        name: "S4-joined",
        what: "the joined subflow is reset",
        uplinks: 2,
        connections: 1,
        affected: &[1],
        run: |lab| {
            lab.watch();
            lab.controls[1].reset_one();
            Ok(happened(ms(8_000)))
        },
    },
    Scenario {
        name: "S4-middlebox",
        what: "a middlebox of the fibre resets whatever comes for 2 s",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| {
            let away = Instant::now();
            lab.controls[0].reset_all(true);
            sleep(ms(2_000));
            lab.controls[0].reset_all(false);
            Ok(returned(lab, away, ms(10_000)))
        },
    },
    Scenario {
        name: "S5",
        what: "the fibre gets another address and gateway",
        uplinks: 2,
        connections: 1,
        affected: &[0],
        run: |lab| {
            lab.configure(0, false, false)?;
            lab.traffic.lock().wanted[0] = address(0, true);
            lab.configure(0, true, true)?;
            lab.watch();
            Ok(happened(ms(8_000)))
        },
    },
    Scenario {
        name: "S6",
        what: "the fibre's carrier flaps ten times in 5 s",
        uplinks: 2,
        connections: 1,
        affected: &[0],
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
    },
    Scenario {
        name: "S9",
        what: "200 connections, fibre without carrier 8 s",
        uplinks: 2,
        connections: 200,
        affected: &[0],
        run: |lab| outage(lab, &[0], ms(8_000), ms(8_000)),
    },
    Scenario {
        name: "S11",
        what: "connection opened while the LTE gateway answers nothing, ARP included, for 5 s",
        uplinks: 2,
        connections: 0,
        affected: &[1],
        run: |lab| {
            let away = Instant::now();
            lab.silence(1, true)?;
            lab.open(1)?;
            // The kernel gives up looking for the gateway, and with that the join, after 3 s.
            sleep(ms(5_000));
            lab.silence(1, false)?;
            Ok(returned(lab, away, ms(65_000)))
        },
    },
    Scenario {
        name: "S12-two-1.2",
        what: "both uplinks without carrier 1.2 s",
        uplinks: 2,
        connections: 1,
        affected: &[0, 1],
        run: |lab| outage(lab, &[0, 1], ms(1_200), ms(15_000)),
    },
    Scenario {
        name: "S12-two-3",
        what: "both uplinks without carrier 3 s",
        uplinks: 2,
        connections: 1,
        affected: &[0, 1],
        run: |lab| outage(lab, &[0, 1], ms(3_000), ms(15_000)),
    },
    Scenario {
        name: "S12-one-1.2",
        what: "the only uplink without carrier 1.2 s",
        uplinks: 1,
        connections: 1,
        affected: &[0],
        run: |lab| outage(lab, &[0], ms(1_200), ms(15_000)),
    },
    Scenario {
        name: "S12-one-3",
        what: "the only uplink without carrier 3 s",
        uplinks: 1,
        connections: 1,
        affected: &[0],
        run: |lab| outage(lab, &[0], ms(3_000), ms(15_000)),
    },
];

impl Scenario {
    pub fn rate(&self) -> Rate {
        match self.connections {
            // 4 Mbit/s down, 1 Mbit/s up.
            0 | 1 => Rate {
                every: ms(20),
                down: 10_000,
                up: 2_500,
            },
            _ => Rate {
                every: ms(200),
                down: 400,
                up: 100,
            },
        }
    }

    pub fn run(&self, lab: &Lab) -> io::Result<Marks> {
        (self.run)(lab)
    }
}

fn ms(count: u64) -> Duration {
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
