# SPDX-License-Identifier: BSD-3-Clause
# What goes wrong.
# shellcheck shell=sh

case_broken_uci() {
	for broken in mptcpd network firewall; do
		fresh
		service start
		set_uci mptcpd globals globals path_manager sspi
		echo "confg interface 'wan'" >>"$ROOT/etc/config/$broken"
		lines=$(wc -l <"$ROOT/etc/config/$broken")
		netifd 'wan eth9 eth9'
		service reload
		logged "/etc/config/$broken: Parse error (invalid command) at line $lines"
		logged 'keeping the previous one'
		is "interfaces = eth1
[interface eth1] addr-flags = subflow"
		did start, nothing
		equal pm_type 0 "$(cat /proc/sys/net/mptcp/pm_type)"
	done
}

case_broken_uci_at_boot() {
	echo 'option' >>"$ROOT/etc/config/mptcpd"
	service start
	logged 'configuration refused: not started'
	did ''
	told 'reload-trigger network'
}

case_refused_value() {
	service start
	uci mptcpd <<-END
		config globals 'globals'
			option log_level 'bogus'
			list load_plugins 'addr_adv'
			option path_manager 'sspi'
	END
	service reload
	logged 'daemon.err mptcpd: mptcpd.globals.log_level: unknown value "bogus"'
	logged 'keeping the previous one'
	did start, nothing
	service restart
	did start, nothing, signal HUP, signal TERM, start
	core 'on-exit = remove'
	service stop
	service start
	logged 'configuration refused: not started'
	did start, nothing, signal HUP, signal TERM, start, signal TERM
}

# An option of an interface, one that it has from the globals, and a list.
case_refused_value_of_an_interface() {
	uci mptcpd <<-END
		config globals 'globals'
			list addr_flags 'subflow'
			list addr_flags 'sunflow'
		config interface 'wan'
			option multipath 'on'
			option hold_down 'soon'
		config interface 'lte'
			option multipath 'on'
			list families 'ipv5'
			list addr_flags 'moonflow'
	END
	netifd 'wan eth1 eth1' 'lte wwan0 -'
	service start
	for error in 'mptcpd.globals.addr_flags: unknown value "sunflow"' \
		'mptcpd.wan.hold_down: invalid value "soon"' 'mptcpd.lte.families: unknown value "ipv5"' \
		'mptcpd.lte.addr_flags: unknown value "moonflow"'; do
		logged "daemon.err mptcpd: $error"
	done
	times_logged 0 mptcpd.conf.new
}

# Said once, however often interfaces come and go.
case_unknown_names() {
	uci mptcpd <<-END
		config globals 'globals'
			option hold_donw '5'
			option multipath 'on'
		config interface 'wan'
			list adr_flags 'subflow'
			option zone 'wan'
		config uplink 'lte'
	END
	for _ in 1 2 3; do service reload; done
	times_logged 1 '/etc/config/mptcpd: unknown option hold_donw in section globals'
	times_logged 1 '/etc/config/mptcpd: unknown option multipath in section globals'
	times_logged 1 '/etc/config/mptcpd: unknown option adr_flags in section wan'
	times_logged 1 '/etc/config/mptcpd: unknown option zone in section wan'
	times_logged 1 "/etc/config/mptcpd: unknown section uplink 'lte'"
	times_logged 5 unknown
	did start, nothing, nothing
}

case_value_with_lines_of_its_own() {
	printf "config interface 'wan'\n\toption multipath 'on'\n\toption port '80\n" >>"$ROOT/etc/config/mptcpd"
	printf "option addr-flags='\n" >>"$ROOT/etc/config/mptcpd"
	service start
	grep -q '^option' "$ROOT/tmp/run/mptcpd.conf.new" "$ROOT/tmp/run/mptcpd/mptcpd.conf" 2>/dev/null &&
		fail 'a value got out of its line'
	:
}

case_disabled() {
	uci mptcpd <<-END
		config globals 'globals'
			option enabled '0'
	END
	service start
	did ''
	told 'reload-trigger network'
}

case_disabled_while_running() {
	service start
	uci network <<-END
		config globals 'globals'
			option multipath 'disable'
	END
	service reload
	did start, signal TERM
	# Ours wins.
	uci mptcpd <<-END
		config globals 'globals'
			option enabled '1'
	END
	service reload
	did start, signal TERM, start
}

case_no_mptcp_in_the_kernel() {
	sed -i 's|^SYSCTL=.*|SYSCTL=/proc/sys/net/none|' "$ROOT/etc/init.d/mptcpd"
	service start
	logged 'this kernel has no Multipath TCP'
	did ''
}

