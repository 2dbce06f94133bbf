// SPDX-License-Identifier: BSD-3-Clause
//! One request and its answer, and the reading of events.

use crate::engine::Incomplete;
use crate::logging;
use crate::netlink::Seq;
use crate::netlink::attribute::Full;
use crate::netlink::message::{Message, Messages};
use crate::sys::errno::Errno;
use crate::sys::netlink::{Inbox, Received, Socket};

/// Returns the error of a system call as the reason why a dump is of no use.
pub(super) fn refused(error: Errno) -> Incomplete {
    Incomplete::Refused(error.0)
}

/// Sends a request and hands its answer to `each`, to the end.
pub(crate) fn exchange(
    socket: &Socket,
    request: Result<&[u8], Full>,
    buffer: &mut Vec<u8>,
    number: Seq,
    each: &mut dyn FnMut(&Message<'_>),
) -> Result<(), Incomplete> {
    let result = send_and_read(socket, request, buffer, number, each);
    if result.is_err() {
        // What is left of the answer is of no use, and a dump that has not ended is in the way of
        // the next.
        while let Ok(Some(_)) = socket.receive(buffer) {}
    }
    result
}

/// Sends requests that have a datagram each for an answer, and hands those to `each` until it
/// returns false.
pub(super) fn ask(
    socket: &Socket,
    requests: Result<&[u8], Full>,
    inbox: &mut Inbox,
    each: &mut dyn FnMut(&Message<'_>) -> bool,
) -> Result<(), Incomplete> {
    send(socket, requests)?;
    loop {
        let more = inbox.fill(socket).map_err(refused)?;
        for received in inbox.iter() {
            let Received::Datagram(datagram) = received else {
                continue;
            };
            let mut messages = Messages::new(datagram);
            while let Some(Ok(message)) = messages.next() {
                if !each(&message) {
                    return Ok(());
                }
            }
        }
        if !more {
            return Ok(());
        }
    }
}

fn send(socket: &Socket, request: Result<&[u8], Full>) -> Result<(), Incomplete> {
    let request = request.map_err(|_| Incomplete::Refused(libc::EMSGSIZE))?;
    socket.send(request).map_err(refused)
}

fn send_and_read(
    socket: &Socket,
    request: Result<&[u8], Full>,
    buffer: &mut Vec<u8>,
    number: Seq,
    each: &mut dyn FnMut(&Message<'_>),
) -> Result<(), Incomplete> {
    send(socket, request)?;
    let mut whole = true;
    loop {
        let datagram = match socket.receive(buffer).map_err(refused)? {
            Some(Received::Datagram(datagram)) => datagram,
            Some(Received::Truncated) => {
                whole = false;
                continue;
            }
            None => return Err(Incomplete::Interrupted),
        };
        for message in Messages::new(datagram) {
            let Ok(message) = message else {
                whole = false;
                continue;
            };
            if message.seq != number {
                // What was left of an answer whose reading failed.
                continue;
            }
            whole &= !message.is_interrupted();
            each(&message);
            match message.ack() {
                Some(ack) if ack.errno != 0 => return Err(Incomplete::Refused(ack.errno)),
                Some(_) if whole => return Ok(()),
                Some(_) => return Err(Incomplete::Interrupted),
                None => {}
            }
        }
    }
}

/// Reads everything that has arrived. Ends early under a flood, so that the rest of the loop
/// has its turn.
///
/// Returns whether something was lost, but only once all that was kept has been read: a dump made
/// before would be overwritten by events that are older than it.
pub(super) fn read_all(
    socket: &Socket,
    inbox: &mut Inbox,
    lost: &mut bool,
    each: &mut dyn FnMut(&Message<'_>),
) -> bool {
    for _ in 0..256 {
        let more = match inbox.fill(socket) {
            Ok(more) => more,
            Err(error) => {
                if error != Errno(libc::ENOBUFS) {
                    logging::warn!("cannot read events: {error}");
                }
                *lost = true;
                true
            }
        };
        for received in inbox.iter() {
            let Received::Datagram(datagram) = received else {
                *lost = true;
                continue;
            };
            for message in Messages::new(datagram) {
                match message {
                    Ok(message) => each(&message),
                    Err(_) => *lost = true,
                }
            }
        }
        if !more {
            return core::mem::take(lost);
        }
    }
    false
}
