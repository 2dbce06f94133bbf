//! Wanted endpoints against the kernel's: the few commands that close the gap.
//!
//! Commands are taken to succeed when they are given, so that the next decision builds on them;
//! a refusal corrects the picture, and a look at the kernel (a dump) settles every doubt.

pub mod limits;
pub mod manager;

use core::net::IpAddr;

use libc::{EAGAIN, EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, EPERM, ERANGE};

use crate::capacity;
use crate::netlink::message::is_acked;
use crate::netlink::mptcp::{Command, Endpoint, EndpointFlags};
use crate::table::Table;
use crate::time::{Backoff, Instant};

/// An endpoint somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    pub address: IpAddr,
    /// Host byte order; 0 is none.
    pub port: u16,
    pub flags: EndpointFlags,
    /// 0 is none.
    pub ifindex: u32,
    /// Lower goes first, and gets the slot when there are too few.
    pub priority: i8,
    /// Decides between equals: the order of arrival.
    pub sequence: u32,
}

/// The endpoints all plugins want together.
pub struct Wanted {
    wants: Table<Ranked>,
    /// How many of them, from the front, have or get a slot.
    chosen: usize,
    /// The same without one that the kernel may refuse.
    sure: usize,
}

/// A want, and what its place depends on, found once and not at each comparison.
struct Ranked {
    want: Want,
    /// Somebody else has an endpoint for it.
    foreign: bool,
    /// We have one.
    held: bool,
}

impl Ranked {
    fn place(&self) -> (IpAddr, u16) {
        (self.want.address, self.want.port)
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            wants: Table::new(capacity::ADDRESSES),
            chosen: 0,
            sure: 0,
        }
    }
}

impl Wanted {
    pub fn clear(&mut self) {
        self.wants.clear();
        self.chosen = 0;
        self.sure = 0;
    }

    pub fn add(&mut self, want: Want) {
        self.wants.push(Ranked {
            want,
            foreign: false,
            held: false,
        });
    }

    /// In order, after [`Self::settle`].
    pub fn iter(&self) -> impl Iterator<Item = &Want> {
        self.wants.iter().map(|ranked| &ranked.want)
    }

    /// Those that have or get a slot, after [`Self::settle`].
    pub fn chosen(&self) -> impl Iterator<Item = &Want> {
        self.iter().take(self.chosen)
    }

    /// Those for which the kernel has a slot so far as is known, after [`Self::settle`].
    pub fn sure(&self) -> impl Iterator<Item = &Want> {
        self.iter().take(self.sure)
    }

    /// Those for which the kernel has no slot, after [`Self::settle`].
    pub fn waiting(&self) -> usize {
        self.wants.len().saturating_sub(self.sure)
    }

    /// Orders the wants, leaves one for each address and port, and chooses.
    pub fn settle(&mut self, endpoints: &Endpoints) {
        self.sort(true);
        let place = Ranked::place;
        let mut last = None;
        self.wants
            .retain(|r| last.replace(place(r)) != Some(place(r)));
        for Ranked {
            want,
            foreign,
            held,
        } in self.wants.iter_mut()
        {
            *foreign = endpoints.foreign(want.address, want.port);
            *held = endpoints.holds(want.address, want.port);
        }
        // Who has a slot keeps it from those who are no better, and an endpoint that somebody
        // else made takes no slot of ours.
        self.sort(false);
        let foreign = self.wants.iter().take_while(|r| r.foreign).count();
        let with = |limit: usize| {
            let room = limit.saturating_sub(endpoints.others.len());
            foreign.saturating_add(room).min(self.wants.len())
        };
        (self.chosen, self.sure) = (with(endpoints.limit()), with(endpoints.sure_limit()));
    }

    /// Sorts by rank, those of a place together if `by_place`: one copy of the sorting for both.
    fn sort(&mut self, by_place: bool) {
        let rank = |r: &Ranked| (!r.foreign, r.want.priority, !r.held, r.want.sequence);
        self.wants.sort_unstable_by(|a, b| {
            let places = by_place.then(|| a.place().cmp(&b.place()));
            let by_rank = || rank(a).cmp(&rank(b));
            places.filter(|order| order.is_ne()).unwrap_or_else(by_rank)
        });
    }
}

