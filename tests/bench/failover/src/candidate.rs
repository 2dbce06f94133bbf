// SPDX-License-Identifier: BSD-3-Clause
//! Who manages the paths.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::lab::{SERVER, sysctl};

/// Where the daemons' files are: a file system of the lab's own, which goes with it.
pub const DIRECTORY: &str = "/run";

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
    /// This daemon with addr_adv, probes and steering.
    Track,
    /// This daemon with fullmesh.
    FullMesh,
    /// This daemon with failover.
    Failover,
    /// This daemon with ndiffports.
    Ndiffports,
}

impl Candidate {
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::C,
        Self::AddrAdv,
        Self::Sspi,
        Self::Track,
        Self::FullMesh,
        Self::Failover,
        Self::Ndiffports,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::C => "c",
            Self::AddrAdv => "addr_adv",
            Self::Sspi => "sspi",
            Self::Track => "track",
            Self::FullMesh => "fullmesh",
            Self::Failover => "failover",
            Self::Ndiffports => "ndiffports",
        }
    }

    /// Whether connections are left to a plugin, rather than to the in-kernel path manager.
    fn has_strategy(self) -> bool {
        !matches!(self, Self::None | Self::C | Self::AddrAdv | Self::Track)
    }
}

/// Starts a daemon in the namespace of this thread, with flags for its endpoints and `more` for
/// the configuration of ours. It ends with this process.
pub fn start(
    side: &str,
    candidate: Candidate,
    program: &str,
    flags: &str,
    more: &str,
) -> io::Result<Child> {
    let mut daemon = Command::new(program);
    if candidate == Candidate::C {
        daemon.args([
            "--path-manager=addr_adv",
            "--load-plugins=addr_adv",
            "--notify-flags=existing,skip_link_local,skip_loopback",
        ]);
        daemon.arg(format!("--addr-flags={flags}"));
    } else {
        let (name, track) = match candidate {
            Candidate::Track if side == "client" => {
                ("addr_adv", format!("track = {SERVER}\nsteer = yes\n"))
            }
            Candidate::Track => ("addr_adv", String::new()),
            other => (other.name(), String::new()),
        };
        if !track.is_empty() {
            sysctl("ipv4/ping_group_range", "0 0")?;
        }
        let config = format!("{DIRECTORY}/{side}.conf");
        fs::write(
            &config,
            format!(
                "[core]\nlog-level = debug\npath-manager = {name}\nload-plugins = {name}\n\
                 addr-flags = {flags}\nstate-file = {DIRECTORY}/{side}.state\n{track}{more}"
            ),
        )?;
        daemon.args(["-c", &config]);
    }
    if candidate.has_strategy() {
        sysctl("mptcp/pm_type", "1")?;
    }
    let log = File::create(format!("{DIRECTORY}/{side}.log"))?;
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
    daemon.spawn()
}
