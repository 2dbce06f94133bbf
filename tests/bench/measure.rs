// SPDX-License-Identifier: BSD-3-Clause
//! The measurements, one after the other; in each the two daemons take turns.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{self, Lab, PATIENCE, home_address};
use crate::process::{BOTH, CONFIG, Process, Programs, Which};
use crate::report::{Report, What, median};
use crate::size;
use crate::traffic::{Traffic, spare_address};

const MS: Duration = Duration::from_millis(1);

const START: What = ("exec to first endpoint, ms", 2, "≤ 0.6");
const START_CPU: What = ("CPU of start, ms", 2, "");
const START_CALLS: What = ("system calls of start", 0, "");
const STOP: What = ("SIGTERM to exit, ms", 2, "");
const STOP_CPU: What = ("CPU of stop, ms", 2, "");
const STOP_CALLS: What = ("system calls of stop", 0, "");
const ADD: What = ("address added to endpoint visible, µs", 0, "≤ 0.9");
const DELETE: What = ("address deleted to endpoint gone, µs", 0, "");
const CARRIER: What = ("carrier lost to endpoint gone, µs", 0, "");
const KERNEL_ADD: What = ("… of which the kernel needs to add an endpoint, µs", 0, "");
const KERNEL_DELETE: What = (
    "… of which the kernel needs to delete an endpoint, µs",
    0,
    "",
);
const KERNEL_CPU: What = ("… of which the kernel needs for the one command, µs", 0, "");
const EVENT_CPU: What = ("CPU per address event, 50 ms apart, µs", 0, "≤ 0.5");
const EVENT_CALLS: What = (
    "system calls per address event, 700 ms apart",
    1,
    "≤ 4 calls",
);
const STORM_CPU: What = ("CPU of a storm of 10,000 address events, ms", 0, "");
const STORM_CALLS: What = ("… system calls", 0, "");
const STORM_COMMANDS: What = ("… commands for endpoints and limits", 0, "≤ 50 commands");
const STORM_RIGHT: What = ("… end states that were right, %", 0, "100 %");
const REST_DIRTY: What = ("private dirty at rest, KiB", 0, "≤ 0.5");
const REST_PSS: What = ("PSS at rest, KiB", 0, "");
const REST_RSS: What = ("RSS at rest, KiB", 0, "");
const STORM_DIRTY: What = ("private dirty after the storm, KiB", 0, "≤ 0.5");
const STORM_PSS: What = ("PSS after the storm, KiB", 0, "");
const STORM_RSS: What = ("RSS after the storm, KiB", 0, "");
const DESCRIPTORS: What = ("file descriptors", 0, "");
const ADV_CPU: What = ("CPU per 1,000 connections, `addr_adv`, ms", 2, "0 ms");
const SSPI_CPU: What = ("CPU per 1,000 connections, `sspi`, ms", 2, "≤ 0.6");
/// The strategies that the C daemon does not have, measured where ours has been built with them.
const STRATEGIES_CPU: [(&str, What); 3] = [
    (
        "fullmesh",
        ("CPU per 1,000 connections, `fullmesh`, ms", 2, ""),
    ),
    (
        "failover",
        ("CPU per 1,000 connections, `failover`, ms", 2, ""),
    ),
    (
        "ndiffports",
        ("CPU per 1,000 connections, `ndiffports`, ms", 2, ""),
    ),
];
const SSPI_5000: What = ("private dirty after 5,000 connections, `sspi`, KiB", 0, "");
const SSPI_20000: What = ("private dirty after 20,000 connections, `sspi`, KiB", 0, "");
const SSPI_GROWTH: What = ("… growth, bytes per connection", 1, "0 bytes");
const SIZE: What = ("size on disk, all but the kernel, KiB", 0, "≤ 0.5");
const SIZE_OWN: What = ("size on disk without the C library, KiB", 0, "≤ 0.5");

type Measure = fn(&mut Bench) -> io::Result<()>;

pub struct Bench {
    pub programs: Programs,
    /// A directory for traces.
    pub work: PathBuf,
    pub repeats: usize,
    /// Small numbers, to see that it works.
    pub quick: bool,
    /// Only the measurement of this name.
    pub only: Option<String>,
    pub report: Report,
}

