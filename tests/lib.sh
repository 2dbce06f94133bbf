# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh disable=SC2154  # $out is of those who read this
# What the scripts of tests/router and tests/packages share. Their lib.sh sets $out, where logs go.

say() { printf '== %s\n' "$*"; }
fail() {
    printf '%s: error: %s\n' "$0" "$*" >&2
    exit 1
}

# need PACKAGE...: installs the distribution packages that are not there yet.
need() {
    missing=
    for package; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    [ -n "${apt_updated:-}" ] || $as_root apt-get -qq update
    apt_updated=1
    # shellcheck disable=SC2086  # a list of names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing \
        >"$out/apt.log" 2>&1 || fail "apt-get install failed, see $out/apt.log"
}
