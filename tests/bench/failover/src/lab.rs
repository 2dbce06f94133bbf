// SPDX-License-Identifier: BSD-3-Clause
//! The client with its uplinks, a router for each, and the server: namespaces of our own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::candidate::{Candidate, DIRECTORY, start};
use crate::sys;
use crate::traffic::{Rate, Traffic};
use crate::wire::{self, Control, Port, Quality, Wire};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PORT: u16 = 5000;

/// Fibre, LTE and DSL.
const QUALITIES: [Quality; 3] = [
    Quality {
        delay: Duration::from_millis(10),
        rate: 50_000_000,
        loss: 0,
    },
    Quality {
        delay: Duration::from_millis(30),
        rate: 20_000_000,
        loss: 0,
    },
    Quality {
        delay: Duration::from_millis(20),
        rate: 10_000_000,
        loss: 0,
    },
];

/// Every uplink of a poor network: 300 ms round trip.
const POOR: Quality = Quality {
    delay: Duration::from_millis(150),
    rate: 10_000_000,
    loss: 20,
};

/// What the lab consists of.
#[derive(Clone, Copy)]
pub struct Network {
    /// The client's.
    pub uplinks: usize,
    /// LTE is for when nothing else works.
    pub backup: bool,
    /// The server has a link of its own at each router, with an address each, instead of one
    /// address that is reached by all of them; and whoever manages the client's paths announces
    /// the addresses of the server.
    pub two_servers: bool,
    /// All uplinks are slow and lose packets.
    pub poor: bool,
}

pub struct Lab {
    network: Network,
    home: File,
    client: File,
    server: File,
    /// Those of the routers.
    routers: Vec<File>,
    pub controls: Vec<Arc<Control>>,
    pub traffic: Arc<Traffic>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    daemons: Vec<Child>,
}

/// The client's address at an uplink: the first, and the one after a renumbering.
pub fn address(uplink: usize, second: bool) -> Ipv4Addr {
    Ipv4Addr::new(10, uplink as u8 + 1, u8::from(second), 2)
}

pub fn gateway(uplink: usize, second: bool) -> Ipv4Addr {
    Ipv4Addr::new(10, uplink as u8 + 1, u8::from(second), 1)
}

/// The server's address on its link at a router.
pub fn server_address(router: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, router as u8 + 101, 0, 2)
}

fn hardware(uplink: usize, end: u8) -> [u8; 6] {
    [2, 0, 0, 0, uplink as u8 + 1, end]
}

fn written(hardware: [u8; 6]) -> String {
    let words: Vec<String> = hardware.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(":")
}

