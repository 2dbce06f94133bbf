# SPDX-License-Identifier: BSD-3-Clause
# What procd and the kernel are told.
# shellcheck shell=sh disable=SC2034

case_service() {
	service start
	for line in 'command /usr/bin/mptcpd -c /var/run/mptcpd/mptcpd.conf' 'respawn 3600 5 0' 'stdout 1' \
		'stderr 1' 'reload_signal HUP' 'file /var/run/mptcpd/mptcpd.conf' \
		'reload-trigger mptcpd' 'reload-trigger network' 'reload-trigger firewall'; do
		told "$line"
	done
	grep -q '^\(jail\|user\|capabilities\)' "$ROOT/tmp/procd/told" && fail 'a jail where there is no ujail'
	equal status running "$(inside /etc/init.d/mptcpd status)"
	service stop
	equal status inactive "$(inside /etc/init.d/mptcpd status)"
}

# As rpcd finds services for LuCI's page: by the first eleven lines of their scripts.
case_listed_by_luci() {
	equal found 'USE_PROCD=1
START=25' "$(head -n 11 "$ROOT/etc/init.d/mptcpd" | grep -E '^(START|STOP|USE_PROCD)=')"
}

# One interface fails and fails (a PPPoE line that is dead), others do not wait for it.
case_interface_events() {
	uci network <<-END
		config interface 'lte'
			option proto 'qmi'
			option multipath 'on'
	END
	hotplug ifup wan eth1
	did ''
	service start
	grep -q interface "$ROOT/tmp/procd/told" && fail 'procd runs something at each event of an interface'
	for _ in 1 2 3; do
		hotplug ifup-failed dsl
		hotplug ifdown dsl
	done
	did start
	netifd 'lte wwan0 -'
	hotplug ifup lte wwan0
	is "interfaces = wwan0
[interface wwan0] addr-flags = subflow"
	hotplug ifupdate lte wwan0
	did start, signal HUP
	netifd 'lte wwan1 -'
	hotplug ifupdate lte wwan1
	is "interfaces = wwan1
[interface wwan1] addr-flags = subflow"
	service stop
	hotplug ifup wan eth1
	did start, signal HUP, signal HUP, signal TERM
}

case_jail() {
	printf '#!/bin/sh\n' >"$ROOT/sbin/ujail"
	chmod +x "$ROOT/sbin/ujail"
	echo 'mptcpd:x:0:0:mptcpd:/var/run/mptcpd:/bin/false' >>"$ROOT/etc/passwd"
	echo 'mptcpd:x:0:mptcpd' >>"$ROOT/etc/group"
	service start
	for line in 'jail mptcpd log procfs ronly' 'jail-mount-rw /var/run/mptcpd' 'user mptcpd' \
		'group mptcpd' 'no_new_privs 1' 'capabilities /etc/capabilities/mptcpd.json'; do
		told "$line"
	done
	equal 'directory mode' 1775 "$(stat -c %a "$ROOT/tmp/run/mptcpd")"
	equal capabilities 'ambient bounding effective inheritable permitted' \
		"$(sed -n 's/.*"\(.*\)": \[ "CAP_NET_ADMIN" \],\{0,1\}$/\1/p' "$ROOT/etc/capabilities/mptcpd.json" | sort | paste -s -d ' ')"
}

# As from rpcd's page of services, or a shell of the user's.
case_whoever_calls() {
	umask 077
	ENVIRONMENT='mode=off zone=lan devices=x known=x name=x rest=x:x priority=7 IFS=x
		marked=1 found=wan off=eth1 modes=eth1=off chosen=x families=ipv6 flags=backup'
	for action in start restart reload; do
		service $action
		equal 'mode of the file' 644 "$(stat -c %a "$ROOT/tmp/run/mptcpd/mptcpd.conf")"
		equal 'mode of the directory' 755 "$(stat -c %a "$ROOT/tmp/run/mptcpd")"
		is "interfaces = eth1
[interface eth1] addr-flags = subflow"
	done
}

case_stop_removes_restart_keeps() {
	service start
	service restart
	did start, signal HUP, signal TERM, start
	core 'on-exit = remove'
	service stop
	did start, signal HUP, signal TERM, start, signal TERM
	[ ! -e "$ROOT/tmp/run/mptcpd/mptcpd.conf" ] || fail 'the file is still there'
	service start
	ENVIRONMENT='PKG_UPGRADE=1'
	service stop
	did start, signal HUP, signal TERM, start, signal TERM, start, signal HUP, signal TERM
	core 'on-exit = keep'
}

# Some options the daemon reads only at its start.
case_reload_restarts_where_it_must() {
	service reload
	set_uci mptcpd globals globals hold_down 5
	service reload
	did start, signal HUP
	set_uci mptcpd globals globals max_connections 100
	service reload
	did start, signal HUP, signal HUP, signal HUP, signal TERM, start
	service reload
	did start, signal HUP, signal HUP, signal HUP, signal TERM, start, nothing
}

pm_type_is() { # VALUE
	equal pm_type "$1" "$(cat /proc/sys/net/mptcp/pm_type)"
}

# Both sysctls of the path manager follow each other on a kernel that has both.
case_sysctls() {
	set_sysctl enabled 0
	set_sysctl pm_type 1
	service start
	equal enabled 1 "$(cat /proc/sys/net/mptcp/enabled)"
	pm_type_is 0
	service restart
	service stop
	equal enabled 0 "$(cat /proc/sys/net/mptcp/enabled)"
	pm_type_is 1
}

