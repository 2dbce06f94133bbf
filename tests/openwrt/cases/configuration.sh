# SPDX-License-Identifier: BSD-3-Clause
# What UCI becomes.
# shellcheck shell=sh

case_wan_zone_by_default() {
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
	did start
	core 'log = syslog'
	core 'on-exit = remove'
	core 'state-file = /var/run/mptcpd/state'
	core 'path-manager = addr_adv'
	core 'load-plugins = addr_adv'
	grep -q '^resync' "$ROOT/tmp/run/mptcpd/mptcpd.conf" && fail 'says more than UCI does'
	:
}

case_other_zone_or_none() {
	uci mptcpd <<-END
		config globals 'globals'
			option zone 'lan'
	END
	service start
	is "interfaces = br-lan
[interface br-lan] addr-flags = subflow"
	uci mptcpd <<-END
		config globals 'globals'
			option zone '-'
	END
	service reload
	is 'interfaces ='
	did start, signal HUP
}

case_zone_with_devices_and_dynamic_interfaces() {
	uci firewall <<-END
		config zone
			option name 'wan'
			list device 'tun5'
			list device 'ppp+'
			list network 'wwan_4'
	END
	netifd 'wan eth1 eth1' 'wwan_4 wwan0 wwan0'
	service start
	is "interfaces = eth1,wwan0,tun5
[interface eth1] addr-flags = subflow
[interface wwan0] addr-flags = subflow
[interface tun5] addr-flags = subflow"
	logged "cannot use a device named 'ppp+'"
}

case_zone_except_off() {
	uci network <<-END
		config interface 'wanb'
			option proto 'dhcp'
			option multipath 'off'
	END
	uci firewall <<-END
		config zone
			option name 'wan'
			list network 'wanb'
	END
	netifd 'wan eth1 eth1' 'wanb eth2 eth2'
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
}

case_no_firewall() {
	rm "$ROOT/etc/config/firewall"
	service start
	is 'interfaces ='
	logged 'no interface to use'
	did start
}

case_every_multipath_value() {
	uci network <<-END
		config globals 'globals'
			option multipath 'enable'
		config interface 'a'
			option proto 'dhcp'
			option multipath 'on'
		config interface 'b'
			option proto 'dhcp'
			option multipath 'master'
		config interface 'c'
			option proto 'dhcp'
			option multipath 'backup'
		config interface 'd'
			option proto 'dhcp'
			option multipath 'handover'
		config interface 'e'
			option proto 'dhcp'
			option multipath 'off'
		config interface 'f'
			option proto 'dhcp'
			option multipath 'sometimes'
		config interface 'g'
			option proto 'dhcp'
	END
	netifd 'wan eth1 eth1' 'a eth2 eth2' 'b eth0.7 eth0.7' 'c br-wan br-wan' 'd wwan0 wwan0' \
		'e eth5 eth5' 'f eth6 eth6' 'g eth7 eth7'
	service start
	is "interfaces = eth2,eth0.7,br-wan,wwan0
[interface eth2] addr-flags = subflow
[interface eth0.7] addr-flags = subflow priority = -128
[interface br-wan] addr-flags = subflow,backup
[interface wwan0] use = standby addr-flags = subflow"
	logged "interface f: unknown multipath 'sometimes'"
}

case_own_section_wins() {
	uci network <<-END
		config interface 'a'
			option proto 'dhcp'
			option multipath 'on'
			option port '1'
			option families 'nonsense'
		config interface 'b'
			option proto 'dhcp'
			option multipath 'master'
	END
	uci mptcpd <<-END
		config interface 'a'
			option multipath 'backup'
			option priority '5'
			list families 'ipv4'
			list addr_flags 'subflow'
			list addr_flags 'fullmesh'
			list notify_flags 'existing'
			list notify_flags 'skip_loopback'
			option source_routing '1'
			option hold_down '7'
		config interface 'b'
			option priority '3'
			option source_routing '0'
		config interface 'wwan_4'
			option multipath 'handover'
	END
	netifd 'wan eth1 eth1' 'a eth2 eth2' 'b eth3 eth3' 'wwan_4 wwan0 -'
	service start
	is "interfaces = eth2,eth3,wwan0
[interface eth2] addr-flags = subflow,fullmesh,backup priority = 5 families = ipv4 notify-flags = existing,skip_loopback source-routing = yes hold-down = 7
[interface eth3] addr-flags = subflow priority = 3 source-routing = no
[interface wwan0] use = standby addr-flags = subflow"
}

# mwan3 sends new connections where they work.
case_steering() {
	service start
	core 'steer = yes'
	mkdir -p "$ROOT/usr/sbin"
	: >"$ROOT/usr/sbin/mwan3"
	service reload
	! conf | grep -q '^steer' || fail 'steering beside mwan3'
	rm "$ROOT/usr/sbin/mwan3"
}

