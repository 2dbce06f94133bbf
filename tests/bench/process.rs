// SPDX-License-Identifier: BSD-3-Clause
//! A daemon at work, and what it costs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::PATIENCE;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Peer,
    Ours,
    /// The least that a daemon can be, [`crate::relay`].
    Relay,
}

impl Which {
    pub fn name(self) -> &'static str {
        match self {
            Which::Peer => "C daemon",
            Which::Ours => "this one",
            Which::Relay => "least",
        }
    }
}

pub const BOTH: [Which; 2] = [Which::Peer, Which::Ours];

/// The flags that both get, so that both do the same.
pub const FLAGS: [&str; 4] = [
    "--addr-flags",
    "subflow",
    "--notify-flags",
    "existing,skip_link_local,skip_loopback",
];
/// The peer's file is read by both.
pub const CONFIG: &str = "/etc/mptcpd/mptcpd.conf";

pub struct Programs {
    pub peer: PathBuf,
    pub ours: PathBuf,
    /// The measuring program itself, which can be [`crate::relay`].
    pub relay: PathBuf,
}

impl Programs {
    pub fn path(&self, which: Which) -> &Path {
        match which {
            Which::Peer => &self.peer,
            Which::Ours => &self.ours,
            Which::Relay => &self.relay,
        }
    }

    /// Those that have the plugin; ours may be built without, or with more.
    pub fn having(&self, plugin: &str) -> Vec<Which> {
        let list = Command::new(&self.ours).arg("--list-plugins").output();
        let list = list.map(|output| output.stdout).unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        let has = |line: &str| line.split(' ').next() == Some(plugin);
        let ours = list.lines().any(has);
        BOTH.into_iter()
            .filter(|which| match which {
                Which::Peer => ["addr_adv", "sspi"].contains(&plugin),
                _ => ours,
            })
            .collect()
    }

    fn command(&self, which: Which, plugin: &str, wrapper: &[&str]) -> Command {
        let program = self.path(which);
        let mut command = match wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(FLAGS)
            .args(["--load-plugins", plugin, "--path-manager", plugin])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    pub fn start(&self, which: Which, plugin: &str) -> io::Result<Process> {
        Process::spawn(self.command(which, plugin, &[]))
    }

    /// Starts the relay, for the path manager with this number of a family.
    pub fn start_relay(&self, family: u16) -> io::Result<Process> {
        let mut command = Command::new(self.path(Which::Relay));
        command.args(["--relay", &family.to_string()]);
        Process::spawn(command)
    }

    /// Starts the daemon under `strace`, which writes its system calls to `file`.
    pub fn trace(
        &self,
        which: Which,
        plugin: &str,
        only_sending: bool,
        file: &Path,
    ) -> io::Result<Traced> {
        let name = file.to_string_lossy();
        // With a filter only the calls it names stop the daemon.
        let what: &[&str] = match only_sending {
            true => &["--seccomp-bpf", "-e", "trace=execve,sendto,sendmsg"],
            false => &["-e", "trace=all"],
        };
        let options = ["strace", "-f", "-qq", "-xx", "-s", "8192", "-o", &name];
        let wrapper = [&options, what].concat();
        let _ = fs::remove_file(file);
        let strace = Process::spawn(self.command(which, plugin, &wrapper))?;
        let mut traced = Traced {
            strace,
            daemon: 0,
            file: file.to_owned(),
        };
        let start = Instant::now();
        while traced.daemon == 0 {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.split_once('\n').map(|(line, _)| line);
            let pid = line.and_then(|line| line.split(' ').next()?.parse().ok());
            traced.daemon = pid.unwrap_or(0);
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("strace does not start the daemon"));
            }
        }
        Ok(traced)
    }
}

/// A child process, killed when dropped.
pub struct Process {
    pid: i32,
    clock: libc::clockid_t,
    ended: bool,
}

/// What a process cost from its beginning to its end.
pub struct Total {
    pub cpu: Duration,
    pub stopping: Duration,
}

