// SPDX-License-Identifier: BSD-3-Clause
//! Other programs flush, add and delete endpoints, addresses, routes, rules and links at random while
//! connections run: in the end there is what should be, theirs are as they left them, and no
//! connection is lost. `MPTCPD_CHAOS` is for how many seconds, `SEED` which chaos:
//!
//! ```sh
//! MPTCPD_CHAOS=3600 SEED=2 cargo test --test chaos -- --ignored
//! ```

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::peer::{Held, Transfer};
use support::{Lab, until};

/// What other programs have made, so far as it has not been taken away by them.
#[derive(Default)]
struct Theirs {
    endpoints: BTreeSet<u8>,
    rules: BTreeSet<u8>,
    /// Whether wan2 has its other address.
    alias: bool,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// One of three.
    fn one(&mut self) -> u8 {
        1 + u8::try_from(self.below(3)).expect("a small number")
    }
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    text.parse().unwrap_or(default)
}

fn announced(n: u8) -> String {
    format!("10.99.9.{n}")
}

/// What other programs do next. The first uplink is left alone, lest no way be left.
fn meddle(lab: &Lab, random: &mut Random, theirs: &mut Theirs) {
    let host = &lab.host;
    match random.below(12) {
        0 => {
            host.ip("mptcp endpoint flush");
            theirs.endpoints.clear();
        }
        1 | 2 => {
            let n = random.one();
            let add = format!("ip mptcp endpoint add {} signal", announced(n));
            // There may be no room, or it is there.
            if host.run(&add).status.success() {
                theirs.endpoints.insert(n);
            }
        }
        3 => {
            let n = random.one();
            if let Some(id) = host.id(&announced(n)) {
                host.ip_any(&format!("mptcp endpoint delete id {id}"));
                theirs.endpoints.remove(&n);
            }
        }
        // Ours, by the id that it has.
        4 => {
            if let Some(id) = host.id(&format!("10.0.{}.1", random.one())) {
                host.ip_any(&format!("mptcp endpoint delete id {id}"));
            }
        }
        5 => host.ip_any("addr del 10.0.3.1/24 dev wan3"),
        6 => host.ip_any("route del default dev wan2"),
        7 => host.ip_any("link set wan3 down"),
        8 => lab.unplug("wan2"),
        9 => {
            theirs.alias = !theirs.alias;
            let verb = if theirs.alias { "add" } else { "del" };
            host.ip_any(&format!("addr {verb} 10.0.2.7/24 dev wan2"));
        }
        10 => {
            let n = random.one();
            let verb = match theirs.rules.remove(&n) {
                true => "del",
                false => {
                    theirs.rules.insert(n);
                    "add"
                }
            };
            host.ip(&format!(
                "rule {verb} from 10.77.0.{n} lookup 77{n} pref 7{n}
                 route {verb} default dev lo table 77{n}"
            ));
        }
        _ => restore(lab),
    }
}

/// Links, addresses and routes as they were.
fn restore(lab: &Lab) {
    lab.plug("wan2");
    lab.host
        .ip_any("link set wan3 up; addr add 10.0.3.1/24 dev wan3");
    for n in [2, 3] {
        lab.host.ip_any(&format!(
            "route replace default via 10.0.{n}.2 dev wan{n} metric {n}1"
        ));
    }
}

#[test]
#[ignore = "by hand, for as long as one likes"]
fn chaos() {
    let Some(lab) = Lab::with_uplinks(3) else {
        return;
    };
    let seconds = number("MPTCPD_CHAOS", 10);
    let mut random = Random(number("SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let config = "[core]\nsource-routing = yes\nresync-interval = 3\n";
    let daemon = lab.daemon(config);
    lab.expect(&[1, 2, 3].map(|n| format!("10.0.{n}.1 subflow dev wan{n}")));
    // A slow transfer that outlasts the chaos, and connections that wait.
    let bytes = (20_000 * (seconds + 5)).to_string();
    let transfer = Transfer::start(&lab, Box::leak(bytes.into_boxed_str()), "20000");
    let (at, listen) = ("192.0.2.80:5001", "192.0.2.80:5001");
    let held = Held::open(&lab.host, at, &lab.outside, listen, 3);
    let alive = || {
        let lines = lab
            .host
            .out("ss -MHn state established dst 192.0.2.80:5001");
        lines.lines().count()
    };
    assert!(until(|| alive() == 3), "{}", lab.host.out("ss -Mna"));

    let mut theirs = Theirs::default();
    let (end, mut steps) = (Instant::now() + Duration::from_secs(seconds), 0);
    while Instant::now() < end {
        meddle(&lab, &mut random, &mut theirs);
        std::thread::sleep(Duration::from_millis(random.below(150)));
        steps += 1;
        assert_eq!(alive(), 3, "step {steps}\n{}", daemon.log());
        let announced = |n: &u8| lab.host.id(&announced(*n)).is_some();
        assert!(
            theirs.endpoints.iter().all(announced),
            "step {steps}: {:?} of {:?}\n{}",
            theirs.endpoints,
            lab.host.endpoints(),
            daemon.log()
        );
    }

    restore(&lab);
    let mut wanted = [1, 2, 3]
        .map(|n| format!("10.0.{n}.1 subflow dev wan{n}"))
        .to_vec();
    wanted.extend(theirs.alias.then(|| "10.0.2.7 subflow dev wan2".to_owned()));
    let signals = theirs.endpoints.iter();
    wanted.extend(signals.map(|n| format!("{} signal", announced(*n))));
    lab.expect(&wanted);
    for n in theirs.rules {
        let rule = lab.host.out(&format!("ip rule show pref 7{n}"));
        assert!(rule.contains(&format!("from 10.77.0.{n}")), "{rule:?}");
        let route = lab.host.out(&format!("ip route show table 77{n}"));
        assert!(route.contains("default dev lo"), "{route:?}");
    }
    assert_eq!(alive(), 3, "{}", daemon.log());
    transfer.finish();
    held.release();
    daemon.stop();
}
