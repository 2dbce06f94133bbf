// SPDX-License-Identifier: BSD-3-Clause
//! The run-state file.

use std::fs::File;

use super::{HALF, Identity, MAGIC, State, Unusable, decode, encode};
use crate::config::StateFile as StatePath;
use crate::netlink::mptcp::Endpoint;
use crate::sys;
use crate::sys::errno::{self, Errno};

const DIRECTORY: &str = "/run/mptcpd";

/// The same directory, by the name that OpenWrt has for it, too.
#[cfg(feature = "control")]
const SOCKETS: &str = "/var/run/mptcpd";

/// What is read of the list of mounts at most; where there is more, nothing is taken for abandoned.
const MOUNTS: usize = 1 << 20;

pub struct StateFile {
    file: File,
    identity: Identity,
    generation: u32,
}

/// Where the namespace's state is kept unless configured otherwise.
pub fn default_path(identity: &Identity) -> String {
    format!("{DIRECTORY}/{:x}.state", identity.namespace)
}

/// Returns where the daemon of the namespace can be talked to.
#[cfg(feature = "control")]
pub fn socket_path(namespace: u64) -> String {
    format!("{SOCKETS}/{namespace:x}.sock")
}

/// Makes the directory of sockets, if it is not there.
#[cfg(feature = "control")]
pub fn make_directory() {
    let _ = sys::make_directory(SOCKETS);
}