impl Lab {
    /// Builds everything but the daemons. The process must have one thread, and be root of a user
    /// namespace with a mount namespace of its own.
    pub fn new(network: Network, rate: Rate) -> io::Result<Self> {
        command("mount", &format!("-t tmpfs tmpfs {DIRECTORY}"))?;
        let namespace = |name: &str| {
            command("ip", &format!("netns add {name}"))?;
            File::open(format!("/run/netns/{name}"))
        };
        let home = File::open("/proc/self/ns/net")?;
        let (client, server) = (namespace("client")?, namespace("server")?);
        let mut routers = vec![];
        for n in 0..network.uplinks {
            routers.push(namespace(&format!("router{n}"))?);
        }
        for space in [&client, &server].into_iter().chain(&routers) {
            within(&home, space, || {
                sysctl("ipv6/conf/all/disable_ipv6", "1")?;
                sysctl("ipv6/conf/default/disable_ipv6", "1")?;
                sysctl("ipv4/conf/all/rp_filter", "0")?;
                sysctl("ipv4/conf/default/rp_filter", "0")?;
                ip("link set lo up")
            })?;
        }
        for space in [&client, &server] {
            within(&home, space, || {
                // With the default of 128 KiB the receive buffer can fill with data that is out of
                // order after an outage, and one direction then freezes for good (Linux 6.18):
                // no path manager's doing, and rare enough to look like one's.
                sysctl("ipv4/tcp_rmem", "4096 2097152 6291456")?;
                ip("mptcp limits set add_addr_accepted 8 subflows 8")
            })?;
        }

        let mut wires = vec![];
        let mut controls = vec![];
        for (n, router) in routers.iter().enumerate() {
            // The two ends of a cable have different indexes: the kernel then reports a lost
            // carrier at once, and otherwise up to a second late.
            let (index, lan, far, near) = (100 + n, 300 + n, 500 + n, 700 + n);
            let [wan_at, lan_at, s_at, srv_at] = [1, 2, 3, 4].map(|end| written(hardware(n, end)));
            let metric = 10 * (n + 1);
            within(&home, &client, || {
                ip(&format!(
                    "link add wan{n} index {index} address {wan_at} type veth \
                     peer name lan index {lan} address {lan_at} netns router{n}"
                ))
            })?;
            within(&home, &server, || {
                ip(&format!(
                    "link add s{n} index {far} address {s_at} type veth \
                     peer name srv index {near} address {srv_at} netns router{n}"
                ))
            })?;
            let (own, gate, gate2) = (address(n, false), gateway(n, false), gateway(n, true));
            let ports = within(&home, router, || {
                ip(&format!(
                    "link set lan up\nlink set srv up\naddr add {gate}/24 dev lan\n\
                     addr add {gate2}/24 dev lan\naddr add 10.{}.0.1/24 dev srv",
                    101 + n
                ))?;
                sys::no_offload("lan")?;
                sys::no_offload("srv")?;
                Ok([
                    Port {
                        socket: sys::packet(lan as u32)?,
                        index: lan as u32,
                        peer: hardware(n, 1),
                    },
                    Port {
                        socket: sys::packet(near as u32)?,
                        index: near as u32,
                        peer: hardware(n, 3),
                    },
                ])
            })?;
            within(&home, &client, || {
                sys::no_offload(&format!("wan{n}"))?;
                ip(&format!(
                    "link set wan{n} up\naddr add {own}/24 dev wan{n}\n\
                     route add default via {gate} dev wan{n} metric {metric}"
                ))
            })?;
            within(&home, &server, || {
                sys::no_offload(&format!("s{n}"))?;
                let (net, way, own) = (n + 1, 101 + n, server_address(n));
                ip(&format!("link set s{n} up\naddr add {own}/24 dev s{n}"))?;
                if network.two_servers {
                    return ip(&format!(
                        "route add default via 10.{way}.0.1 dev s{n} metric {metric}\n\
                         route add default via 10.{way}.0.1 dev s{n} table {way}\n\
                         rule add from {own} lookup {way}"
                    ));
                }
                ip(&format!("route add 10.{net}.0.0/16 via 10.{way}.0.1"))
            })?;
            let control = Arc::new(Control::default());
            controls.push(control.clone());
            wires.push(Wire {
                ports,
                quality: if network.poor { POOR } else { QUALITIES[n] },
                control,
            });
        }
        let listener = within(&home, &server, || {
            if !network.two_servers {
                ip(&format!("addr add {SERVER}/32 dev lo"))?;
            }
            sys::listen(Ipv4Addr::UNSPECIFIED, PORT)
        })?;
        let traffic = Traffic::new(listener, rate);
        let mut wanted: Vec<_> = (0..network.uplinks).map(|n| address(n, false)).collect();
        if network.two_servers {
            wanted.extend((0..network.uplinks).map(server_address));
        }
        traffic.lock().wanted = wanted;

        let stop = Arc::new(AtomicBool::new(false));
        let threads = vec![
            thread::spawn({
                let stop = stop.clone();
                move || {
                    if let Err(error) = wire::run(&wires, &stop) {
                        eprintln!("wire: {error}");
                    }
                }
            }),
            thread::spawn({
                let traffic = traffic.clone();
                move || traffic.run()
            }),
        ];
        Ok(Self {
            network,
            home,
            client,
            server,
            routers,
            controls,
            traffic,
            threads,
            stop,
            daemons: vec![],
        })
    }

    pub fn uplinks(&self) -> usize {
        self.routers.len()
    }

    /// Starts what manages the paths, and waits until it has done its first work.
    pub fn manage(&mut self, candidate: Candidate, program: &str) -> io::Result<()> {
        let Network {
            backup,
            two_servers,
            ..
        } = self.network;
        if candidate == Candidate::None {
            self.at_client(|| {
                (0..self.uplinks()).try_for_each(|n| {
                    let flags = if backup && n == 1 { " backup" } else { "" };
                    let own = address(n, false);
                    ip(&format!(
                        "mptcp endpoint add {own} dev wan{n} subflow{flags}"
                    ))
                })
            })?;
            if two_servers {
                self.at_server(|| {
                    let own = server_address(1);
                    ip(&format!("mptcp endpoint add {own} dev s1 signal"))
                })?;
            }
            return Ok(());
        }
        let more = match backup {
            true => "[interface wan1]\naddr-flags = subflow,backup\n",
            false => "",
        };
        let mut daemons =
            vec![self.at_client(|| start("client", candidate, program, "subflow", more))?];
        if two_servers {
            daemons.push(self.at_server(|| start("server", candidate, program, "signal", ""))?);
        }
        self.daemons = daemons;
        sleep(Duration::from_secs(1));
        for daemon in &mut self.daemons {
            if let Some(status) = daemon.try_wait()? {
                let log = self.log();
                return Err(io::Error::other(format!("{program}: {status}: {log}")));
            }
        }
        if candidate == Candidate::C && backup {
            // Its flags are for all addresses alike.
            let own = address(1, false);
            self.at_client(|| ip(&format!("mptcp endpoint change {own} backup")))?;
        }
        Ok(())
    }

