// SPDX-License-Identifier: BSD-3-Clause
//! What the engine is told, and what it tells: the whole contract with whoever drives it.

use core::net::SocketAddr;

use libc::{EACCES, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

use crate::config::Config;
#[cfg(feature = "health")]
use crate::health;
use crate::netlink::diag;
use crate::netlink::mptcp::{self, Endpoint, Event, Limits, Token};
use crate::netlink::route::{Name, Notification, Route};
#[cfg(feature = "control")]
use crate::network::Declared;
use crate::network::route::Change;
use crate::network::{Part, Question};
use crate::request::{CommandId, Failure, Reply};
use crate::state::State;

/// Something that happened.
pub enum Input<'a> {
    /// An event of rtnetlink.
    Network(&'a Notification),
    /// An item of the dump of the network that is under way.
    NetworkItem(&'a Notification),
    /// The dump of a part of the network ended.
    NetworkEnd(Part, Result<(), Incomplete>),
    /// The answer to a question: a route, or that there is none.
    Way(Question, Result<Option<&'a Route>, Incomplete>),
    /// An endpoint that the dump under way shows.
    Endpoint(Endpoint),
    /// The dump of the endpoints ended.
    EndpointsEnd(Result<(), Incomplete>),
    /// The kernel has shown its limits, or refused to.
    Limits(Result<Limits, Incomplete>),
    /// An event of a connection.
    Connection(&'a Event),
    /// What a plugin's command asked for.
    Reply(CommandId, &'a Reply),
    /// A connection that inet_diag shows.
    DiagConnection(diag::Connection),
    /// A subflow that inet_diag shows.
    DiagSubflow(diag::Subflow),
    /// What TCP knows of the path of a subflow, before [`Self::DiagSubflow`].
    #[cfg(feature = "quality")]
    DiagQuality(Token, diag::Ends, diag::Quality),
    /// The answer to a question to inet_diag ended.
    DiagEnd(Result<(), Incomplete>),
    /// An address of the connection with this token.
    ConnectionAddress(Token, Endpoint),
    /// The dump of the addresses of a connection ended.
    ConnectionAddressesEnd(Token, Result<(), Incomplete>),
    /// The listener that a command asked for is open, or a program listens where one was looked for.
    Listening(CommandId, SocketAddr),
    /// The kernel refused a command.
    Failed(CommandId, Failure<'a>),
    /// Every command up to this one that has not failed is done.
    Done(CommandId),
    /// What became of the commands up to this one that have not failed is not known.
    ResultsLost(CommandId),
    /// The kernel's path manager appeared or vanished.
    PathManager(bool),
    /// Events were lost.
    EventsLost(Source),
    /// Something is said of an interface by its name.
    #[cfg(feature = "control")]
    Declare(&'a str, Declared),
    /// Something became of probes.
    #[cfg(feature = "health")]
    Probes(health::Event),
    /// The configuration was read again.
    Reload(Box<Config>),
    /// An endpoint that an earlier run left behind, from the run state.
    Remember(Endpoint),
    /// The rest of the run state of an earlier run.
    Restore(&'a State),
    /// The run state could not be written.
    StateNotSaved,
    /// The daemon ends: what is left to do is in [`super::Engine::poll_command`]. Settle no more.
    Stop,
}

/// Why a dump is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incomplete {
    /// Something changed meanwhile (NLM_F_DUMP_INTR), or messages were lost.
    Interrupted,
    /// errno.
    Refused(i32),
}

impl Incomplete {
    /// Returns the errno if that says that the kernel shows no sockets at all: one without
    /// inet_diag, or without MPTCP's part of it, refuses each time, and so does a security policy.
    pub(super) fn no_diag(self) -> Option<i32> {
        match self {
            Self::Refused(errno @ (ENOENT | EOPNOTSUPP | EPROTONOSUPPORT | EPERM | EACCES)) => {
                Some(errno)
            }
            _ => None,
        }
    }
}

/// Where events come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Network,
    Connections,
}

/// Which events are of use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Subscriptions {
    /// Those of routes, rules and nexthop objects, beside links and addresses.
    pub routes: bool,
    /// All those of connections; else only the ends of subflows, which a healthy connection has
    /// none of.
    pub connections: bool,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Hear of these events from now on, and of no others.
    Subscribe(Subscriptions),
    /// Dump a part of the network, item by item; of routes only those of a protocol, unless that
    /// is 0.
    DumpNetwork(Part, u8),
    /// Ask for the way of an address, for [`Input::Way`]. Several go together.
    AskWay(Question),
    /// Dump all endpoints.
    DumpEndpoints,
    /// Get the limits.
    GetLimits,
    /// Dump the addresses of the connection with this token.
    DumpAddresses(Token),
    /// Ask inet_diag.
    Diag(diag::Query),
    /// Send a command to the path manager. Unless it asks for something it goes without
    /// NLM_F_ACK, together with others.
    PathManager(mptcp::Command),
    /// Change our source routing.
    Route(Change),
    /// Open a listener, for [`Input::Listening`].
    Listen(SocketAddr),
    /// Look whether a program listens there, for [`Input::Listening`].
    Probe(SocketAddr),
    /// Close a listener, with a result.
    Unlisten(SocketAddr),
    /// Close a listener that nobody needs any more. There is no result.
    CloseListener(SocketAddr),
    /// Look whether a strict reverse-path filter makes this uplink useless: the routes answer its
    /// IPv4 traffic by another interface.
    CheckReversePath(Name),
}