/// Keeps every other daemon out of the namespace with a lock file that only its owner may open: in
/// the run directory or, where that cannot be written, beside the state file. Returns the file, to be
/// held, and `None` if there is no place for one; the error is EWOULDBLOCK if another daemon has it.
pub fn lock(state: &StatePath, namespace: u64) -> errno::Result<Option<File>> {
    let beside = match state {
        StatePath::Path(path) => directory(path),
        StatePath::None | StatePath::Default => None,
    };
    for directory in [Some(DIRECTORY), beside].into_iter().flatten() {
        if let Ok(file) = open(&format!("{directory}/{namespace:x}.lock")) {
            sys::lock(&file)?;
            // Best effort: without its name nobody will know it to be gone.
            if let Ok(name) = sys::read_link("/proc/self/ns/net") {
                let _ = sys::write_at(&file, &name, 0);
            }
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Removes what daemons have left in the run directory whose namespaces are gone.
pub fn remove_abandoned() {
    // In a jail processes outside cannot be seen, nor others without that capability.
    if std::process::id() == 1 || !sys::has_capability(sys::CAP_SYS_PTRACE) {
        return;
    }
    let _ = sys::any_entry(DIRECTORY, &mut |name| {
        let path = name.strip_suffix(".lock");
        let path = path.map(|name| format!("{DIRECTORY}/{name}"));
        if let Some(path) = path.filter(|path| is_abandoned(path)) {
            for kind in ["state", "sock", "lock"] {
                sys::remove(&format!("{path}.{kind}"));
            }
        }
        false
    });
}

/// Returns whether no daemon holds the lock file, and nothing its namespace: neither a process nor a
/// mount.
fn is_abandoned(path: &str) -> bool {
    let file = sys::open(&format!("{path}.lock"), libc::O_RDWR | libc::O_NOFOLLOW);
    let Ok(file) = file.and_then(|file| sys::lock(&file).map(|()| file)) else {
        return false;
    };
    let mounts = sys::open("/proc/self/mountinfo", libc::O_RDONLY);
    let (Ok(name), Ok(mounts)) = (
        sys::read(&file, 64),
        mounts.and_then(|mounts| sys::read(&mounts, MOUNTS)),
    ) else {
        return false;
    };
    let mounted = |name: &[u8]| mounts.windows(name.len()).any(|part| part == name);
    if name.is_empty() || mounts.len() == MOUNTS || mounted(&name) {
        return false;
    }
    let is_there = sys::any_entry("/proc", &mut |process| {
        let link = sys::read_link(&format!("/proc/{process}/ns/net"));
        link.is_ok_and(|link| link == name)
    });
    is_there.is_ok_and(|is_there| !is_there)
}

impl StateFile {
    /// Opens the file, or makes it, with its directory if need be.
    pub fn open(path: &str, identity: Identity) -> Result<Self, String> {
        let file = open(path).map_err(|error| error.to_string())?;
        if !sys::status(&file).is_ok_and(|status| status.is_file()) {
            return Err("not a regular file".to_owned());
        }
        if !may_be_written(&file) {
            return Err("not a state file, and not empty".to_owned());
        }
        Ok(Self {
            file,
            identity,
            generation: 0,
        })
    }

    /// Reads the newer of the two halves, handing its endpoints to `found`.
    pub fn load(
        &mut self,
        buffer: &mut [u8],
        found: &mut dyn FnMut(Endpoint),
    ) -> Result<State, Unusable> {
        let first = self.read(0, buffer, &mut |_| ());
        let second = self.read(1, buffer, &mut |_| ());
        let newer = match (first, second) {
            (Ok(first), Ok(second)) => {
                let age = second.generation.wrapping_sub(first.generation);
                u16::from(age < u32::MAX / 2)
            }
            (Err(_), Ok(_)) => 1,
            (Ok(_), Err(_)) => 0,
            (Err(Unusable::Empty), Err(Unusable::Empty)) => {
                let length = sys::status(&self.file).map_or(0, |status| status.size);
                return Err(if length == 0 {
                    Unusable::Empty
                } else {
                    Unusable::Damaged
                });
            }
            // A half that was never written is no news.
            (Err(Unusable::Empty), Err(cause)) | (Err(cause), Err(_)) => return Err(cause),
        };
        let state = self.read(newer, buffer, found)?;
        self.generation = state.generation;
        Ok(state)
    }

    fn read(
        &self,
        half: u16,
        buffer: &mut [u8],
        found: &mut dyn FnMut(Endpoint),
    ) -> Result<State, Unusable> {
        let buffer = buffer.get_mut(..HALF).ok_or(Unusable::Damaged)?;
        let length = sys::read_at(&self.file, buffer, half * HALF as u16);
        let length = length.map_err(|_| Unusable::Damaged)?;
        let read = buffer.get(..length).unwrap_or_default();
        decode(read, &self.identity, found)
    }

    /// Writes the state into the older half, which it stays if that fails.
    pub fn save(
        &mut self,
        buffer: &mut [u8],
        state: &State,
        endpoints: &mut dyn Iterator<Item = Endpoint>,
    ) -> errno::Result<()> {
        let generation = self.generation.wrapping_add(1);
        let state = State {
            generation,
            ..*state
        };
        let buffer = buffer.first_chunk_mut().ok_or(Errno(libc::ENOMEM))?;
        let length = encode(buffer, &self.identity, &state, endpoints);
        let offset = u16::from(generation % 2 == 1) * HALF as u16;
        sys::write_at(&self.file, buffer.get(..length).unwrap_or_default(), offset)?;
        self.generation = generation;
        Ok(())
    }
}

/// Returns whether the file is empty, or one of ours of whatever version: any other is precious.
fn may_be_written(file: &File) -> bool {
    let name = MAGIC.first_chunk::<7>();
    let has_name = |half: u16| {
        let mut start = [0; 7];
        let read = sys::read_at(file, &mut start, half * HALF as u16);
        read == Ok(start.len()) && Some(&start) == name
    };
    let empty = sys::status(file).is_ok_and(|status| status.size == 0);
    empty || has_name(0) || has_name(1)
}

/// Returns what comes before the last slash.
fn directory(path: &str) -> Option<&str> {
    path.get(..path.bytes().rposition(|byte| byte == b'/')?)
}

fn open(path: &str) -> errno::Result<File> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_NOFOLLOW;
    match (sys::open(path, flags), directory(path)) {
        (Err(Errno(libc::ENOENT)), Some(directory)) => {
            sys::make_directory(directory)?;
            sys::open(path, flags)
        }
        (result, _) => result,
    }
}
