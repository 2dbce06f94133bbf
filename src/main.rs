//! The daemon with the plugins that its features select.
#![no_main]

mptcpd::main!(mptcpd::BUILT_IN);
