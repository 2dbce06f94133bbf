// SPDX-License-Identifier: BSD-3-Clause
//! What a user is told of that a build lacks.

use super::*;
use crate::cli;
use crate::plugin::{BUILT_IN, Entry};

const SHIPPED: &str = include_str!("../../etc/mptcpd.conf");
const PLUGINS: &[Entry] = &[Entry::named("addr_adv", &[])];

fn read(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    parse("f", text.as_bytes(), &Overrides::default(), PLUGINS)
}

#[test]
fn every_key_that_is_shipped_is_known_or_told_by_its_feature() {
    let enable = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.starts_with("load-plugins") => rest,
        _ => line,
    };
    let enabled: Vec<&str> = SHIPPED.lines().map(enable).collect();
    let warnings = read(&enabled.join("\n")).unwrap().warnings;
    for warning in &warnings {
        let told = warning.contains(": this build lacks the feature ");
        assert!(told, "{warning}");
    }
    let track =
        |warning: &String| warning.ends_with("key track: this build lacks the feature health");
    assert_eq!(
        warnings.iter().filter(|warning| track(warning)).count(),
        1,
        "{warnings:?}"
    );
}

#[test]
#[cfg(not(any(feature = "sspi", feature = "control")))]
fn plugins_and_commands_that_are_lacking_are_told_by_their_feature() {
    let warnings = read("[sspi]\nlisten = no\n[core]\nnonsense = 1\n")
        .unwrap()
        .warnings;
    let section = "f:1: section sspi: this build lacks the feature sspi";
    assert_eq!(warnings, [section, "f:4: unknown key nonsense"]);
    let errors = read("[core]\npath-manager = sspi\n").expect_err("no such plugin");
    let text = "f:2: path-manager: sspi: this build lacks the feature sspi";
    assert_eq!(
        errors.iter().map(|error| &error.text).collect::<Vec<_>>(),
        [text]
    );
    for (arguments, text) in [
        (
            &["status", "-j"][..],
            "status: this build lacks the feature control",
        ),
        (&["nonsense"], "unexpected argument nonsense"),
        (
            &["--load-plugins=addr_adv,sspi"],
            "--load-plugins: sspi: this build lacks the feature sspi",
        ),
    ] {
        let arguments = arguments.iter().map(Into::into).collect();
        assert_eq!(cli::parse(arguments, BUILT_IN), Err(text.to_string()));
    }
}
