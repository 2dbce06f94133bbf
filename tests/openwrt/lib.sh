# SPDX-License-Identifier: BSD-3-Clause
# What the cases are written with.
# shellcheck shell=sh disable=SC2034

ROOT=$OUT/root

# The package's Makefile with a stand-in for OpenWrt's build system.
build() { # GOAL... [VARIABLE=VALUE...]
	make -s --no-print-directory -C "${PACKAGE:-../../openwrt}" TOPDIR="$PWD/buildroot" \
		CONFIG_MPTCPD_ADDR_ADV=y CONFIG_MPTCPD_HEALING=y CONFIG_MPTCPD_SOURCE_ROUTING=y CONFIG_MPTCPD_HEALTH=y CONFIG_MPTCPD_SSPI=y "$@"
}

install_program() { # FILE TARGET
	mkdir -p "$ROOT/${2%/*}"
	[ "$1" = "$ROOT/$2" ] || cp "$1" "$ROOT/$2"
	for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | sort -u); do
		mkdir -p "$ROOT/${library%/*}"
		cp -L "$library" "$ROOT/$library"
	done
}

make_root() {
	mkdir -p "$ROOT/bin" "$ROOT/sbin" "$ROOT/proc" "$ROOT/dev" "$ROOT/tmp"
	ln -s tmp "$ROOT/var"
	ln -s tmp/run "$ROOT/run"
	install_program "$(command -v busybox)" bin/busybox
	for applet in $(busybox --list); do ln -s busybox "$ROOT/bin/$applet"; done
	rm -f "$ROOT/bin/logger" "$ROOT/bin/ip"
	cp -R root/. "$ROOT/"
	install_program "$ROOT/usr/bin/mptcpd" usr/bin/mptcpd
	mv "$ROOT/etc" "$OUT/etc"
	mount --rbind /proc "$ROOT/proc"
	# Without this machine's /dev/log.
	mount -t tmpfs tmpfs "$ROOT/dev"
	for device in full null urandom zero; do
		: >"$ROOT/dev/$device"
		mount --bind "/dev/$device" "$ROOT/dev/$device"
	done
}

inside() {
	# shellcheck disable=SC2086
	chroot "$ROOT" /bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin ${ENVIRONMENT:-} "$@"
}

service() { # ACTION
	inside /etc/init.d/mptcpd "$1" 2>"$OUT/stderr" || echo "status $?" >>"$OUT/stderr"
	# Nothing but what it logs.
	! grep -v '^mptcpd: ' "$OUT/stderr" >&2 || fail "service $1"
}

# One end of connections.
peer() { # MODE ADDRESS:PORT NUMBER
	"$CARGO_TARGET_DIR/debug/mptcp_peer" "$@"
}

# As netifd tells of its interfaces; the device only while one is up.
hotplug() { # ACTION INTERFACE [DEVICE]
	# shellcheck disable=SC2016
	ENVIRONMENT="ACTION=$1 INTERFACE=$2 ${3:+DEVICE=$3}" inside /bin/sh -c '
		for script in /etc/hotplug.d/iface/*; do (. "$script") || :; done' 2>/dev/null
}

# A router fresh from the box: the usual LAN, the usual uplink for both families, all up.
fresh() {
	rm -rf "${ROOT:?}/etc" "$ROOT/sbin/ujail" "$ROOT"/tmp/*
	cp -R "$OUT/etc" "$ROOT/etc"
	mkdir -p "$ROOT/tmp/run" "$ROOT/tmp/procd"
	ENVIRONMENT=
	uci network <<-END
		config interface 'lan'
			option proto 'static'
			option device 'br-lan'
		config interface 'wan'
			option proto 'dhcp'
			option device 'eth1'
		config interface 'wan6'
			option proto 'dhcpv6'
			option device 'eth1'
	END
	uci firewall <<-END
		config zone
			option name 'lan'
			list network 'lan'
		config zone
			option name 'wan'
			list network 'wan'
			list network 'wan6'
	END
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'wan6 eth1 eth1'
}

uci() { # PACKAGE: standard input is added to it
	cat >>"$ROOT/etc/config/$1"
}

# An option, in a named section.
set_uci() { # PACKAGE TYPE SECTION OPTION VALUE
	printf "config %s '%s'\n\toption %s '%s'\n" "$2" "$3" "$4" "$5" | uci "$1"
}

set_multipath() { # INTERFACE VALUE
	[ "$2" = - ] || set_uci mptcpd interface "$1" multipath "$2"
}

netifd() { # 'NAME L3-DEVICE DEVICE'...
	printf '%s\n' "$@" >"$ROOT/tmp/netifd"
}

fail() {
	echo "$case: $*" >&2
	[ -z "${found:-}" ] || echo "  found: $found" >&2
	for file in tmp/run/mptcpd/mptcpd.conf tmp/procd/told tmp/procd/did tmp/log; do
		[ ! -s "$ROOT/$file" ] || sed "s|^|  ${file##*/}: |" "$ROOT/$file" >&2
	done
	exit 1
}

equal() { # WHAT EXPECTED FOUND
	[ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
}

conf() {
	cat "$ROOT/tmp/run/mptcpd/mptcpd.conf"
}

# The interfaces and their sections, each on a line.
sections() {
	conf | sed -n '/^# section/d; /^interfaces/,$p' | tr '\n' ' ' | sed 's/  *\[/\n[/g; s/ *$/\n/'
}

is() { # EXPECTED: what sections prints
	equal sections "$1" "$(sections)"
}

core() { # LINE: stands in [core]
	conf | sed '/^interfaces/q' | grep -qxF -e "$1" || fail "no line '$1' in [core]"
}

logged() { # TEXT
	grep -qF -e "$1" "$ROOT/tmp/log" || fail "not in the log: $1"
}

times_logged() { # COUNT TEXT
	equal "times in the log: $2" "$1" "$(grep -cF -e "$2" "$ROOT/tmp/log")"
}

told() { # LINE
	grep -qxF -e "$1" "$ROOT/tmp/procd/told" || fail "procd was not told: $1"
}

did() { # WHAT...
	equal 'procd did' "$*" "$(paste -s -d, "$ROOT/tmp/procd/did" 2>/dev/null | sed 's/,/, /g')"
}

# Until it is true, for half a minute: machines are busy.
await() { # COMMAND...
	for _ in $(seq 300); do
		! "$@" || return 0
		sleep 0.1
	done
	fail "not true after 30 seconds: $*"
}

run_case() { # FUNCTION
	case=${1#case_}
	# An `if` or `||` would switch `set -e` off inside.
	set +e
	(set -e; fresh; "$1")
	result=$?
	set -e
	case $result in
	0) echo "ok: $case" ;;
	77) echo "skipped: $case" ;;
	*) echo "FAILED: $case" >&2; status=1 ;;
	esac
	clean_kernel
}

clean_kernel() {
	if [ -s "$ROOT/tmp/procd/pid" ]; then
		kill "$(cat "$ROOT/tmp/procd/pid")" 2>/dev/null || true
	fi
	for left in $(ip -o link show type veth | sed 's/^[0-9]*: //; s/@.*//'); do
		ip link delete "$left" 2>/dev/null || true
	done
	ip mptcp endpoint flush
	ip mptcp limits set subflows 2 add_addr_accepted 0
	set_sysctl enabled 1
	set_sysctl pm_type 0
}

set_sysctl() { # NAME VALUE
	[ ! -e "/proc/sys/net/mptcp/$1" ] || echo "$2" >"/proc/sys/net/mptcp/$1"
}
