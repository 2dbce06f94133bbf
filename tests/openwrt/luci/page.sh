# SPDX-License-Identifier: BSD-3-Clause
# The pages for LuCI in a browser: see `run` here.
# shellcheck shell=sh

# What goes into a cable comes out in another namespace, where the world is.
world() { # COMMAND...
	nsenter -t "$world" -n "$@"
}

cable() { # NAME GATEWAY
	ip link set "$1-far" netns "$world"
	world ip address add "$2/24" dev "$1-far"
	world ip link set "$1-far" up
}

far_runs() { world true 2>/dev/null; }

# wan and lte work, vpn is spared, dsl has no carrier, usb is not there.
case_luci_page() {
	serving='' sending=''
	unshare -n sleep 900 &
	world=$!
	trap 'kill $world $serving $sending 2>/dev/null || :' EXIT
	await far_runs
	two_uplinks
	uplink eth2 192.0.2.5 192.0.2.1
	set_uci network interface dsl proto static
	set_uci network interface dsl multipath on
	set_uci network interface usb proto qmi
	set_uci network interface usb multipath backup
	uci mptcpd <<-END
		config globals 'globals'
			list track '198.51.100.80'
			option track_interval '1'
	END
	netifd 'lan br-lan br-lan' 'wan eth1 eth1' 'wan6 eth1 eth1' 'lte wwan0 -' 'vpn tun0 -' 'dsl eth2 eth2'
	world ip link set lo up
	world ip address add 198.51.100.80/32 dev lo
	world ip mptcp limits set subflows 8 add_addr_accepted 8
	cable eth1 203.0.113.1
	cable wwan0 100.64.0.1
	cable tun0 10.8.0.1
	cable eth2 192.0.2.1
	ip address add 2001:db8:1::5/64 dev eth1 nodad
	ip route del default dev br-lan
	world ip link set eth2-far down
	service start
	endpoints "$BOTH"

	peer=$CARGO_TARGET_DIR/debug/mptcp_peer
	world "$peer" server 198.51.100.80:5001 200000000 >"$OUT/served" 2>&1 &
	serving=$!
	await grep -q listening "$OUT/served"
	"$peer" client 198.51.100.80:5001 200000000 400000 >"$OUT/sent" 2>&1 &
	sending=$!
	mkdir -p "$SCREENSHOTS"
	OUT=$OUT ROOT=$ROOT WORLD=$world node luci/test.js
}
