//! The client with its uplinks, a router for each, and the server: namespaces of our own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::sys;
use crate::traffic::{Rate, Traffic};
use crate::wire::{self, Control, Port, Quality, Wire};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PORT: u16 = 5000;

/// Fibre and LTE.
const QUALITIES: [Quality; 2] = [
    Quality {
        delay: Duration::from_millis(10),
        rate: 50_000_000,
    },
    Quality {
        delay: Duration::from_millis(30),
        rate: 20_000_000,
    },
];

/// Who manages the client's paths.
#[derive(Clone, Copy, PartialEq)]
pub enum Candidate {
    /// Nobody: endpoints by hand.
    None,
    /// The C daemon with its plugin addr_adv.
    C,
    /// This daemon with addr_adv.
    AddrAdv,
    /// This daemon with sspi.
    Sspi,
}

impl Candidate {
    pub const ALL: [Self; 4] = [Self::None, Self::C, Self::AddrAdv, Self::Sspi];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::C => "c",
            Self::AddrAdv => "addr_adv",
            Self::Sspi => "sspi",
        }
    }
}

pub struct Lab {
    home: File,
    client: File,
    /// Those of the routers.
    routers: Vec<File>,
    pub controls: Vec<Arc<Control>>,
    pub traffic: Arc<Traffic>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    daemon: Option<Child>,
    directory: PathBuf,
}

/// The client's address at an uplink: the first, and the one after a renumbering.
pub fn address(uplink: usize, second: bool) -> Ipv4Addr {
    Ipv4Addr::new(10, uplink as u8 + 1, u8::from(second), 2)
}

pub fn gateway(uplink: usize, second: bool) -> Ipv4Addr {
    Ipv4Addr::new(10, uplink as u8 + 1, u8::from(second), 1)
}

fn hardware(uplink: usize, end: u8) -> [u8; 6] {
    [2, 0, 0, 0, uplink as u8 + 1, end]
}

fn written(hardware: [u8; 6]) -> String {
    let words: Vec<String> = hardware.iter().map(|byte| format!("{byte:02x}")).collect();
    words.join(":")
}

impl Lab {
    /// Builds everything but the daemon. The process must have one thread, and be root of a user
    /// namespace with a mount namespace of its own.
    pub fn new(uplinks: usize, rate: Rate) -> io::Result<Self> {
        command("mount", "-t tmpfs tmpfs /run")?;
        let namespace = |name: &str| {
            command("ip", &format!("netns add {name}"))?;
            File::open(format!("/run/netns/{name}"))
        };
        let home = File::open("/proc/self/ns/net")?;
        let (client, server) = (namespace("client")?, namespace("server")?);
        let mut routers = vec![];
        for n in 0..uplinks {
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
                let (net, way) = (n + 1, 101 + n);
                ip(&format!(
                    "link set s{n} up\naddr add 10.{way}.0.2/24 dev s{n}\n\
                     route add 10.{net}.0.0/16 via 10.{way}.0.1"
                ))
            })?;
            let control = Arc::new(Control::default());
            controls.push(control.clone());
            wires.push(Wire {
                ports,
                quality: QUALITIES[n],
                control,
            });
        }
        let listener = within(&home, &server, || {
            ip(&format!("addr add {SERVER}/32 dev lo"))?;
            sys::listen(SERVER, PORT)
        })?;
        let traffic = Traffic::new(listener, rate);
        traffic.lock().wanted = (0..uplinks).map(|n| address(n, false)).collect();

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
        let directory = std::env::temp_dir().join(format!("failover-{}", std::process::id()));
        fs::create_dir(&directory)?;
        Ok(Self {
            home,
            client,
            routers,
            controls,
            traffic,
            threads,
            stop,
            daemon: None,
            directory,
        })
    }

    pub fn uplinks(&self) -> usize {
        self.routers.len()
    }

    /// Starts what manages the paths, and waits until it has done its first work.
    pub fn manage(&mut self, candidate: Candidate, program: &str) -> io::Result<()> {
        let uplinks = self.uplinks();
        let mut daemon = Command::new(program);
        match candidate {
            Candidate::None => {
                return self.at_client(|| {
                    (0..uplinks).try_for_each(|n| {
                        let own = address(n, false);
                        ip(&format!("mptcp endpoint add {own} dev wan{n} subflow"))
                    })
                });
            }
            Candidate::C => {
                daemon.args([
                    "--path-manager=addr_adv",
                    "--load-plugins=addr_adv",
                    "--addr-flags=subflow",
                    "--notify-flags=existing,skip_link_local,skip_loopback",
                ]);
            }
            Candidate::AddrAdv | Candidate::Sspi => {
                let name = candidate.name();
                let config = self.directory.join("mptcpd.conf");
                let state = self.directory.join("state");
                fs::write(
                    &config,
                    format!(
                        "[core]\nlog-level = debug\npath-manager = {name}\nload-plugins = {name}\n\
                         state-file = {}\n",
                        state.display()
                    ),
                )?;
                daemon.arg("-c").arg(config);
            }
        }
        let log = File::create(self.directory.join("log"))?;
        daemon
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: one system call between fork and exec.
        unsafe {
            daemon.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = self.at_client(|| {
            if candidate == Candidate::Sspi {
                sysctl("mptcp/pm_type", "1")?;
            }
            daemon.spawn()
        })?;
        self.daemon = Some(child);
        sleep(Duration::from_secs(1));
        if let Some(status) = self.daemon.as_mut().and_then(|it| it.try_wait().ok()?) {
            return Err(io::Error::other(format!(
                "{program} ended with {status}: {}",
                self.log()
            )));
        }
        Ok(())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The processor time of the daemon so far.
    pub fn cpu(&self) -> Duration {
        let read = |child: &Child| {
            let text = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(self.daemon.as_ref().and_then(read).unwrap_or(0))
    }

    pub fn at_client<T>(&self, run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        within(&self.home, &self.client, run)
    }

    /// Opens connections, without waiting for them.
    pub fn open(&self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let socket = self.at_client(|| sys::connect(SERVER, PORT))?;
            self.traffic.add(socket);
            if count > 1 {
                sleep(Duration::from_millis(5));
            }
        }
        Ok(())
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

    /// Gives or takes an address of an uplink, with its default route, as netifd does.
    pub fn configure(&self, uplink: usize, second: bool, there: bool) -> io::Result<()> {
        let (own, gate) = (address(uplink, second), gateway(uplink, second));
        let metric = 10 * (uplink + 1);
        self.at_client(|| match there {
            true => ip(&format!(
                "addr add {own}/24 dev wan{uplink}\n\
                 route add default via {gate} dev wan{uplink} metric {metric}"
            )),
            false => ip(&format!("addr del {own}/24 dev wan{uplink}")),
        })
    }

    /// Ends the traffic, the wires and the daemon.
    pub fn end(&mut self) {
        self.traffic.stop();
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(&self.directory);
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

fn sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}
