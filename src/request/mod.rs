// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin may ask of the daemon, and what it is told in return.

mod queue;

use core::fmt;
use core::net::SocketAddr;

use crate::netlink::mptcp::{AddressId, Command, Endpoint, Limits, SubflowAddress, Token};
use crate::sys::errno::Errno;

/// The number of a command, by which its result comes back: that of its netlink message.
pub use crate::netlink::Seq as CommandId;
pub(crate) use queue::{Queue, Queued, Task};

/// Why the kernel refused a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure<'a> {
    /// Positive, as in errno(3).
    pub errno: i32,
    /// The kernel's own words (NLMSGERR_ATTR_MSG), empty where it gave none.
    pub message: &'a str,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = Errno(self.errno);
        match self.message {
            "" => errno.fmt(f),
            message => write!(f, "{message} ({errno})"),
        }
    }
}

/// What a command that asks something brings back, once for each item, before its
/// [`crate::plugin::Plugin::command_done`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// An endpoint of the in-kernel path manager, or an address of a connection.
    Endpoint(Endpoint),
    /// The limits of the in-kernel path manager.
    Limits(Limits),
    /// Where the daemon listens: the address asked for, and its port or the one the kernel chose.
    Listening(SocketAddr),
}

/// What the daemon is asked to do beyond the kernel's own commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Request {
    /// A command of the kernel's path manager.
    Kernel(Command),
    /// Announce an address, with a listener of the daemon's own behind it.
    AnnounceWithListener {
        /// The connection.
        token: Token,
        /// The address, its id, and the port; 0 is the connection's.
        address: SubflowAddress,
    },
    /// Announce an address, if a program listens there.
    AnnounceIfServed {
        /// The connection.
        token: Token,
        /// The address, its id, and the port; 0 is the connection's.
        address: SubflowAddress,
    },
    /// Listen for joins at an address. Counted: each needs its [`Request::Unlisten`].
    Listen(SocketAddr),
    /// Let go of a listener.
    Unlisten(SocketAddr),
}

impl Request {
    /// The connection that the request is about, if it is about one.
    pub fn token(&self) -> Option<Token> {
        match self {
            Self::Kernel(command) => command.token(),
            Self::AnnounceWithListener { token, .. } | Self::AnnounceIfServed { token, .. } => {
                Some(*token)
            }
            Self::Listen(_) | Self::Unlisten(_) => None,
        }
    }

    /// The connection, and the id of the address, that the request announces or withdraws.
    pub(crate) fn announcement(&self) -> Option<(Token, AddressId)> {
        match *self {
            Self::AnnounceWithListener { token, address }
            | Self::AnnounceIfServed { token, address }
            | Self::Kernel(Command::Announce { token, address }) => Some((token, address.id)),
            Self::Kernel(Command::RemoveAddress { token, id }) => Some((token, id)),
            _ => None,
        }
    }
}

/// In words, and without the connection: whoever knows a token can join it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, endpoint): (_, Option<&Endpoint>) = match self {
            Self::Kernel(Command::AddEndpoint(endpoint)) => ("add ", Some(endpoint)),
            Self::Kernel(Command::DeleteEndpoint(endpoint)) => ("delete ", Some(endpoint)),
            Self::Kernel(Command::SetFlags(endpoint)) => ("set flags of ", Some(endpoint)),
            Self::Kernel(Command::FlushEndpoints) => ("flush endpoints", None),
            Self::Kernel(Command::SetLimits(limits)) => return write!(f, "set {limits}"),
            Self::Kernel(Command::Announce { .. }) => ("announce", None),
            Self::Kernel(Command::RemoveAddress { .. }) => ("remove address", None),
            Self::Kernel(Command::CreateSubflow { .. }) => ("create subflow", None),
            Self::Kernel(Command::DestroySubflow { .. }) => ("destroy subflow", None),
            Self::Kernel(Command::SetBackup { .. }) => ("set backup", None),
            Self::Kernel(_) => ("get", None),
            Self::AnnounceWithListener { .. } => ("listen and announce", None),
            Self::AnnounceIfServed { .. } => ("announce if served", None),
            Self::Listen(_) => ("listen", None),
            Self::Unlisten(_) => ("unlisten", None),
        };
        f.write_str(words)?;
        endpoint.map_or(Ok(()), |endpoint| endpoint.fmt(f))
    }
}
