# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=sh
# What the scripts beside this file share. Everything they fetch or build stays under
# target/router, and a second run starts from what the first one left there.

repo=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
out=$repo/target/router
mkdir -p "$out"

# The distribution's Rust: it brings the source of std that fits its compiler, which tier-3
# targets such as MIPS need, and it is the version OpenWrt's feed builds with.
PATH=/usr/bin:$PATH
export PATH
export RUSTC_BOOTSTRAP=1 # for -Zbuild-std
export ZIG_GLOBAL_CACHE_DIR="$out/zig-cache" ZIG_LOCAL_CACHE_DIR="$out/zig-cache"

zig_version=0.17.1

# shellcheck source=tests/lib.sh
. "$repo/tests/lib.sh"

need_rust() {
    need rustc-web cargo-web rust-web-src
}

# Zig is linker, C library (musl, soft-float where the target is) and unwinder in one package.
need_zig() {
    zig=$out/zig/ziglang/zig
    [ -x "$zig" ] && [ "$("$zig" version)" = "$zig_version" ] && return
    need python3-pip
    say "installing zig $zig_version"
    rm -rf "$out/zig"
    python3 -m pip install -q --target "$out/zig" "ziglang==$zig_version" 2>"$out/pip.log" ||
        fail "pip install failed, see $out/pip.log"
}

# every Rust target we build, and the machine Zig calls it
all_targets='mipsel-unknown-linux-musl mips-unknown-linux-musl aarch64-unknown-linux-musl
x86_64-unknown-linux-musl armv7-unknown-linux-musleabihf arm-unknown-linux-musleabi
arm-unknown-linux-musleabihf'

zig_machine() {
    case $1 in
    mipsel-unknown-linux-musl) echo mipsel-linux-musleabi -mcpu=mips32r2 ;;
    mips-unknown-linux-musl) echo mips-linux-musleabi -mcpu=mips32r2 ;;
    aarch64-unknown-linux-musl) echo aarch64-linux-musl ;;
    x86_64-unknown-linux-musl) echo x86_64-linux-musl ;;
    armv7-unknown-linux-musleabihf) echo arm-linux-musleabihf -mcpu=generic+v7a ;;
    arm-unknown-linux-musleabi) echo arm-linux-musleabi -mcpu=arm1136j_s ;;
    arm-unknown-linux-musleabihf) echo arm-linux-musleabihf -mcpu=arm1176jzf_s ;;
    *) fail "no such target: $1 (known: $all_targets)" ;;
    esac
}

# cross_env TARGET static|dynamic FLAG...: makes cargo link TARGET with Zig and compile with FLAGs. What
# $link_by names, if it is set, is run with Zig's command line in its place.
cross_env() {
    target=$1
    case $2 in
    static) crt=+crt-static ;;
    *) crt="-crt-static -Clink-arg=-dynamic" ;; # zig links statically unless told
    esac
    shift 2
    machine=$(zig_machine "$target")
    linker=$out/cc-$target
    printf '#!/bin/sh\nexec %s "%s" cc -target %s "$@"\n' "${link_by:-}" "$zig" "$machine" >"$linker.new"
    chmod +x "$linker.new"
    mv "$linker.new" "$linker"
    name=$(printf %s "$target" | tr 'a-z-' 'A-Z_')
    # Zig brings the start files and libc itself, so rustc must not add its own.
    export "CARGO_TARGET_${name}_LINKER=$linker"
    export "CARGO_TARGET_${name}_RUSTFLAGS=-Ctarget-feature=$crt -Clink-self-contained=no $*"
}
