// SPDX-License-Identifier: BSD-3-Clause
//! An mptcpd of one's own: on the connections that this host opens, it joins every usable local
//! address with every address of the peer.
//!
//! ```text
//! [fullmesh]
//! subflows = 8    # at most, for each connection, the initial one included
//! ```
//!
//! The kernel leaves connections to plugins where `sysctl net.mptcp.pm_type` is 1.

use std::net::SocketAddr;

use mptcpd::{
    AddressId, ConnectionEvent, Context, Entry, LocalAddress, Plugin, QueueFull, RemoteAddress,
    SubflowAddress, Token,
};

static PLUGINS: &[Entry] = &[Entry::new(
    "fullmesh",
    "subflows from every local address to every address of the peer",
    || Box::new(FullMesh { max_subflows: 8 }),
)
.with_keys(&["subflows"])];

/// A daemon is the list of the plugins that it knows. `run` does all the rest: command line,
/// configuration, log, signals and the kernel.
fn main() -> std::process::ExitCode {
    mptcpd::run(mptcpd::program!(PLUGINS))
}

/// There is no list of connections in here: the daemon keeps one, which shows what has been asked
/// for as well as what is there.
struct FullMesh {
    max_subflows: usize,
}

impl FullMesh {
    /// Asks for the subflows that a connection lacks. Where the daemon takes no more commands, the
    /// next event asks for the rest; a plugin that must not wait sets a timer.
    fn complete(&self, cx: &mut Context<'_>, token: Token) -> Result<(), QueueFull> {
        let Some(connection) = cx.connection(token) else {
            return Ok(());
        };
        // The host that accepted a connection leaves its subflows to the one that opened it.
        if !connection.is_established() || connection.server_side {
            return Ok(());
        }
        let count = connection.subflows().count();
        let mut room = self.max_subflows.saturating_sub(count);
        // The peer may forbid further subflows to the address that the connection was opened to
        // (the C flag of MP_CAPABLE), as a load balancer does.
        let initial = (!connection.deny_join_id0).then_some(RemoteAddress {
            id: AddressId::INITIAL,
            address: connection.remote,
        });
        for remote in initial.iter().chain(connection.remote_addresses()) {
            for local in cx.network().usable() {
                if room == 0 {
                    return Ok(());
                }
                let ends = (local.address, remote.address.ip());
                let mut subflows = connection.subflows();
                if subflows.any(|s| (s.local.ip(), s.remote.ip()) == ends)
                    || ends.0.is_ipv4() != ends.1.is_ipv4()
                {
                    continue;
                }
                // Port 0 lets the kernel choose one, and so does no id, where all 255 are taken.
                let id = cx.address_id(local.address).unwrap_or(AddressId::NONE);
                let from = SubflowAddress::at(local.address, 0).with_id(id);
                let to = SubflowAddress::from(remote.address).with_id(remote.id);
                cx.create_subflow(token, from.on(local.index), to)?;
                room -= 1;
            }
        }
        Ok(())
    }
}

/// Each callback says what has changed; none of them needs more than a comparison anew.
impl Plugin for FullMesh {
    fn wants_connections(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        if let Some(value) = cx.setting("subflows") {
            let cause = |_| format!("subflows = {value}: not a number");
            self.max_subflows = value.parse().map_err(cause)?;
        }
        Ok(())
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        let _ = self.complete(cx, connection.token);
    }

    fn new_address(&mut self, cx: &mut Context<'_>, token: Token, _: AddressId, _: SocketAddr) {
        let _ = self.complete(cx, token);
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, _: &LocalAddress) {
        for connection in cx.connections() {
            let _ = self.complete(cx, connection.token);
        }
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, gone: &LocalAddress) {
        // Another interface may have the same address.
        if cx.network().usable().any(|a| a.address == gone.address) {
            return;
        }
        for connection in cx.connections() {
            for subflow in connection.subflows() {
                if subflow.local.ip() == gone.address {
                    let (local, remote) = (subflow.local.into(), subflow.remote.into());
                    let _ = cx.destroy_subflow(connection.token, local, remote);
                }
            }
        }
    }
}