/// An endpoint of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// As the kernel has it, or was asked to.
    pub endpoint: Endpoint,
    /// What the kernel has been asked for and has not answered.
    asked: Option<Asked>,
    /// Number of that command.
    command: u32,
    /// Added and not looked at since.
    fresh: bool,
    /// Its flags were set and have not been looked at since: what the kernel shows then is what
    /// it can do.
    flagged: bool,
    /// The kernel chose its id, and has not been asked which.
    unsure: bool,
    /// The look under way has shown it.
    seen: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Add,
    SetFlags,
    Delete,
}

impl Slot {
    /// As a later run should know it: with id 0 where the kernel has chosen one unseen.
    pub fn remembered(&self) -> Endpoint {
        let id = if self.unsure { 0 } else { self.endpoint.id };
        Endpoint {
            id,
            ..self.endpoint
        }
    }

    /// The kernel has been asked to delete it.
    pub fn is_deleting(&self) -> bool {
        self.asked == Some(Asked::Delete)
    }

    /// Whether the kernel has still to answer, so that a refusal could not be told from another.
    fn must_wait(&self, waits: &mut bool) -> bool {
        *waits |= self.asked.is_some();
        self.asked.is_some()
    }

    fn ask(&mut self, asked: Asked, command: u32) {
        (self.asked, self.command) = (Some(asked), command);
    }
}

/// An endpoint the kernel refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    address: IpAddr,
    port: u16,
    errno: i32,
    retry_at: Instant,
    backoff: Backoff,
}

/// What a refusal calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// The picture is in doubt: look at the kernel.
    pub look: bool,
    /// Nobody has been told of such a refusal yet: the endpoint it is about.
    pub report: Option<Endpoint>,
}

pub struct Endpoints {
    ours: Table<Slot>,
    others: Table<Endpoint>,
    refusals: Table<Refusal>,
    /// How many endpoints the kernel takes in all, once it has said so.
    capacity: Option<usize>,
    /// Try with one more: it may have been wrong.
    probing: bool,
    /// ERANGE was the answer while the kernel had so many of ours: with others', which the next
    /// look shows, that is the capacity.
    full_at: Option<usize>,
    last_id: u8,
    /// Flags this kernel takes no notice of.
    unsupported: EndpointFlags,
    /// Flags that were asked for and not there at the last look that could show them. Somebody
    /// may have taken them away; the next time it must be the kernel.
    doubted: EndpointFlags,
    /// Those doubted before the look under way.
    doubted_before: EndpointFlags,
    /// Young flags this kernel has been seen to keep.
    supported: EndpointFlags,
    can_set_flags: bool,
    deadline: Instant,
    /// Something can be asked only once the kernel has answered.
    waits: bool,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::new()
    }
}

/// Flags of a present endpoint that SET_FLAGS can change.
const CHANGEABLE: u32 = EndpointFlags::BACKUP.0 | EndpointFlags::FULLMESH.0;
/// Flags that an endpoint has from its beginning to its end, whatever the kernel.
const KIND: u32 = EndpointFlags::SIGNAL.0 | EndpointFlags::SUBFLOW.0 | EndpointFlags::IMPLICIT.0;
/// Flags younger than the first kernels with endpoints, which older ones silently drop.
const YOUNG: u32 = EndpointFlags::FULLMESH.0 | EndpointFlags::LAMINAR.0;

/// How many are asked for at once until the kernel has said how many it takes.
const FEELERS: usize = 16;

impl Endpoints {
    pub fn new() -> Self {
        Self {
            ours: Table::new(capacity::ENDPOINTS),
            others: Table::new(capacity::ENDPOINTS),
            refusals: Table::new(capacity::ENDPOINTS),
            capacity: None,
            probing: false,
            full_at: None,
            last_id: 0,
            unsupported: EndpointFlags::default(),
            doubted: EndpointFlags::default(),
            doubted_before: EndpointFlags::default(),
            supported: EndpointFlags::default(),
            can_set_flags: true,
            deadline: Instant::NEVER,
            waits: false,
        }
    }

