// SPDX-License-Identifier: BSD-3-Clause
//! One end of a point-to-point link: a tun device whose packets go to standard output and come
//! from standard input, each after its length in two bytes, big-endian. Two of these, each one's
//! output the other's input, are like the two ends of a PPP session.
//!
//! ```text
//! tunnel NAME
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread;

/// Larger than any MTU.
const PACKET: usize = 65_535;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Err(error) = open(&name).and_then(run);
    eprintln!("tunnel: {error}");
    ExitCode::FAILURE
}

enum Never {}

fn run(mut device: File) -> io::Result<Never> {
    let other = device.try_clone()?;
    thread::spawn(move || {
        let _ = receive(other);
        std::process::exit(0);
    });
    let mut output = io::stdout().lock();
    let mut packet = vec![0; PACKET];
    loop {
        let length = device.read(&mut packet)?;
        let bytes = u16::try_from(length)
            .map_err(io::Error::other)?
            .to_be_bytes();
        output.write_all(&bytes)?;
        output.write_all(&packet[..length])?;
        output.flush()?;
    }
}

fn receive(mut device: File) -> io::Result<Never> {
    let mut input = io::stdin().lock();
    let mut packet = vec![0; PACKET];
    loop {
        let mut length = [0; 2];
        input.read_exact(&mut length)?;
        let packet = &mut packet[..u16::from_be_bytes(length).into()];
        input.read_exact(packet)?;
        // What comes while the device is down is lost, as on any link.
        let _ = device.write(packet);
    }
}

/// Makes the device; it goes with its descriptor.
fn open(name: &str) -> io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: an ifreq of zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: `request` is an ifreq and outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device)
}
