# SPDX-License-Identifier: BSD-3-Clause
# The daemon, for real: UCI in, endpoints out.
# shellcheck shell=sh

# Endpoints as ADDRESS FLAGS DEVICE, without the ids and sorted; within half a minute.
endpoints() { # EXPECTED
	await endpoints_are "$1"
}

endpoints_are() {
	found=$(ip mptcp endpoint show | sed 's/ id [0-9]*//; s/ *$//' | sort)
	[ "$found" = "$1" ]
}

# A device, plugged in.
link() { # NAME
	ip link add "$1" type veth peer name "$1-far"
	ip link set "$1-far" up
	ip link set "$1" up
}

# One with a default route.
uplink() { # NAME ADDRESS GATEWAY
	link "$1"
	ip address add "$2/24" dev "$1"
	default_route "$1" "$3"
}

default_route() { # NAME GATEWAY
	ip route add default via "$2" dev "$1" metric "$(ip -o link show "$1" | sed 's/:.*//')"
}

plug() { ip link set "$1-far" up; }
unplug() { ip link set "$1-far" down; }

# The LAN has a default route as well, to tempt.
router() {
	touch "$ROOT/tmp/procd/real"
	uplink br-lan 192.168.1.1 192.168.1.2
	uplink eth1 203.0.113.5 203.0.113.1
}

# wan is in use, lte a backup, vpn a standby.
two_uplinks() {
	router
	uplink wwan0 100.64.0.5 100.64.0.1
	uplink tun0 10.8.0.5 10.8.0.1
	set_uci network interface wan multipath on
	set_uci network interface lte multipath backup
	set_uci network interface vpn multipath handover
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'wan6 eth1 eth1' 'lte wwan0 -' 'vpn tun0 -'
}

BOTH='100.64.0.5 subflow backup dev wwan0
203.0.113.5 subflow dev eth1'

case_kernel_dying_uplinks() {
	two_uplinks
	service start
	endpoints "$BOTH"
	# The daemon sees what happens to the network without being told.
	unplug eth1
	endpoints '100.64.0.5 subflow backup dev wwan0'
	unplug wwan0
	endpoints '10.8.0.5 subflow dev tun0'
	plug eth1
	endpoints '203.0.113.5 subflow dev eth1'
	plug wwan0
	endpoints "$BOTH"
	did start
	service stop
	endpoints ''
}

case_kernel_every_multipath_value() {
	router
	uplink eth2 198.51.100.2 198.51.100.1
	for value in on master backup handover off; do
		set_uci network interface b multipath $value
		netifd 'wan eth1 eth1' 'b eth2 eth2'
		service reload
		case $value in
		on | master) endpoints '198.51.100.2 subflow dev eth2' ;;
		backup) endpoints '198.51.100.2 subflow backup dev eth2' ;;
		handover) endpoints '198.51.100.2 subflow dev eth2' ;;
		off) endpoints '203.0.113.5 subflow dev eth1' ;;
		esac
	done
	# With another one in use, the standby is none.
	set_uci network interface wan multipath on
	set_uci network interface b multipath handover
	service reload
	endpoints '203.0.113.5 subflow dev eth1'
}

number_of_endpoints() {
	[ "$(ip mptcp endpoint show | wc -l)" = "$1" ]
}

# The kernel takes eight.
case_kernel_master_comes_first() {
	router
	for last in 11 12 13 14 15 16 17 18; do
		ip address add "203.0.113.$last/24" dev eth1
	done
	uplink eth2 198.51.100.2 198.51.100.1
	set_uci network interface wan multipath on
	set_uci network interface b multipath master
	netifd 'wan eth1 eth1' 'b eth2 eth2'
	service start
	await number_of_endpoints 8
	ip mptcp endpoint show | grep -q '^198.51.100.2 ' || fail "$(ip mptcp endpoint show)"
}

case_kernel_default_is_the_wan_zone() {
	router
	rm "$ROOT/etc/config/mptcpd"
	service start
	endpoints '203.0.113.5 subflow dev eth1'
	service stop
	endpoints ''
}

case_kernel_reload() {
	two_uplinks
	service start
	endpoints "$BOTH"
	set_uci network interface wan multipath backup
	service reload
	endpoints '100.64.0.5 subflow backup dev wwan0
203.0.113.5 subflow backup dev eth1'
	did start, signal HUP
}