    pub fn ours(&self) -> &[Slot] {
        &self.ours
    }

    pub fn others(&self) -> &[Endpoint] {
        &self.others
    }

    /// Addresses whose endpoint the kernel refused, and the errno.
    pub fn refusals(&self) -> impl Iterator<Item = (IpAddr, i32)> {
        self.refusals.iter().map(|r| (r.address, r.errno))
    }

    pub fn last_id(&self) -> u8 {
        self.last_id
    }

    /// Flags asked for and found missing in what the kernel made of it.
    pub fn unsupported(&self) -> EndpointFlags {
        self.unsupported
    }

    /// How many endpoints the kernel takes, where it has said so.
    pub fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    fn sure_limit(&self) -> usize {
        self.capacity.unwrap_or(capacity::ENDPOINTS)
    }

    fn limit(&self) -> usize {
        self.sure_limit() + usize::from(self.probing)
    }

    /// When a refused endpoint may be tried again.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes back what an earlier run of the daemon left behind, from the run-state file. The
    /// next look decides what of it is still there.
    pub fn remember(&mut self, endpoint: Endpoint) {
        self.ours.push(Slot {
            endpoint,
            asked: None,
            command: 0,
            fresh: false,
            flagged: false,
            unsure: endpoint.id == 0,
            seen: false,
        });
    }

    pub fn set_last_id(&mut self, id: u8) {
        self.last_id = id;
    }

    /// A look at the kernel begins.
    pub fn begin_look(&mut self) {
        self.others.clear();
        self.ours.iter_mut().for_each(|slot| slot.seen = false);
        self.doubted_before = self.doubted;
    }

    /// An endpoint the kernel shows.
    pub fn saw(&mut self, endpoint: Endpoint) {
        let same = |slot: &&mut Slot| {
            let id = if slot.unsure {
                endpoint.id
            } else {
                slot.endpoint.id
            };
            is_same(
                &Endpoint {
                    id,
                    ..slot.endpoint
                },
                &endpoint,
            )
        };
        let Some(slot) = self.ours.iter_mut().find(same) else {
            self.others.push(endpoint);
            return;
        };
        slot.fresh = false;
        slot.unsure = false;
        if core::mem::take(&mut slot.flagged) {
            let asked = slot.endpoint.flags.0 & YOUNG;
            self.doubted.0 &= !(asked & endpoint.flags.0);
            let missing = asked & !endpoint.flags.0;
            self.unsupported.0 |= missing & self.doubted_before.0;
            self.doubted.0 |= missing;
            self.supported.0 |= asked & endpoint.flags.0;
        }
        slot.endpoint = endpoint;
        slot.seen = true;
    }

    /// Whether only a look can tell the ids of ours, or what the kernel can do.
    pub fn is_unsure(&self) -> bool {
        let unknown = (YOUNG & !self.supported.0 | self.doubted.0) & !self.unsupported.0;
        let doubts = |slot: &Slot| slot.flagged && slot.endpoint.flags.0 & unknown != 0;
        self.ours.iter().any(|slot| slot.unsure || doubts(slot))
    }

    /// The look is whole. Answers whether the set of our endpoints changed.
    pub fn finish_look(&mut self, now: Instant) -> bool {
        let before = self.ours.len();
        let mut at = 0;
        while let Some(slot) = self.ours.get(at) {
            if slot.seen {
                at += 1;
                continue;
            }
            if let Some(gone) = self.ours.remove(at).filter(|slot| slot.fresh) {
                // It was taken and is not there: not at once again.
                self.refuse(now, &gone.endpoint, EAGAIN);
            }
        }
        if let Some(ours) = self.full_at.take() {
            self.capacity = Some(ours + self.others.len());
        }
        self.has_grown();
        before != self.ours.len()
    }