impl Bench {
    pub fn run(&mut self) -> io::Result<()> {
        if self.quick {
            let remark =
                "**Quick run: each once, and with fewer events and connections than stated.**";
            self.report.remarks.push(remark.to_owned());
        }
        let all: [(&str, Measure); 10] = [
            ("start", Self::start),
            ("start-calls", Self::start_calls),
            ("events", Self::events),
            ("carrier", Self::carrier),
            ("event-calls", Self::event_calls),
            ("storm", Self::storm),
            ("storm-calls", Self::storm_calls),
            ("connections", Self::connections),
            ("size", Self::size),
            ("growth", Self::growth),
        ];
        for (name, measure) in all {
            if self.only.as_deref().is_none_or(|only| only == name) {
                let start = Instant::now();
                measure(self).map_err(|error| io::Error::other(format!("{name}: {error}")))?;
                eprintln!("{name}: {:.0} s", start.elapsed().as_secs_f32());
            }
        }
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        for _ in 0..self.times(4 * self.repeats) {
            for which in BOTH {
                let mut lab = Lab::new()?;
                lab.links(2, "global")?;
                let start = Instant::now();
                let daemon = self.programs.start(which, "addr_adv")?;
                let seen = lab.await_endpoint(true, home_address(0), start, PATIENCE)?;
                self.report.add(START, which, milliseconds(must(seen)?));
                let cpu = daemon.settle(50 * MS);
                self.report.add(START_CPU, which, milliseconds(cpu));
                let total = daemon.stop()?;
                self.report.add(STOP, which, milliseconds(total.stopping));
                let stop = milliseconds(total.cpu.saturating_sub(cpu));
                self.report.add(STOP_CPU, which, stop);
            }
        }
        Ok(())
    }

    fn start_calls(&mut self) -> io::Result<()> {
        for which in BOTH {
            let (_lab, traced) = self.traced(which, false)?;
            let start = traced.settle(700 * MS)?;
            self.report.add(START_CALLS, which, start.system as f64);
            let stop = traced.stop()?.since(start);
            self.report.add(STOP_CALLS, which, stop.system as f64);
        }
        Ok(())
    }

    /// Single address events: latency and CPU, and what the kernel itself takes.
    fn events(&mut self) -> io::Result<()> {
        let count = if self.quick { 5 } else { 25 };
        for _ in 0..self.times(self.repeats) {
            for which in BOTH {
                let (mut lab, daemon) = self.started(which)?;
                self.single_events(&mut lab, &daemon, which, count)?;
                expect(&BTreeSet::from([home_address(0), home_address(1)]))?;
                daemon.stop()?;
                let relay = self.programs.start_relay(lab.family)?;
                self.single_events(&mut lab, &relay, Which::Relay, count)?;
                drop(relay);
                // The same commands without a daemon.
                for _ in 0..count {
                    let mut cpu = 0.0;
                    for (what, there) in [(KERNEL_ADD, true), (KERNEL_DELETE, false)] {
                        sleep(50 * MS);
                        let took = lab.change_endpoint(there, spare_address(0))?;
                        self.report.add(what, which, microseconds(took.passed));
                        cpu += microseconds(took.cpu) / 2.0;
                    }
                    self.report.add(KERNEL_CPU, which, cpu);
                }
            }
        }
        Ok(())
    }

    /// Addresses that come and go: how long until the endpoint follows, and the CPU for each.
    fn single_events(
        &mut self,
        lab: &mut Lab,
        process: &Process,
        which: Which,
        count: u32,
    ) -> io::Result<()> {
        let address = spare_address(0);
        let before = process.settle(100 * MS);
        for _ in 0..count {
            for (what, there) in [(ADD, true), (DELETE, false)] {
                let start = Instant::now();
                lab.address(there, address)?;
                let seen = lab.await_endpoint(there, address, start, PATIENCE)?;
                self.report.add(what, which, microseconds(must(seen)?));
                sleep(50 * MS);
            }
        }
        let cpu = process.settle(100 * MS) - before;
        let each = microseconds(cpu) / f64::from(2 * count);
        self.report.add(EVENT_CPU, which, each);
        Ok(())
    }