case_globals() {
	uci mptcpd <<-END
		config globals 'globals'
			option log_level 'debug'
			option path_manager 'addr_adv'
			list notify_flags 'existing'
			list notify_flags 'check_route'
			list addr_flags 'signal'
			option resync_interval '60'
			option hold_down '3'
			list check_route_to '192.0.2.1'
			list check_route_to '2001:db8::1'
			option limit_subflows '6'
			option limit_add_addr_accepted '5'
			option source_routing 'on'
			option steer 'off'
			option temporary_addresses 'no'
			option max_connections '100'
			option control_group 'mptcpd'
	END
	service start
	for line in 'log-level = debug' 'path-manager = addr_adv' 'notify-flags = existing,check_route' \
		'resync-interval = 60' 'hold-down = 3' 'limit-subflows = 6' 'limit-add-addr-accepted = 5' \
		'check-route-to = 192.0.2.1,2001:db8::1' 'source-routing = yes' 'steer = no' 'temporary-addresses = no' 'max-connections = 100' \
		'control-group = mptcpd'; do
		core "$line"
	done
	is "interfaces = eth1
[interface eth1] addr-flags = signal"
}

case_plugins() {
	set_uci mptcpd globals globals path_manager sspi
	service start
	core 'path-manager = sspi'
	core 'load-plugins = sspi'
	printf "\tlist load_plugins 'addr_adv'\n\tlist load_plugins 'sspi'\n" | uci mptcpd
	service reload
	core 'path-manager = sspi'
	core 'load-plugins = addr_adv,sspi'
	printf "config plugin 'sspi'\n\toption listen 'yes'\n" | uci mptcpd
	service reload
	conf | grep -A 1 '^\[sspi\]' | grep -qx 'listen = yes' || fail "no section of the plugin"
	set_uci mptcpd globals globals path_manager ''
	service reload
	core 'path-manager = addr_adv'
}

case_no_configuration_of_ours() {
	rm "$ROOT/etc/config/mptcpd"
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
}

case_pppoe() {
	uci network <<-END
		config interface 'dsl'
			option proto 'pppoe'
			option device 'eth0.835'
			option multipath 'on'
		config interface 'dsl6'
			option proto 'dhcpv6'
			option device '@dsl'
	END
	netifd 'dsl - eth0.835' 'dsl6 - @dsl'
	service start
	# Never the modem's own network, whose device is all that netifd tells while PPP is down.
	is 'interfaces ='
	logged 'interface dsl has no device yet'
	netifd 'dsl pppoe-dsl eth0.835' 'dsl6 pppoe-dsl -'
	service reload
	is "interfaces = pppoe-dsl
[interface pppoe-dsl] addr-flags = subflow"
	# Down again: the name is kept, so that nothing is to be told when it returns.
	netifd 'dsl - eth0.835' 'dsl6 - @dsl'
	service reload
	did start, signal HUP, nothing
}

case_wan6() {
	while read -r wan wan6 expected; do
		fresh
		set_multipath wan "$wan"
		set_multipath wan6 "$wan6"
		service start
		is "interfaces = eth1
[interface eth1] addr-flags = subflow${expected:+ $expected}"
	done <<-END
		on -
		on on
		on off families = ipv4
		- on families = ipv6
		off on families = ipv6
		- off families = ipv4
	END
}

# Whether by the device or by the name of the other interface, wan6 is on the same device; so is an
# alias for the page of the modem.
case_wan_off_is_off_for_its_followers() {
	for device in eth1 @wan; do
		fresh
		uci network <<-END
			config interface 'wan'
				option multipath 'off'
			config interface 'wan6'
				option device '$device'
			config interface 'modem'
				option proto 'static'
				option device '@wan'
		END
		uci firewall <<-END
			config zone
				option name 'wan'
				list network 'modem'
		END
		netifd 'wan eth1 eth1' 'wan6 eth1 eth1' 'modem eth1 -'
		service start
		is 'interfaces ='
		# One of them is marked itself.
		set_multipath wan6 on
		service reload
		is "interfaces = eth1
[interface eth1] addr-flags = subflow families = ipv6"
	done
}

# What is off is the page of the modem.
case_follower_off_alone() {
	uci network <<-END
		config interface 'modem'
			option proto 'static'
			option device '@wan'
			option multipath 'off'
	END
	netifd 'wan eth1 eth1' 'wan6 eth1 eth1' 'modem eth1 -'
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
}

case_device_of_the_zone_off() {
	set_multipath wan off
	uci firewall <<-END
		config zone
			option name 'wan'
			list device 'eth1'
	END
	service start
	is 'interfaces ='
}

set_multipath() { # INTERFACE VALUE
	[ "$2" = - ] || uci mptcpd <<-END
		config interface '$1'
			option multipath '$2'
	END
}

case_two_minds_on_one_device() {
	set_multipath wan on
	set_multipath wan6 backup
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
	logged "interface wan6: multipath 'backup' ignored: another interface on eth1 comes first"
}

case_missing_device() {
	uci network <<-END
		config interface 'lte'
			option proto 'qmi'
			option multipath 'on'
	END
	netifd 'wan eth1 eth1'
	service start
	is 'interfaces ='
	service reload
	times_logged 1 'lte has no device yet'
	did start, nothing
	netifd 'lte wwan0 -'
	service reload
	is "interfaces = wwan0
[interface wwan0] addr-flags = subflow"
	did start, nothing, signal HUP
}

case_device_down() {
	netifd 'wan - eth1' 'wan6 - eth1'
	service start
	is "interfaces = eth1
[interface eth1] addr-flags = subflow"
	netifd 'wan eth1 eth1' 'wan6 eth1 eth1'
	service reload
	did start, nothing
}

case_device_renamed() {
	service start
	netifd 'wan eth9 eth9' 'wan6 eth9 eth9'
	service reload
	is "interfaces = eth9
[interface eth9] addr-flags = subflow"
	did start, signal HUP
}