    /// Tries again what was refused, but does not ask a full kernel for more than one endpoint.
    pub fn forget_refusals(&mut self) {
        self.refusals.clear();
        self.probing = true;
        self.can_set_flags = true;
    }

    /// Forgets what was learnt of the kernel, to learn it anew.
    pub fn forget_kernel(&mut self) {
        self.forget_refusals();
        self.capacity = None;
        self.unsupported = EndpointFlags::default();
        self.doubted = EndpointFlags::default();
    }

    /// Lets refused endpoints try again at once, because something changed.
    pub fn hurry(&mut self, now: Instant) {
        for refusal in self.refusals.iter_mut() {
            refusal.retry_at = refusal.retry_at.min(now);
        }
    }

    /// Whether we have an endpoint for the address.
    pub fn holds(&self, address: IpAddr, port: u16) -> bool {
        self.ours
            .iter()
            .any(|slot| !slot.is_deleting() && is_at(&slot.endpoint, address, port))
    }

    /// Whether somebody else has an endpoint for the address. One that the kernel made itself
    /// gives way to ours.
    pub fn foreign(&self, address: IpAddr, port: u16) -> bool {
        self.others
            .iter()
            .any(|e| is_at(e, address, port) && !is_implicit(e))
    }

    /// The next id after the last one used that nobody holds. Ids are not reused at once: a
    /// peer may still remember the old meaning.
    fn free_id(&self) -> Option<u8> {
        let taken = |id: u8| {
            self.ours.iter().any(|slot| slot.endpoint.id == id)
                || self.others.iter().any(|endpoint| endpoint.id == id)
        };
        let mut id = self.last_id;
        for _ in 0..u8::MAX {
            id = if id == u8::MAX { 1 } else { id + 1 };
            if !taken(id) {
                return Some(id);
            }
        }
        None
    }

    /// Compares the settled wants with the kernel's endpoints and gives the commands that close the gap
    /// to `send`, which answers the number of the command (never 0), or `None` when it takes no
    /// more for now: call again.
    pub fn reconcile(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        send: &mut dyn FnMut(Command) -> Option<u32>,
    ) {
        self.deadline = Instant::NEVER;
        let ours = &self.ours;
        self.refusals.retain(|r| {
            let mut have = ours.iter().map(|s| (s.endpoint.address, s.endpoint.port));
            let mut want = wanted.iter().map(|w| (w.address, w.port));
            let of = (r.address, r.port);
            have.any(|place| place == of) || want.any(|place| place == of)
        });
        self.amend(now, wanted, Asked::SetFlags, send);
        // A new path first, so that a connection has it when the old one goes; but if the
        // kernel has no room, the old one must go first.
        self.add(now, wanted, self.ours.len(), send);
        self.amend(now, wanted, Asked::Delete, send);
        self.add(
            now,
            wanted,
            self.ours.iter().filter(|slot| !slot.is_deleting()).count(),
            send,
        );
    }

    /// Deletes all of ours. What has been asked for is done before, so that none is left.
    pub fn remove_all(&mut self, send: &mut dyn FnMut(Command) -> Option<u32>) {
        for slot in self.ours.iter_mut().filter(|slot| !slot.is_deleting()) {
            if let Some(number) = send(Command::DeleteEndpoint(slot.endpoint)) {
                slot.ask(Asked::Delete, number);
            }
        }
    }