# With the service goes who manages the userspace's connections.
case_sysctls_are_put_back() {
	set_uci mptcpd globals globals path_manager sspi
	service start
	pm_type_is 1
	service reload
	service restart
	pm_type_is 1
	service stop
	pm_type_is 0
	service start
	pm_type_is 1
	set_uci mptcpd globals globals enabled 0
	service reload
	pm_type_is 0
	set_uci mptcpd globals globals enabled 1
	service reload
	pm_type_is 1
	# The package is replaced under the next daemon, or removed.
	ENVIRONMENT='PKG_UPGRADE=1'
	service stop
	pm_type_is 1
	service start
	ENVIRONMENT=''
	service stop
	pm_type_is 0
	# Somebody else's change stays.
	service start
	set_sysctl pm_type 0
	set_sysctl enabled 0
	service stop
	pm_type_is 0
	equal enabled 0 "$(cat /proc/sys/net/mptcp/enabled)"
}

filter_is() { # DEVICE VALUE
	equal "rp_filter of $1" "$2" "$(cat "/proc/sys/net/ipv4/conf/$1/rp_filter")"
}

# Only those that the user sets, and for as long.
case_kernel_knobs() {
	mptcp=/proc/sys/net/mptcp
	add_addr=$(cat $mptcp/add_addr_timeout)
	uci mptcpd <<-END
		config globals 'globals'
			option add_addr_timeout '7'
			option checksum_enabled '1'
			option stale_loss_cnt '1;reboot'
			option scheduler 'no_such_one'
	END
	stale=$(cat $mptcp/stale_loss_cnt)
	scheduler=$(cat $mptcp/scheduler)
	service start
	equal add_addr_timeout 7 "$(cat $mptcp/add_addr_timeout)"
	equal checksum_enabled 1 "$(cat $mptcp/checksum_enabled)"
	equal stale_loss_cnt "$stale" "$(cat $mptcp/stale_loss_cnt)"
	logged "mptcpd.globals.stale_loss_cnt: not a value: '1;reboot'"
	equal scheduler "$scheduler" "$(cat $mptcp/scheduler)"
	logged 'the kernel refuses no_such_one for net.mptcp.scheduler'
	did start
	uci mptcpd <<-END
		config globals 'globals'
			option add_addr_timeout ''
	END
	service reload
	equal add_addr_timeout "$add_addr" "$(cat $mptcp/add_addr_timeout)"
	equal checksum_enabled 1 "$(cat $mptcp/checksum_enabled)"
	service stop
	equal checksum_enabled 0 "$(cat $mptcp/checksum_enabled)"
}

# Loosened where it is strict, but not made stricter where it is off.
case_kernel_knob_rp_filter() {
	for device in eth1 wwan0 br-lan; do
		link $device
		set_filter $device 1
	done
	set_filter all 0
	set_filter wwan0 0
	set_uci network interface wan multipath on
	set_uci network interface lte multipath on
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'lte wwan0 -'
	service start
	filter_is eth1 1
	set_uci mptcpd globals globals rp_filter loose
	for _ in 1 2; do
		service reload
		filter_is eth1 2
		filter_is wwan0 0
		filter_is br-lan 1
	done
	# A device that is made anew has the kernel's own.
	ip link delete eth1
	link eth1
	set_filter eth1 1
	hotplug ifup wan eth1
	filter_is eth1 2
	set_uci mptcpd interface wan multipath off
	service reload
	filter_is eth1 1
	set_filter all 1
	service reload
	filter_is wwan0 2
	service stop
	filter_is wwan0 0
	set_filter all 0
}

# Only where nobody may send pings, and for as long as there are any to send.
case_pings_are_allowed() {
	range=/proc/sys/net/ipv4/ping_group_range
	if ! echo '1 0' 2>/dev/null >$range; then
		echo 'skipped pings_are_allowed: a user namespace has no such groups' >&2
		return
	fi
	service start
	equal 'range without track' '1 0' "$(tr '\t' ' ' <$range)"
	uci mptcpd <<-END
		config globals 'globals'
			list track '192.0.2.1'
			list track '2001:db8::1'
			option track_down '5'
	END
	for _ in 1 2; do
		service reload
		equal range '0 0' "$(tr '\t' ' ' <$range)"
	done
	core 'track = 192.0.2.1,2001:db8::1'
	core 'track-down = 5'
	service stop
	equal 'range afterwards' '1 0' "$(tr '\t' ' ' <$range)"
	echo '0 5' >$range
	service start
	equal 'range of others' '0 5' "$(tr '\t' ' ' <$range)"
	service stop
	equal 'range of others afterwards' '0 5' "$(tr '\t' ' ' <$range)"
}

set_filter() { # DEVICE VALUE
	echo "$2" >"/proc/sys/net/ipv4/conf/$1/rp_filter"
}

# The names of three generations of kernels.
case_sysctls_of_older_kernels() {
	sed -i 's|^SYSCTL=.*|SYSCTL=/tmp/sysctl|' "$ROOT/etc/init.d/mptcpd"
	directory=$ROOT/tmp/sysctl/net/mptcp
	for files in 'enabled pm_type path_manager' 'enabled pm_type' enabled; do
		rm -rf "$directory" "$ROOT/tmp/run/mptcpd.sysctl"
		mkdir -p "$directory"
		for file in $files; do echo 1 >"$directory/$file"; done
		service start
		case $files in
		*path_manager) equal sysctl kernel "$(cat "$directory/path_manager")" ;;
		*pm_type) equal sysctl 0 "$(cat "$directory/pm_type")" ;;
		*) equal files enabled "$(ls "$directory")" ;;
		esac
	done
}