    /// What the daemons have logged.
    pub fn log(&self) -> String {
        ["client", "server"]
            .iter()
            .filter_map(|side| fs::read_to_string(format!("{DIRECTORY}/{side}.log")).ok())
            .collect()
    }

    /// What `ss` says of the connections at both ends.
    pub fn sockets(&self) -> io::Result<String> {
        let ss = || {
            let output = Command::new("ss").arg("-OtMniHe").output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        Ok(self.at_client(ss)? + &self.at_server(ss)?)
    }

    /// The processor time of the daemons so far.
    pub fn cpu(&self) -> Duration {
        let read = |child: &Child| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(self.daemons.iter().filter_map(read).sum())
    }

    /// One of the client's counters of Multipath TCP, by its name without `MPTcpExt`.
    pub fn counter(&self, name: &str) -> io::Result<u64> {
        let text = self.at_client(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
        let mut lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("MPTcpExt:"));
        let (names, values) = (lines.next(), lines.next());
        let mut pairs = names.unwrap_or("").split_whitespace();
        let at = pairs.position(|one| one == name);
        let value = at.and_then(|at| values?.split_whitespace().nth(at)?.parse().ok());
        value.ok_or_else(|| io::Error::other(format!("this kernel does not count {name}")))
    }

    fn at_client<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        within(&self.home, &self.client, run)
    }

    fn at_server<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        within(&self.home, &self.server, run)
    }

    /// Opens connections one after the other, without waiting for them.
    pub fn open(&self, count: usize, every: Duration) -> io::Result<()> {
        let target = match self.network.two_servers {
            true => server_address(0),
            false => SERVER,
        };
        for _ in 0..count {
            let socket = self.at_client(|| Ok(sys::connect(target, PORT)))?;
            self.traffic.add(socket);
            sleep(every);
        }
        Ok(())
    }

    /// How long a connection without subflows lives, at both ends.
    pub fn close_timeout(&self, seconds: u32) -> io::Result<()> {
        let set = || sysctl("mptcp/close_timeout", &seconds.to_string());
        self.at_client(set)?;
        self.at_server(set)
    }

    /// Waits until every connection has all its paths.
    pub fn await_complete(&self, limit: Duration) {
        let start = Instant::now();
        while start.elapsed() < limit && !self.traffic.lock().complete() {
            sleep(Duration::from_millis(10));
        }
    }

    /// Pulls or plugs the cable of an uplink at the router.
    pub fn carrier(&self, uplink: usize, there: bool) -> io::Result<()> {
        within(&self.home, &self.routers[uplink], || {
            sys::set_up("lan", there)
        })
    }

    /// Pulls or plugs the cable of the server at a router.
    pub fn server_carrier(&self, router: usize, there: bool) -> io::Result<()> {
        within(&self.home, &self.routers[router], || {
            sys::set_up("srv", there)
        })
    }

    /// From now on looks for data on every uplink.
    pub fn watch(&self) {
        for control in &self.controls {
            control.watch();
        }
    }

    /// Has the gateway of an uplink answer nothing, not even ARP, while the carrier stays.
    pub fn silence(&self, uplink: usize, on: bool) -> io::Result<()> {
        self.blackhole(uplink, on);
        let arp = if on { "off" } else { "on" };
        within(&self.home, &self.routers[uplink], || {
            ip(&format!("link set lan arp {arp}"))
        })
    }

    pub fn blackhole(&self, uplink: usize, on: bool) {
        self.controls[uplink].blackhole.store(on, Ordering::Relaxed);
    }

    /// Gives or takes an address of an uplink, with its default route, as netifd does. The
    /// default route of an address that is still there is replaced.
    pub fn configure(&self, uplink: usize, second: bool, there: bool) -> io::Result<()> {
        let (own, gate) = (address(uplink, second), gateway(uplink, second));
        let metric = 10 * (uplink + 1);
        self.at_client(|| match there {
            true => ip(&format!(
                "addr add {own}/24 dev wan{uplink}\n\
                 route replace default via {gate} dev wan{uplink} metric {metric}"
            )),
            false => ip(&format!("addr del {own}/24 dev wan{uplink}")),
        })
    }

    /// Ends the traffic, the wires and the daemons.
    pub fn end(&mut self) {
        self.traffic.stop();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for mut daemon in self.daemons.drain(..) {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
    }
}

fn within<T>(home: &File, space: &File, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    sys::enter(space)?;
    let result = run();
    sys::enter(home)?;
    result
}

fn command(program: &str, line: &str) -> io::Result<()> {
    match Command::new(program)
        .args(line.split_whitespace())
        .status()?
        .success()
    {
        true => Ok(()),
        false => Err(io::Error::other(format!("`{program} {line}` failed"))),
    }
}

/// Runs `ip` commands, one a line.
fn ip(lines: &str) -> io::Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = ip.stdin.take() {
        input.write_all(lines.as_bytes())?;
        input.write_all(b"\n")?;
    }
    match ip.wait()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("`ip` failed: {lines}"))),
    }
}

pub fn sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}
