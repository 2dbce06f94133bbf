# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
# What the scripts beside this file share. What they fetch or build stays under target/packages.

repo=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$repo/target}
out=$target/packages
mkdir -p "$out"

# shellcheck source=tests/lib.sh
. "$repo/tests/lib.sh"

# cannot WHY: this machine is not able to; skipped aloud where that is on the list of what may be.
cannot() {
    case ,${MPTCPD_TESTS_MAY_SKIP:-}, in
    *,containers,*)
        printf 'skipped %s (containers): %s\n' "$0" "$*"
        exit
        ;;
    esac
    fail "$@"
}

# is WHAT EXPECTED FOUND
is() { [ "$2" = "$3" ] || fail "$1: expected
$2
but found
$3"; }

# A scratch directory that goes with the script.
scratch() {
    work=$(mktemp -d)
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 1' INT TERM HUP
}

# Makes $base, an archive of a fresh Debian of this machine's release.
need_base() {
    need mmdebstrap
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    base=$out/debian-$suite.tar
    [ ! -e "$base" ] || return 0
    say "making a fresh Debian $suite"
    mmdebstrap --quiet --variant=apt --include=systemd,systemd-sysv,iproute2,network-manager,rpm \
        "$suite" "$out/new.tar" 2>"$out/mmdebstrap.log" || cannot "mmdebstrap failed, see $out/mmdebstrap.log"
    mv "$out/new.tar" "$base"
}

# need_tool NAME VERSION: one of cargo's subcommands, built without optimisation: it runs for seconds.
need_tool() {
    [ -x "$out/tools/bin/$1" ] && return
    say "installing $1 $2"
    cargo install -q --locked --debug --root "$out/tools" --target-dir "$out/tools/build" "$1@$2"
    rm -rf "$out/tools/build"
}
PATH=$out/tools/bin:$PATH