    fn carrier(&mut self) -> io::Result<()> {
        let limit = 2000 * MS;
        for _ in 0..self.times(self.repeats) {
            for which in BOTH {
                let (mut lab, daemon) = self.started(which)?;
                for _ in 0..if self.quick { 1 } else { 5 } {
                    let start = Instant::now();
                    lab.carrier(false)?;
                    let gone = lab.await_endpoint(false, home_address(0), start, limit)?;
                    let took = gone.map_or(f64::INFINITY, microseconds);
                    self.report.add(CARRIER, which, took);
                    lab.carrier(true)?;
                    if gone.is_none() {
                        break;
                    }
                    let start = Instant::now();
                    must(lab.await_endpoint(true, home_address(0), start, PATIENCE)?)?;
                    sleep(50 * MS);
                }
                daemon.stop()?;
            }
        }
        Ok(())
    }

    fn event_calls(&mut self) -> io::Result<()> {
        let count = if self.quick { 1 } else { 8 };
        for which in BOTH {
            let (mut lab, traced) = self.traced(which, false)?;
            let before = traced.settle(700 * MS)?;
            for _ in 0..count {
                for there in [true, false] {
                    lab.address(there, spare_address(0))?;
                    let start = Instant::now();
                    must(lab.await_endpoint(there, spare_address(0), start, PATIENCE)?)?;
                    sleep(700 * MS);
                }
            }
            let calls = traced.settle(700 * MS)?.since(before);
            let each = calls.system as f64 / f64::from(2 * count);
            self.report.add(EVENT_CALLS, which, each);
            traced.stop()?;
        }
        Ok(())
    }

    /// The changes of a storm, and which endpoints there should be after it: addresses come and go,
    /// and four stay.
    fn storm_changes(&self) -> (Vec<(bool, Ipv4Addr)>, BTreeSet<Ipv4Addr>) {
        let pairs = if self.quick { 498 } else { 4998 };
        let stay = (100..104).map(spare_address);
        let changes = (0..pairs)
            .map(|n| spare_address(n % 50))
            .flat_map(|address| [(true, address), (false, address)])
            .chain(stay.clone().map(|address| (true, address)));
        let addresses = [home_address(0), home_address(1)].into_iter();
        (changes.collect(), addresses.chain(stay).collect())
    }

    fn storm(&mut self) -> io::Result<()> {
        let (changes, right) = self.storm_changes();
        for _ in 0..self.times(self.repeats.min(5)) {
            for which in BOTH {
                let (mut lab, daemon) = self.started(which)?;
                let before = daemon.settle(100 * MS);
                let memory = daemon.memory()?;
                for (what, value) in [
                    (REST_DIRTY, memory.private_dirty),
                    (REST_PSS, memory.pss),
                    (REST_RSS, memory.rss),
                    (DESCRIPTORS, daemon.descriptors()? as f64),
                ] {
                    self.report.add(what, which, value);
                }
                lab.addresses(&changes)?;
                let cpu = daemon.settle(1000 * MS) - before;
                self.report.add(STORM_CPU, which, milliseconds(cpu));
                let is_right = lab::shown_endpoints()? == right;
                let share = if is_right { 100.0 } else { 0.0 };
                self.report.add(STORM_RIGHT, which, share);
                let memory = daemon.memory()?;
                for (what, value) in [
                    (STORM_DIRTY, memory.private_dirty),
                    (STORM_PSS, memory.pss),
                    (STORM_RSS, memory.rss),
                ] {
                    self.report.add(what, which, value);
                }
                daemon.stop()?;
            }
        }
        Ok(())
    }

    fn storm_calls(&mut self) -> io::Result<()> {
        let (changes, _) = self.storm_changes();
        for which in BOTH {
            for only_sending in [true, false] {
                let (mut lab, traced) = self.traced(which, only_sending)?;
                let before = traced.settle(700 * MS)?;
                lab.addresses(&changes)?;
                let calls = traced.settle(1000 * MS)?.since(before);
                let (what, count) = match only_sending {
                    true => (STORM_COMMANDS, calls.commands),
                    false => (STORM_CALLS, calls.system),
                };
                self.report.add(what, which, count as f64);
                traced.stop()?;
            }
        }
        Ok(())
    }