# logd, which busybox's syslogd stands in for, is told how grave a line is.
case_kernel_log_levels() {
	router
	chroot "$ROOT" /bin/busybox syslogd -n -O /tmp/log &
	logd=$!
	trap 'kill $logd 2>/dev/null || rm -f "$ROOT/dev/log"' EXIT
	await test -S "$ROOT/dev/log"
	service start
	await grep -q 'daemon.info mptcpd.*: watching the network' "$ROOT/tmp/log"
	times_logged 0 'daemon.err mptcpd'
	# Restarted, it has another socket, which a jail does not show.
	kill $logd
	wait $logd 2>/dev/null || :
	unplug eth1
	kill -USR1 "$(cat "$ROOT/tmp/procd/pid")"
	await grep -q 'daemon.err mptcpd: .*cannot log to /dev/log, using stderr' "$ROOT/tmp/log"
	await grep -q 'daemon.err mptcpd: .*address 203.0.113.5' "$ROOT/tmp/log"
	service stop
}

sysctl_is() { # NAME VALUE
	[ "$(cat "/proc/sys/net/mptcp/$1")" = "$2" ]
}

# A change of hands, by reload.
case_kernel_sspi_and_back() {
	two_uplinks
	service start
	endpoints "$BOTH"
	set_uci mptcpd globals globals path_manager sspi
	service reload
	await grep -q 'plugin sspi' "$ROOT/tmp/log"
	endpoints ''
	await sysctl_is pm_type 1
	set_uci mptcpd globals globals path_manager addr_adv
	service reload
	endpoints "$BOTH"
	await sysctl_is pm_type 0
	times_logged 0 'net.mptcp.pm_type is'
}

# The addresses that have rules of their own, as UCI asked for.
source_routed() { # EXPECTED
	await source_routed_are "$1"
}

source_routed_are() {
	found=$(ip rule show | sed -n 's/.*from \([0-9.]*\) .*/\1/p' | sort -u | paste -s -d ' ')
	[ "$found" = "$1" ]
}

case_kernel_source_routing() {
	two_uplinks
	set_uci mptcpd interface lte source_routing 1
	service start
	endpoints "$BOTH"
	source_routed 100.64.0.5
	set_uci mptcpd globals globals source_routing 1
	service reload
	source_routed '100.64.0.5 203.0.113.5'
	service stop
	source_routed ''
}

case_kernel_disabled() {
	two_uplinks
	service start
	endpoints "$BOTH"
	set_uci network globals globals multipath disable
	service reload
	endpoints ''
	set_uci network globals globals multipath enable
	service reload
	endpoints "$BOTH"
}

case_kernel_broken_uci() {
	two_uplinks
	service start
	endpoints "$BOTH"
	before=$(ip mptcp endpoint show)
	set_uci mptcpd globals globals hold_down soon
	service reload
	logged 'mptcpd.globals.hold_down: invalid value "soon"'
	unplug wwan0
	endpoints '203.0.113.5 subflow dev eth1'
	did start, nothing
}

daemon_started() { # TIMES
	[ "$(grep -c 'watching the network' "$ROOT/tmp/log")" = "$1" ]
}

case_kernel_restart_keeps_stop_removes() {
	two_uplinks
	ip mptcp endpoint add 198.51.100.1 id 77 subflow
	service start
	foreign='198.51.100.1 subflow'
	all=$(printf '%s\n' "$foreign" "$BOTH" | sort)
	endpoints "$all"
	before=$(ip mptcp endpoint show)
	# The endpoints keep their ids while no daemon runs, and when the next one has come.
	for _ in 1 2 3; do
		sed -i 's/^	procd_open_instance$/	return/' "$ROOT/etc/init.d/mptcpd"
		service restart
		sed -i 's/^	return$/	procd_open_instance/' "$ROOT/etc/init.d/mptcpd"
		equal 'endpoints between two daemons' "$before" "$(ip mptcp endpoint show)"
		service start
	done
	await daemon_started 4
	equal 'endpoints after restarts' "$before" "$(ip mptcp endpoint show)"
	service stop
	endpoints "$foreign"
}

case_kernel_renamed_device() {
	two_uplinks
	service start
	endpoints "$BOTH"
	ip link set eth1 down
	ip link set eth1 name sfp1
	ip link set sfp1 up
	default_route sfp1 203.0.113.1
	netifd 'lan br-lan br-lan' 'wan sfp1 sfp1' 'wan6 sfp1 sfp1' 'lte wwan0 -' 'vpn tun0 -'
	service reload
	endpoints '100.64.0.5 subflow backup dev wwan0
203.0.113.5 subflow dev sfp1'
	did start, signal HUP
}

# The link is there later than the daemon, and has a local and a peer's address.
case_kernel_pppoe() {
	router
	set_uci network interface dsl proto pppoe
	set_uci network interface dsl multipath on
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'dsl - eth1'
	service start
	logged 'interface dsl has no device yet'
	link pppoe-dsl
	ip address add 198.18.0.2 peer 198.18.0.1/32 dev pppoe-dsl
	ip route add default dev pppoe-dsl metric 5
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'dsl pppoe-dsl eth1'
	service reload
	endpoints '198.18.0.2 subflow dev pppoe-dsl'
	# Every connection has a device of its own; the daemon needs no word about it.
	ip link delete pppoe-dsl
	endpoints ''
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'dsl - eth1'
	service reload
	link pppoe-dsl
	ip address add 198.18.0.3 peer 198.18.0.1/32 dev pppoe-dsl
	ip route add default dev pppoe-dsl metric 5
	endpoints '198.18.0.3 subflow dev pppoe-dsl'
	did start, signal HUP, nothing
}

