// SPDX-License-Identifier: BSD-3-Clause
//! Questions to inet_diag: which connections and subflows there are.

use crate::engine::{Engine, Incomplete, Input};
use crate::netlink::attribute::Builder;
use crate::netlink::diag::{self, Query, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK};
use crate::request::CommandId;
use crate::sys::netlink::Socket;
use crate::time::Instant;

use super::Buffers;
use super::exchange::{exchange, refused};

/// The socket, once there was a question.
#[derive(Default)]
pub(super) struct Diag(Option<Socket>);

impl Diag {
    /// Asks, and hands the engine what the kernel shows.
    pub(super) fn query(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        (number, query): (CommandId, &Query),
    ) {
        let result = self.ask(now, engine, io, (number, query));
        engine.handle(now, Input::DiagEnd(result));
    }

    fn ask(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        (number, query): (CommandId, &Query),
    ) -> Result<(), Incomplete> {
        let socket = match &mut self.0 {
            Some(socket) => socket,
            none => none.insert(Socket::open(libc::NETLINK_SOCK_DIAG).map_err(refused)?),
        };
        let mut out = Builder::new(&mut io.out);
        let encoded = query.encode(&mut out, number);
        let (request, buffer) = (encoded.map(|()| out.bytes()), io.inbox.whole());
        exchange(socket, request, buffer, number, &mut |message| {
            if !matches!(message.kind, SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK) {
                return;
            }
            if let Query::Sockets = query {
                if let Some(found) = diag::decode_socket(message.payload) {
                    engine.handle(now, Input::DiagSubflow(found));
                }
            } else if let Query::Subflows(_) = query {
                #[cfg(feature = "quality")]
                if let Some((found, quality)) = diag::decode_quality(message.payload) {
                    engine.handle(now, Input::DiagQuality(found.token, found.ends, quality));
                }
                if let Some(found) = diag::decode_subflow(message.payload) {
                    engine.handle(now, Input::DiagSubflow(found));
                }
            } else if let Some(found) = diag::decode_connection(message.payload) {
                engine.handle(now, Input::DiagConnection(found));
            }
        })
    }
}
