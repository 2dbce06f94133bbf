//! An mptcpd of one's own: on the connections that this host makes it joins every usable local
//! address with every address of the peer. `[fullmesh]` may say how many `subflows` at most.

use std::net::SocketAddr;

use mptcpd::connection::{Connection, RemoteAddress};
use mptcpd::netlink::mptcp::{ConnectionEvent, SubflowAddress};
use mptcpd::network::LocalAddress;
use mptcpd::plugin::{Context, Entry, Plugin};

fn main() -> std::process::ExitCode {
    mptcpd::run(&[Entry {
        name: "fullmesh",
        description: "subflows from every local address to every address of the peer",
        priority: 0,
        keys: &["subflows"],
        create: || Box::new(FullMesh(8)),
    }])
}

struct FullMesh(usize); // how many subflows a connection may have

impl FullMesh {
    /// Asks for the subflows that a connection lacks.
    fn complete(&self, cx: &mut Context<'_>, token: u32) {
        let ours = |c: &Connection<'_>| c.is_established() && !c.server_side;
        let Some(c) = cx.connection(token).filter(ours) else {
            return;
        };
        let (id, address) = (0, c.remote);
        let initial = (!c.deny_join_id0).then_some(RemoteAddress { id, address });
        let mut room = self.0.saturating_sub(c.subflows().count());
        for remote in initial.iter().chain(c.remote_addresses()) {
            for local in cx.network().usable() {
                let ends = (local.address, remote.address.ip());
                let there = c.subflows().any(|s| (s.local.ip(), s.remote.ip()) == ends);
                if !there && room > 0 && ends.0.is_ipv4() == ends.1.is_ipv4() {
                    let id = cx.address_id(ends.0).unwrap_or(0); // 0: the kernel finds one
                    let from = SubflowAddress::at(ends.0, 0).with_id(id).on(local.index);
                    let to = SubflowAddress::from(remote.address).with_id(remote.id);
                    room -= usize::from(cx.create_subflow(token, from, to).is_ok());
                }
            }
        }
    }
}

impl Plugin for FullMesh {
    fn wants_connections(&self) -> bool {
        true
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), &'static str> {
        let most = cx.setting("subflows").map_or(Ok(self.0), str::parse);
        self.0 = most.map_err(|_| "subflows is not a number")?;
        Ok(())
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        self.complete(cx, connection.token);
    }

    fn new_address(&mut self, cx: &mut Context<'_>, token: u32, _: u8, _: SocketAddr) {
        self.complete(cx, token);
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, _: &LocalAddress) {
        cx.connections().for_each(|c| self.complete(cx, c.token));
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, gone: &LocalAddress) {
        let elsewhere = cx.network().usable().any(|a| a.address == gone.address);
        for c in cx.connections().filter(|_| !elsewhere) {
            for s in c.subflows().filter(|s| s.local.ip() == gone.address) {
                let _ = cx.destroy_subflow(c.token, s.local.into(), s.remote.into());
            }
        }
    }
}
