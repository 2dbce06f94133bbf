# SPDX-License-Identifier: BSD-3-Clause
# Stand-in for netifd's answers. /tmp/netifd has a line for each interface it knows:
# NAME L3-DEVICE DEVICE, with - for what it does not tell (an interface that is down has no L3 one).
# shellcheck shell=sh disable=SC3043

netifd_field() { # VARIABLE INTERFACE FIELD
	local line value
	line=$(grep "^$2 " /tmp/netifd) || return 1
	value=$(echo "$line" | cut -d ' ' -f "$3")
	[ "$value" != - ] || value=''
	eval "$1=\$value"
	[ -n "$value" ]
}

network_get_device() { # VARIABLE INTERFACE
	netifd_field "$1" "$2" 2
}

network_get_physdev() { # VARIABLE INTERFACE
	netifd_field "$1" "$2" 3
}