    /// Asks for what ours need, if that is `how`: other flags, where those can be changed in place,
    /// or to be deleted, because nobody wants them or they have to be made anew.
    fn amend(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        how: Asked,
        send: &mut dyn FnMut(Command) -> Option<u32>,
    ) {
        let (can_set_flags, unsupported) = (self.can_set_flags, self.unsupported);
        let Self {
            ours,
            refusals,
            deadline,
            waits,
            ..
        } = self;
        for slot in ours.iter_mut().filter(|slot| !slot.is_deleting()) {
            let mut endpoint = slot.endpoint;
            let change = |want: &Want| (endpoint.flags.0 ^ want.flags.0) & !unsupported.0;
            let may_stay = |want: &&Want| {
                let changeable = if can_set_flags { CHANGEABLE } else { 0 };
                endpoint.ifindex == want.ifindex && change(want) & !changeable == 0
            };
            let command = match want_of(wanted, slot).filter(may_stay) {
                None if how == Asked::Delete => Command::DeleteEndpoint(endpoint),
                Some(want) if how == Asked::SetFlags && change(want) != 0 => {
                    endpoint.flags = want.flags;
                    Command::SetFlags(endpoint)
                }
                _ => continue,
            };
            let Endpoint { address, port, .. } = endpoint;
            if slot.must_wait(waits) || must_wait(refusals, deadline, now, address, port) {
                continue;
            }
            let Some(number) = send(command) else {
                return;
            };
            slot.endpoint = endpoint;
            slot.flagged |= how == Asked::SetFlags;
            slot.ask(how, number);
        }
    }

    /// Adds what is missing, while fewer than the kernel's limit of slots are `taken`.
    fn add(
        &mut self,
        now: Instant,
        wanted: &Wanted,
        taken: usize,
        send: &mut dyn FnMut(Command) -> Option<u32>,
    ) {
        let mut room = self.limit().saturating_sub(taken + self.others.len());
        let asked_for = |slot: &&Slot| slot.asked == Some(Asked::Add);
        let mut unanswered = self.ours.iter().filter(asked_for).count();
        for want in wanted.chosen() {
            if self.holds(want.address, want.port) || self.foreign(want.address, want.port) {
                continue;
            }
            if self.capacity.is_none() && unanswered >= FEELERS {
                self.waits = true;
                return;
            }
            let Self {
                refusals, deadline, ..
            } = self;
            if must_wait(refusals, deadline, now, want.address, want.port) {
                continue;
            }
            let implicit = self
                .others
                .iter()
                .position(|e| is_at(e, want.address, want.port));
            let implicit = implicit.and_then(|at| self.others.remove(at));
            if room == 0 && implicit.is_none() {
                return;
            }
            let Some(id) = implicit.map(|e| e.id).or_else(|| self.free_id()) else {
                return;
            };
            let endpoint = Endpoint {
                address: want.address,
                port: want.port,
                id,
                flags: want.flags,
                ifindex: want.ifindex,
            };
            // The kernel replaces an endpoint of its own only if we leave the id to it.
            let asked = Endpoint {
                id: if implicit.is_some() { 0 } else { id },
                ..endpoint
            };
            let Some(number) = send(Command::AddEndpoint(asked)) else {
                return;
            };
            self.last_id = id;
            self.ours.push(Slot {
                endpoint,
                asked: Some(Asked::Add),
                command: number,
                fresh: true,
                flagged: true,
                unsure: implicit.is_some(),
                seen: false,
            });
            room = room.saturating_sub(1);
            unanswered += 1;
        }
    }

    /// The kernel did everything it was asked up to this command. Answers whether something has
    /// waited for that.
    pub fn done(&mut self, last: u32) -> bool {
        let Self {
            ours,
            refusals,
            waits,
            ..
        } = self;
        ours.retain(|slot| {
            if slot.asked.is_none() || !is_acked(slot.command, last) {
                return true;
            }
            refusals.retain(|r| !is_at(&slot.endpoint, r.address, r.port));
            slot.asked.take() != Some(Asked::Delete)
        });
        let waited = core::mem::take(waits);
        self.has_grown() || waited
    }

    /// Whether the answer to a command matters before anything else happens.
    pub fn awaits(&self) -> bool {
        let asked = self.ours.iter().any(|slot| slot.asked.is_some());
        let taken = self.ours.len() + self.others.len();
        asked && (self.waits || taken > self.sure_limit())
    }

    /// Notes that the kernel has taken more than it was thought to.
    fn has_grown(&mut self) -> bool {
        let taken = self.ours.len() + self.others.len();
        let grew = self.capacity.is_some_and(|capacity| taken > capacity);
        if grew {
            self.capacity = Some(taken);
        }
        grew
    }

