// SPDX-License-Identifier: BSD-3-Clause
//! The daemon with the plugins that its features select.
#![cfg_attr(feature = "router", no_main)]

#[cfg(feature = "router")]
mptcpd::main!(mptcpd::BUILT_IN);

#[cfg(not(feature = "router"))]
fn main() -> std::process::ExitCode {
    mptcpd::run(mptcpd::program!(mptcpd::BUILT_IN))
}
