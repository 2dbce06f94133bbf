# SPDX-License-Identifier: BSD-3-Clause
# The object of ubus, by rpcd's plugin, and what others say of uplinks.
# shellcheck shell=sh

# rpcd hands arguments over at standard input.
rpcd() { # METHOD [ARGUMENTS]
	echo "${2:-{\}}" | inside /usr/libexec/rpcd/mptcpd call "$1" >"$ROOT/tmp/answer"
	tr -d '\n' <"$ROOT/tmp/answer" | python3 -m json.tool >/dev/null || fail "no JSON: $(cat "$ROOT/tmp/answer")"
}

answered() { # TEXT
	grep -qF -e "$1" "$ROOT/tmp/answer" || fail "not in the answer: $1: $(cat "$ROOT/tmp/answer")"
}

not_answered() { # TEXT
	! grep -qF -e "$1" "$ROOT/tmp/answer" || fail "in the answer: $1: $(cat "$ROOT/tmp/answer")"
}

# As rpcd asks when it starts.
case_ubus_methods() {
	inside /usr/libexec/rpcd/mptcpd list >"$ROOT/tmp/answer"
	for method in status connections path plugins; do answered "\"$method\":{"; done
	rpcd reboot
	answered '"code":64'
	rpcd plugins
	answered '{"plugins":[{"name":"addr_adv","description":"'
}

case_ubus_without_a_daemon() {
	rpcd status
	answered '"code":3'
	answered 'not running'
	rpcd path '{"interface":"wan","state":"down"}'
	answered '"code":3'
	rpcd connections
	answered '"connections":[]'
}

# Who is called what: by the service's own words, or else by netifd's.
case_ubus_status() {
	two_uplinks
	set_uci network interface usb multipath on
	set_uci network interface amodem proto static
	netifd 'amodem eth1 -' 'lan br-lan br-lan' 'wan eth1 eth1' 'wan6 eth1 eth1' 'lte wwan0 -' 'vpn tun0 -'
	service start
	endpoints "$BOTH"
	rpcd status
	answered '"interfaces":[{"interface":"wan","ifname":"eth1"},{"interface":"lte","ifname":"wwan0"},{"interface":"vpn","ifname":"tun0"},{"interface":"usb"}]'
	answered '{"interface":"wan","ifname":"eth1","ifindex":'
	answered '{"interface":"lan","ifname":"br-lan","ifindex":'
	not_answered '"interface":"wan6"'
	for name in lte wwan0 100.64.0.5; do
		rpcd status "{\"interface\":\"$name\"}"
		answered '{"interface":"lte","ifname":"wwan0","ifindex":'
		not_answered '"ifname":"eth1","ifindex":'
	done
	rpcd status '{"interface":"x\"y"}'
	answered '"code":'
}

case_ubus_path() {
	two_uplinks
	service start
	endpoints "$BOTH"
	rpcd path '{"interface":"wan","state":"backup"}'
	endpoints '100.64.0.5 subflow backup dev wwan0
203.0.113.5 subflow backup dev eth1'
	rpcd path '{"interface":"wan6","state":"down"}'
	endpoints '100.64.0.5 subflow backup dev wwan0'
	rpcd status '{"interface":"wan"}'
	answered '"declared":"down"'
	rpcd path '{"interface":"eth1","state":"auto"}'
	endpoints "$BOTH"
	for bad in '{}' '{"interface":"wan"}' '{"interface":"wan","state":"up"}' '{"interface":"-j","state":"down"}' \
		'{"interface":"wan; reboot","state":"down"}'; do
		rpcd path "$bad"
		answered '"code":64'
	done
	endpoints "$BOTH"
}

# Those of this namespace, to itself.
case_ubus_connections() {
	router
	service start
	mkfifo "$ROOT/tmp/open"
	peer accept 203.0.113.5:5000 8 <"$ROOT/tmp/open" >"$OUT/accepted" 2>&1 &
	exec 9>"$ROOT/tmp/open"
	await grep -q listening "$OUT/accepted"
	peer hold 203.0.113.5:5000 8 <"$ROOT/tmp/open" >"$OUT/held" 2>&1 9>&- &
	await holds_connections 16
	rpcd connections
	answered '"count":16,'
	answered '{"interface":"wan","ifname":"eth1","local":"203.0.113.5:'
	rpcd connections '{"limit":5}'
	answered '"count":16,'
	equal connections 5 "$(grep -o '"fallback"' "$ROOT/tmp/answer" | wc -l)"
	answered '],"uplinks":[{"interface":"wan","ifname":"eth1","subflows":16,'
	exec 9>&-
	service stop
}

holds_connections() { # COUNT
	rpcd connections
	grep -qF "\"count\":$1," "$ROOT/tmp/answer"
}

# mwan3 tracks an uplink and says what it finds.
case_ubus_mwan3() {
	two_uplinks
	hotplug disconnected lte wwan0
	service start
	endpoints "$BOTH"
	hotplug disconnected lte wwan0
	endpoints '203.0.113.5 subflow dev eth1'
	hotplug connected lte wwan0
	endpoints "$BOTH"
	did start
	# The next daemon knows it, too, as long as mwan3 is there.
	mkdir -p "$ROOT/tmp/run/mwan3track/lte" "$ROOT/tmp/run/mwan3track/gone"
	echo offline | tee "$ROOT/tmp/run/mwan3track/lte/STATUS" >"$ROOT/tmp/run/mwan3track/gone/STATUS"
	service restart
	rpcd status
	endpoints "$BOTH"
	printf '#!/bin/sh\n' >"$ROOT/etc/init.d/mwan3"
	chmod +x "$ROOT/etc/init.d/mwan3"
	service restart
	endpoints '203.0.113.5 subflow dev eth1'
	service stop
}