    /// The kernel refused. `None` if the command was not one of ours.
    pub fn failed(&mut self, now: Instant, command: u32, errno: i32) -> Option<Refused> {
        let is_it = |slot: &Slot| slot.asked.is_some() && slot.command == command;
        let at = self.ours.iter().position(is_it)?;
        let slot = self.ours.get_mut(at)?;
        let endpoint = slot.endpoint;
        let (look, tell) = match slot.asked.take()? {
            // Likely it is gone already, which is as good as deleted: the look will show.
            Asked::Delete => (true, !matches!(errno, EINVAL | ENOENT)),
            Asked::SetFlags => {
                slot.flagged = false;
                self.can_set_flags &= errno != EOPNOTSUPP;
                (true, true)
            }
            Asked::Add => {
                self.ours.remove(at);
                if errno == ERANGE {
                    self.probing = false;
                    self.note_full(command);
                }
                // A full kernel is reported with its capacity.
                (!matches!(errno, EPERM | ENOMEM), errno != ERANGE)
            }
        };
        let report = self.refuse(now, &endpoint, errno);
        Some(Refused {
            look,
            report: report.filter(|_| tell),
        })
    }

    /// Notes how many endpoints of ours filled the kernel when it refused `command`. What was
    /// asked later was not done yet.
    fn note_full(&mut self, command: u32) {
        let there = |slot: &&Slot| {
            let done = slot.asked.is_none() || is_acked(slot.command, command);
            match slot.asked {
                Some(Asked::Delete) => !done,
                Some(Asked::Add) => done,
                _ => true,
            }
        };
        self.full_at = Some(self.ours.iter().filter(there).count());
    }

    /// Notes a refusal; answers the endpoint if no other is refused with this errno.
    fn refuse(&mut self, now: Instant, endpoint: &Endpoint, errno: i32) -> Option<Endpoint> {
        let news = self.refusals.iter().all(|r| r.errno != errno);
        let known = |r: &&mut Refusal| is_at(endpoint, r.address, r.port);
        if let Some(refusal) = self.refusals.iter_mut().find(known) {
            refusal.retry_at = refusal.backoff.next(now);
            refusal.errno = errno;
            return news.then_some(*endpoint);
        }
        let mut backoff = Backoff::default();
        self.refusals.push(Refusal {
            address: endpoint.address,
            port: endpoint.port,
            errno,
            retry_at: backoff.next(now),
            backoff,
        });
        news.then_some(*endpoint)
    }
}

/// Whether the kernel has refused the endpoint and it is too early to ask again.
fn must_wait(
    refusals: &[Refusal],
    deadline: &mut Instant,
    now: Instant,
    address: IpAddr,
    port: u16,
) -> bool {
    let refused = |r: &&Refusal| r.address == address && r.port == port && r.retry_at > now;
    let refused = refusals.iter().find(refused);
    if let Some(refusal) = refused {
        *deadline = refusal.retry_at.min(*deadline);
    }
    refused.is_some()
}

fn want_of<'a>(wanted: &'a Wanted, slot: &Slot) -> Option<&'a Want> {
    wanted
        .chosen()
        .find(|w| is_at(&slot.endpoint, w.address, w.port))
}

/// Whether one of ours is what the kernel shows. Nobody can change in place what is compared: an
/// endpoint that differs is somebody else's.
fn is_same(ours: &Endpoint, shown: &Endpoint) -> bool {
    let key = |e: &Endpoint| (e.id, e.address, e.port, e.ifindex, e.flags.0 & KIND);
    key(ours) == key(shown)
}

fn is_at(endpoint: &Endpoint, address: IpAddr, port: u16) -> bool {
    endpoint.address == address && endpoint.port == port
}

fn is_implicit(endpoint: &Endpoint) -> bool {
    endpoint.flags.contains(EndpointFlags::IMPLICIT)
}