impl Process {
    fn spawn(mut command: Command) -> io::Result<Self> {
        let pid = command.spawn()?.id();
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let mut clock = 0;
        // SAFETY: `clock` is valid for the write.
        let result = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        let process = Self {
            pid,
            clock,
            ended: false,
        };
        match result {
            0 => Ok(process),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// CPU time used so far by all its threads.
    pub fn cpu(&self) -> Duration {
        read(self.clock)
    }

    /// Waits until it has used no CPU for `quiet`; answers what it has used by then.
    pub fn settle(&self, quiet: Duration) -> Duration {
        let start = Instant::now();
        let mut before = self.cpu();
        loop {
            sleep(quiet);
            let cpu = self.cpu();
            if cpu == before || start.elapsed() > 2 * PATIENCE {
                return cpu;
            }
            before = cpu;
        }
    }

    pub fn memory(&self) -> io::Result<Memory> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(path)?;
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
        };
        Ok(Memory {
            private_dirty: value("Private_Dirty:"),
            pss: value("Pss:"),
            rss: value("Rss:"),
        })
    }

    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// SIGTERM, and to the end.
    pub fn stop(mut self) -> io::Result<Total> {
        signal(self.pid, libc::SIGTERM);
        self.wait(Instant::now())
    }

    fn wait(&mut self, since: Instant) -> io::Result<Total> {
        let mut status = 0;
        // SAFETY: zeroes are valid for a structure of numbers.
        let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
        // SAFETY: both pointers are valid for writes; the child is ours and not yet reaped.
        let pid = unsafe { libc::wait4(self.pid, &raw mut status, 0, &raw mut usage) };
        self.ended = true;
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
            return Err(io::Error::other(format!("ended with status {status}")));
        }
        let time = |t: libc::timeval| {
            let microseconds = t.tv_sec * 1_000_000 + t.tv_usec;
            Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
        };
        Ok(Total {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            stopping: since.elapsed(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            signal(self.pid, libc::SIGKILL);
            let _ = self.wait(Instant::now());
        }
    }
}

/// CPU time used so far by this process.
pub fn own_cpu() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for the write.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: takes plain numbers.
    unsafe { libc::kill(pid, signal) };
}

/// In KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub private_dirty: f64,
    pub pss: f64,
    pub rss: f64,
}

/// A daemon under `strace`.
pub struct Traced {
    strace: Process,
    daemon: i32,
    file: PathBuf,
}

impl Traced {
    /// What has been written so far, once no more comes for `quiet`.
    pub fn settle(&self, quiet: Duration) -> io::Result<Calls> {
        let start = Instant::now();
        let length = || fs::metadata(&self.file).map(|data| data.len());
        let mut before = length()?;
        loop {
            sleep(quiet);
            let now = length()?;
            if now == before || start.elapsed() > 2 * PATIENCE {
                return self.calls();
            }
            before = now;
        }
    }

    fn calls(&self) -> io::Result<Calls> {
        fs::read_to_string(&self.file).map(|text| Calls::count(&text))
    }

    /// SIGTERM, and to the end.
    pub fn stop(mut self) -> io::Result<Calls> {
        signal(self.daemon, libc::SIGTERM);
        self.strace.wait(Instant::now())?;
        self.calls()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.strace.ended && self.daemon != 0 {
            signal(self.daemon, libc::SIGKILL);
        }
    }
}

/// System calls, and the commands among them that change endpoints or limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub system: usize,
    pub commands: usize,
}

impl Calls {
    /// Lines are `PID NAME(...) = ...`; `PID <... NAME resumed>` ends a call counted already, and
    /// signals and exits begin with `---` and `+++`.
    fn count(trace: &str) -> Self {
        let calls = || {
            trace.lines().filter_map(|line| {
                let (_, call) = line.split_once(' ')?;
                let call = call.trim_start();
                call.starts_with(|c: char| c.is_ascii_lowercase())
                    .then_some(call)
            })
        };
        Self {
            system: calls().count(),
            commands: calls().map(commands).sum(),
        }
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            system: self.system - before.system,
            commands: self.commands - before.commands,
        }
    }
}

/// Messages for the path manager look like `nlmsg_type=mptcp_pm, ...}, "\x01...`; ADD_ADDR,
/// DEL_ADDR, FLUSH_ADDRS, SET_LIMITS and SET_FLAGS change something.
fn commands(call: &str) -> usize {
    let messages = call.split("nlmsg_type=mptcp_pm").skip(1);
    messages
        .filter(|message| {
            let payload = message.split_once("\"\\x").map(|(_, payload)| payload);
            let command = payload.and_then(|payload| payload.get(..2));
            matches!(command, Some("01" | "02" | "04" | "05" | "07"))
        })
        .count()
}
