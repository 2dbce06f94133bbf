// SPDX-License-Identifier: BSD-3-Clause
//! Signals, read like any other input.

use std::os::fd::{AsRawFd, RawFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::errno::Result;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalRequest {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    DumpState,
}

pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals, to be read from now on. A reader of standard error that goes away is an
    /// error of writing, no signal.
    pub fn open() -> Result<Self> {
        let signals = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
        ];
        let mut set: SigSet = signals.into_iter().collect();
        let read = set;
        set.add(Signal::SIGPIPE);
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&read, flags)?))
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next signal that has come, if any.
    pub fn read(&mut self) -> Option<SignalRequest> {
        let info = self.0.read_signal().ok()??;
        let signal = i32::try_from(info.ssi_signo).ok()?;
        Some(match Signal::try_from(signal).ok()? {
            Signal::SIGHUP => SignalRequest::Reload,
            Signal::SIGUSR1 => SignalRequest::DumpState,
            _ => SignalRequest::Stop,
        })
    }
}
