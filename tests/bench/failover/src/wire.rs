// SPDX-License-Identifier: BSD-3-Clause
//! The uplinks' wires in user space: delay, rate, a queue, blackholes and resets.
//!
//! Each uplink has a router of its own with an interface towards the client and one towards the
//! server. The router's kernel answers ARP but forwards nothing; we do, between packet sockets.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::sys;

/// An interface of a router: its index, and the hardware address at the other end of its cable.
pub struct Port {
    pub socket: OwnedFd,
    pub index: u32,
    pub peer: [u8; 6],
}

/// What may be asked of a wire while it runs.
#[derive(Default)]
pub struct Control {
    /// Nothing passes, in either direction.
    pub blackhole: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reset: Reset,
    watch: Option<Watch>,
}

#[derive(Default, Clone, Copy)]
enum Reset {
    #[default]
    None,
    /// The next subflow that sends.
    Next,
    /// The subflow of this client port.
    One(u16),
    /// Every packet, as a middlebox does that forgot its connections.
    All,
}

/// Waits for data that passes and is acknowledged by the same subflow.
#[derive(Default)]
struct Watch {
    /// The first data of each subflow, by the client's port: whether the client sent it, and the
    /// sequence number behind it.
    awaited: HashMap<u16, (bool, u32)>,
    /// Subflows of this client port do not count.
    except: Option<u16>,
    used: Option<Instant>,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// From now on looks for data that passes.
    pub fn watch(&self) {
        self.lock().watch = Some(Watch::default());
    }

    /// When data first passed since [`Control::watch`].
    pub fn used(&self) -> Option<Instant> {
        self.lock().watch.as_ref().and_then(|watch| watch.used)
    }

    /// Resets a subflow at both ends.
    pub fn reset_one(&self) {
        self.lock().reset = Reset::Next;
    }

    /// Resets whatever sends, until told otherwise.
    pub fn reset_all(&self, on: bool) {
        self.lock().reset = if on { Reset::All } else { Reset::None };
    }
}

/// Delay in one direction, rate in bits a second.
#[derive(Clone, Copy)]
pub struct Quality {
    pub delay: Duration,
    pub rate: u64,
    /// Of a thousand packets towards the client so many are lost.
    pub loss: u32,
}

/// How long a packet may wait for those before it.
const QUEUE: Duration = Duration::from_millis(100);

struct Direction {
    queue: VecDeque<(Instant, Vec<u8>)>,
    free: Option<Instant>,
    random: Random,
}

/// An uplink. Its delay, rate and mishaps are the same wherever the server is reached.
pub struct Wire {
    /// Towards the client, towards the server.
    pub ports: [Port; 2],
    pub quality: Quality,
    pub control: Arc<Control>,
}