    /// CPU for connections, one after the other, and memory after many.
    fn connections(&mut self) -> io::Result<()> {
        let thousands = if self.quick { 1 } else { 3 };
        for _ in 0..self.times(self.repeats.min(5)) {
            let usual = [("addr_adv", ADV_CPU), ("sspi", SSPI_CPU)];
            for (plugin, what) in usual.into_iter().chain(STRATEGIES_CPU) {
                for which in self.programs.having(plugin) {
                    let (_lab, mut traffic, daemon) = self.with_traffic(which, plugin)?;
                    let before = daemon.settle(100 * MS);
                    traffic.connections(1000 * thousands, 1)?;
                    traffic.close()?;
                    let cpu = daemon.settle(200 * MS) - before;
                    let each = milliseconds(cpu) / thousands as f64;
                    self.report.add(what, which, each);
                    demand_nothing_lost()?;
                    daemon.stop()?;
                }
            }
        }
        let (some, many) = if self.quick {
            (500, 2000)
        } else {
            (5000, 20_000)
        };
        for which in self.programs.having("sspi") {
            let (_lab, mut traffic, daemon) = self.with_traffic(which, "sspi")?;
            let mut dirty = [0.0; 2];
            let steps = [(SSPI_5000, some), (SSPI_20000, many - some)];
            for ((what, count), dirty) in steps.into_iter().zip(&mut dirty) {
                traffic.connections(count, 1)?;
                traffic.close()?;
                daemon.settle(200 * MS);
                *dirty = daemon.memory()?.private_dirty;
                self.report.add(what, which, *dirty);
            }
            let growth = (dirty[1] - dirty[0]) * 1024.0 / (many - some) as f64;
            self.report.add(SSPI_GROWTH, which, growth);
            demand_nothing_lost()?;
            daemon.stop()?;
        }
        Ok(())
    }

    fn size(&mut self) -> io::Result<()> {
        for which in BOTH {
            let mut files = vec![self.programs.path(which).to_owned()];
            if which == Which::Peer {
                files.extend(size::plugins(CONFIG)?);
            }
            let (all, own) = size::on_disk(&files)?;
            self.report.add(SIZE, which, all as f64 / 1024.0);
            // What is linked statically cannot be taken out.
            self.report.add(SIZE_OWN, which, own as f64 / 1024.0);
        }
        Ok(())
    }

    /// How cost grows with interfaces and connections.
    fn growth(&mut self) -> io::Result<()> {
        let quick = self.quick;
        let interfaces: &[u32] = if quick { &[10, 100] } else { &[10, 100, 1000] };
        for size in interfaces {
            for which in BOTH {
                let (start, event) = self.with_interfaces(which, *size)?;
                let name = which.name();
                let what = format!("interfaces: CPU of start, {name}, ms");
                self.report.point(&what, 2, *size, start);
                let what = format!("interfaces: CPU per address event, {name}, µs");
                self.report.point(&what, 0, *size, event);
            }
        }
        let connections: &[u32] = match quick {
            true => &[100, 1000],
            false => &[100, 1000, 10_000, 50_000],
        };
        for size in connections {
            for which in self.programs.having("sspi") {
                let cpu = self.with_connections(which, *size, 1)?;
                let what = format!("connections one by one: CPU, {}, ms", which.name());
                self.report.point(&what, 1, *size, cpu);
            }
        }
        let connections: &[u32] = if quick {
            &[100, 1000]
        } else {
            &[100, 1000, 8000]
        };
        for size in connections {
            for which in self.programs.having("sspi") {
                let cpu = self.with_connections(which, *size, *size)?;
                let what = format!("connections at once: CPU, {}, ms", which.name());
                self.report.point(&what, 1, *size, cpu);
            }
        }
        Ok(())
    }