case_kernel_wan6() {
	router
	ip address add 2001:db8::5/64 dev eth1 nodad
	ip -6 route add default via 2001:db8::1 dev eth1
	service start
	endpoints '2001:db8::5 subflow dev eth1
203.0.113.5 subflow dev eth1'
	set_multipath wan6 off
	service reload
	endpoints '203.0.113.5 subflow dev eth1'
	set_multipath wan6 on
	set_multipath wan off
	service reload
	endpoints '2001:db8::5 subflow dev eth1'
}

case_kernel_state() {
	two_uplinks
	service start
	endpoints "$BOTH"
	service state >"$ROOT/tmp/state"
	for line in 'eth1 *203.0.113.5 *active' 'wwan0 *100.64.0.5 *backup' 'br-lan *192.168.1.1 *unused'; do
		grep -q "^$line" "$ROOT/tmp/state" || fail "not shown: $line: $(cat "$ROOT/tmp/state")"
	done
}

# What the C daemon has left behind is in the way of ours, until the first start after it was replaced.
case_kernel_upgrade_takes_over() {
	router
	ip mptcp endpoint add 203.0.113.5 id 3
	service start
	await grep -q '203.0.113.5 has an endpoint (id 3) that is not ours' "$ROOT/tmp/log"
	endpoints '203.0.113.5'
	service stop
	endpoints '203.0.113.5'
	: >"$ROOT/tmp/run/mptcpd.upgraded"
	service start
	endpoints '203.0.113.5 subflow dev eth1'
	service stop
	endpoints ''
}

# As ujail runs it: a user of its own, one capability, and the first process of its namespace.
case_kernel_jail() {
	if [ "$(awk '{ print $3 }' /proc/self/uid_map)" = 1 ]; then
		echo 'only root can change to another user'
		exit 77
	fi
	two_uplinks
	# Once without, and endpoints left for the one in the jail.
	service start
	endpoints "$BOTH"
	before=$(ip mptcp endpoint show)
	sed -i 's/on-exit = remove/on-exit = keep/' "$ROOT/tmp/run/mptcpd/mptcpd.conf"
	kill -HUP "$(cat "$ROOT/tmp/procd/pid")"
	await grep -q 'configuration reloaded' "$ROOT/tmp/log"
	kill "$(cat "$ROOT/tmp/procd/pid")"
	await grep -q 'stopping' "$ROOT/tmp/log"
	rm "$ROOT/tmp/procd/real" "$ROOT/tmp/procd/pid" "$ROOT/tmp/log"
	printf '#!/bin/sh\n' >"$ROOT/sbin/ujail"
	chmod +x "$ROOT/sbin/ujail"
	echo 'mptcpd:x:32768:32768:mptcpd:/var/run/mptcpd:/bin/false' >>"$ROOT/etc/passwd"
	echo 'mptcpd:x:32768:mptcpd' >>"$ROOT/etc/group"
	service start
	install_program "$(command -v setpriv)" usr/bin/setpriv
	for _ in 1 2; do
		unshare -pf --kill-child --mount-proc="$ROOT/proc" chroot "$ROOT" /usr/bin/setpriv \
			--reuid 32768 --regid 32768 --clear-groups --no-new-privs \
			--bounding-set -all,+net_admin --inh-caps -all,+net_admin --ambient-caps -all,+net_admin \
			/usr/bin/mptcpd -c /var/run/mptcpd/mptcpd.conf 2>>"$ROOT/tmp/log" &
		jail=$!
		await daemon_started 1
		endpoints "$BOTH"
		[ -z "$before" ] || equal 'endpoints that were kept' "$before" "$(ip mptcp endpoint show)"
		before=''
		pid=$(busybox pidof mptcpd)
		grep -q '^CapEff:.*0000000000001000$' "/proc/$pid/status" || fail "$(cat "/proc/$pid/status")"
		kill -HUP "$pid"
		await grep -q 'configuration reloaded' "$ROOT/tmp/log"
		kill -TERM "$pid"
		wait $jail
		endpoints ''
		times_logged 0 'state file'
		rm "$ROOT/tmp/log"
	done
	equal owner 32768 "$(stat -c %u "$ROOT/tmp/run/mptcpd/state")"
	equal owner 0 "$(stat -c %u "$ROOT/tmp/run/mptcpd/mptcpd.conf")"
}