/// Carries packets until `stop`.
pub fn run(wires: &[Wire], stop: &AtomicBool) -> io::Result<()> {
    let mut seeds = 1..;
    let mut directions: Vec<[Direction; 2]> = wires
        .iter()
        .map(|_| {
            [(); 2].map(|()| Direction {
                queue: VecDeque::new(),
                free: None,
                random: Random::new(seeds.next().unwrap_or(1)),
            })
        })
        .collect();
    let mut descriptors: Vec<libc::pollfd> = wires
        .iter()
        .flat_map(|wire| &wire.ports)
        .map(|port| libc::pollfd {
            fd: port.socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let next = directions
            .iter()
            .flatten()
            .filter_map(|direction| direction.queue.front())
            .map(|(due, _)| due.saturating_duration_since(now))
            .min();
        let limit = next.map_or(Duration::from_millis(100), |next| {
            next.min(Duration::from_millis(100))
        });
        sys::poll(&mut descriptors, limit);
        let ready: Vec<bool> = descriptors.iter().map(|it| it.revents != 0).collect();
        for (n, wire) in wires.iter().enumerate() {
            for (from, port) in wire.ports.iter().enumerate() {
                // At most a burst, so that no direction waits for the other.
                let burst = if ready[2 * n + from] { 64 } else { 0 };
                for _ in 0..burst {
                    let Some(length) = sys::receive_packet(&port.socket, &mut buffer) else {
                        break;
                    };
                    let bytes = &buffer[..length];
                    // What comes from the server goes by the uplink it is for.
                    let by = if from == 0 {
                        n
                    } else {
                        router(bytes).unwrap_or(n)
                    };
                    if let Some(wire) = wires.get(by) {
                        wire.take(&mut directions[by][from], from, port, bytes);
                    }
                }
            }
        }
        for (n, (wire, directions)) in wires.iter().zip(&mut directions).enumerate() {
            wire.deliver(&mut directions[0], 0, |bytes| {
                let to = wires.get(router(bytes).unwrap_or(n)).unwrap_or(wire);
                &to.ports[1]
            });
            wire.deliver(&mut directions[1], 1, |_| &wire.ports[0]);
        }
    }
    Ok(())
}

/// The number of the router that an IPv4 packet is for: the client's networks are 10.1, 10.2 and
/// so on, the server's 10.101, 10.102; an address of neither is reached by every router.
fn router(packet: &[u8]) -> Option<usize> {
    let [10, net] = *packet.get(16..18)? else {
        return None;
    };
    usize::from(net % 100).checked_sub(1)
}

impl Wire {
    /// A packet that came in by the port `back`, on the side `from`.
    fn take(&self, direction: &mut Direction, from: usize, back: &Port, bytes: &[u8]) {
        if self.control.blackhole.load(Ordering::Relaxed) {
            return;
        }
        if let Some(segment) = Segment::parse(bytes)
            && self.resets(from, &segment)
        {
            if let Some(answer) = segment.reset() {
                sys::send_packet(&back.socket, &answer, back.index, back.peer);
            }
            return;
        }
        if from == 1 && direction.random.below(1000) < u64::from(self.quality.loss) {
            return;
        }
        let now = Instant::now();
        let begin = direction.free.map_or(now, |free| free.max(now));
        if begin - now > QUEUE {
            return;
        }
        let bits = bytes.len() as u64 * 8;
        let end = begin + Duration::from_nanos(bits * 1_000_000_000 / self.quality.rate);
        direction.free = Some(end);
        direction
            .queue
            .push_back((end + self.quality.delay, bytes.to_vec()));
    }

    /// Hands out what has arrived at the other end, by the port that `out` names.
    fn deliver<'a>(&self, direction: &mut Direction, from: usize, out: impl Fn(&[u8]) -> &'a Port) {
        while let Some((due, _)) = direction.queue.front() {
            if *due > Instant::now() {
                break;
            }
            let Some((_, bytes)) = direction.queue.pop_front() else {
                break;
            };
            if self.control.blackhole.load(Ordering::Relaxed) {
                continue;
            }
            let port = out(&bytes);
            if sys::send_packet(&port.socket, &bytes, port.index, port.peer) {
                self.notice(from, &bytes);
            }
        }
    }

    fn resets(&self, from: usize, segment: &Segment<'_>) -> bool {
        let port = segment.client_port(from);
        let mut inner = self.control.lock();
        if let Reset::Next = inner.reset
            && segment.flags & (SYN | RST | FIN) == 0
        {
            inner.reset = Reset::One(port);
            if let Some(watch) = &mut inner.watch {
                *watch = Watch {
                    except: Some(port),
                    ..Watch::default()
                };
            }
        }
        match inner.reset {
            Reset::None | Reset::Next => false,
            Reset::All => true,
            Reset::One(client_port) => client_port == port,
        }
    }

    fn notice(&self, from: usize, bytes: &[u8]) {
        let Some(segment) = Segment::parse(bytes) else {
            return;
        };
        let port = segment.client_port(from);
        let mut inner = self.control.lock();
        let Some(watch) = inner.watch.as_mut() else {
            return;
        };
        if watch.used.is_some() || watch.except == Some(port) || segment.flags & RST != 0 {
            return;
        }
        let by_client = from == 0;
        match watch.awaited.get(&port) {
            Some((sender, end)) => {
                let covered = segment.acknowledged.wrapping_sub(*end) < 1 << 31;
                if *sender != by_client && segment.flags & ACK != 0 && covered {
                    watch.used = Some(Instant::now());
                }
            }
            None if segment.payload > 0 => {
                let end = segment.sequence.wrapping_add(segment.payload);
                watch.awaited.insert(port, (by_client, end));
            }
            None => {}
        }
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

struct Segment<'a> {
    /// Source and destination address, as in the header.
    addresses: &'a [u8],
    ports: [u16; 2],
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    /// Bytes of data.
    payload: u32,
}

impl<'a> Segment<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = usize::from(*bytes.first()? & 15) * 4;
        if *bytes.get(9)? != 6 {
            return None;
        }
        let tcp = bytes.get(header..)?;
        let short = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        let long = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let total = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
        let data = header + usize::from(*tcp.get(12)? >> 4) * 4;
        Some(Self {
            addresses: bytes.get(12..20)?,
            ports: [short(0)?, short(2)?],
            sequence: long(4)?,
            acknowledged: long(8)?,
            flags: *tcp.get(13)?,
            payload: total.saturating_sub(data) as u32,
        })
    }

    fn client_port(&self, from: usize) -> u16 {
        self.ports[from]
    }

    /// The reset that its sender believes: with exactly the sequence number it expects.
    fn reset(&self) -> Option<Vec<u8>> {
        if self.flags & RST != 0 {
            return None;
        }
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[3] = 40;
        packet[8] = 64;
        packet[9] = 6;
        packet[12..16].copy_from_slice(&self.addresses[4..]);
        packet[16..20].copy_from_slice(&self.addresses[..4]);
        let sum = checksum(&packet[..20], 0);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet[20..22].copy_from_slice(&self.ports[1].to_be_bytes());
        packet[22..24].copy_from_slice(&self.ports[0].to_be_bytes());
        if self.flags & ACK != 0 {
            packet[24..28].copy_from_slice(&self.acknowledged.to_be_bytes());
            packet[33] = RST;
        } else {
            let extra = self.payload + u32::from(self.flags & SYN != 0);
            let end = self.sequence.wrapping_add(extra);
            packet[28..32].copy_from_slice(&end.to_be_bytes());
            packet[33] = RST | ACK;
        }
        packet[32] = 5 << 4;
        let pseudo: u32 = packet[12..20]
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let sum = checksum(&packet[20..], pseudo + 6 + 20);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        Some(packet)
    }
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
