// SPDX-License-Identifier: BSD-3-Clause
//! Takes the name of an abstract socket, and keeps it: `squatter NAME`. Says so on standard output.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

fn main() {
    let name = std::env::args().nth(1).expect("a name");
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let _socket = UnixDatagram::bind_addr(&address).expect("a name that is free");
    println!("ready");
    loop {
        std::thread::park();
    }
}