    /// Milliseconds of CPU to start, microseconds for an address event. The interfaces' addresses
    /// have the scope of a link, so that there is room for the one endpoint that comes and goes.
    fn with_interfaces(&mut self, which: Which, count: u32) -> io::Result<(f64, f64)> {
        let mut lab = Lab::new()?;
        lab.links(count, "link")?;
        let (mut starts, mut events) = (vec![], vec![]);
        for _ in 0..self.times(3) {
            let daemon = self.programs.start(which, "addr_adv")?;
            // Something to see when it is ready.
            lab.address(true, spare_address(1))?;
            let start = Instant::now();
            must(lab.await_endpoint(true, spare_address(1), start, PATIENCE)?)?;
            let before = daemon.settle(100 * MS);
            starts.push(milliseconds(before));
            let rounds = if self.quick { 3 } else { 15 };
            for _ in 0..rounds {
                for there in [true, false] {
                    lab.address(there, spare_address(0))?;
                    let start = Instant::now();
                    must(lab.await_endpoint(there, spare_address(0), start, PATIENCE)?)?;
                    sleep(10 * MS);
                }
            }
            let cpu = daemon.settle(100 * MS) - before;
            events.push(microseconds(cpu) / f64::from(2 * rounds));
            lab.address(false, spare_address(1))?;
            let start = Instant::now();
            must(lab.await_endpoint(false, spare_address(1), start, PATIENCE)?)?;
            daemon.stop()?;
        }
        Ok((median(&starts), median(&events)))
    }

    /// Milliseconds of CPU for connections of which `open` are open at a time.
    fn with_connections(&mut self, which: Which, count: u32, open: u32) -> io::Result<f64> {
        let mut times = vec![];
        let repeats = if count > 2000 { 1 } else { 3 };
        for _ in 0..self.times(repeats) {
            let (_lab, mut traffic, daemon) = self.with_traffic(which, "sspi")?;
            let before = daemon.settle(100 * MS);
            traffic.connections(count as usize, open as usize)?;
            traffic.close()?;
            times.push(milliseconds(daemon.settle(200 * MS) - before));
            demand_nothing_lost()?;
            daemon.stop()?;
        }
        Ok(median(&times))
    }

    fn times(&self, repeats: usize) -> usize {
        if self.quick { 1 } else { repeats.max(1) }
    }

    /// A lab with two uplinks where the daemon has made both endpoints.
    fn started(&self, which: Which) -> io::Result<(Lab, Process)> {
        let mut lab = Lab::new()?;
        lab.links(2, "global")?;
        let daemon = self.programs.start(which, "addr_adv")?;
        for n in 0..2 {
            must(lab.await_endpoint(true, home_address(n), Instant::now(), PATIENCE)?)?;
        }
        Ok((lab, daemon))
    }

    fn traced(
        &self,
        which: Which,
        only_sending: bool,
    ) -> io::Result<(Lab, crate::process::Traced)> {
        let mut lab = Lab::new()?;
        lab.links(2, "global")?;
        let file = self.work.join(format!("trace-{which:?}-{only_sending}"));
        let traced = self
            .programs
            .trace(which, "addr_adv", only_sending, &file)?;
        for n in 0..2 {
            must(lab.await_endpoint(true, home_address(n), Instant::now(), PATIENCE)?)?;
        }
        Ok((lab, traced))
    }

    fn with_traffic(&self, which: Which, plugin: &str) -> io::Result<(Lab, Traffic, Process)> {
        let mut lab = Lab::new()?;
        lab.links(1, "global")?;
        let userspace = if plugin == "addr_adv" { "0" } else { "1" };
        lab::sysctl("mptcp/pm_type", userspace)?;
        let daemon = self.programs.start(which, plugin)?;
        let traffic = Traffic::new(&lab)?;
        daemon.settle(200 * MS);
        Ok((lab, traffic, daemon))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn must<T>(seen: Option<T>) -> io::Result<T> {
    seen.ok_or_else(|| io::Error::other("what must come did not come"))
}

fn expect(right: &BTreeSet<Ipv4Addr>) -> io::Result<()> {
    let shown = lab::shown_endpoints()?;
    if shown == *right {
        return Ok(());
    }
    let text = format!("endpoints are {shown:?}, not {right:?}");
    Err(io::Error::other(text))
}

fn demand_nothing_lost() -> io::Result<()> {
    match lab::netlink_sockets()?.1 {
        0 => Ok(()),
        lost => Err(io::Error::other(format!("{lost} events were lost"))),
    }
}
