//! The daemon with the plugins that its features select.

fn main() -> std::process::ExitCode {
    mptcpd::run(mptcpd::plugin::BUILT_IN)
}
