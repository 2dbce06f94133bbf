# Stand-in for netifd's answers. /tmp/netifd has a line for each interface it knows:
# NAME L3-DEVICE DEVICE, with - for what it does not tell (an interface that is down has no L3 one).
# shellcheck shell=sh disable=SC3043

netifd_field() { # VARIABLE INTERFACE FIELD
	local value
	value=$(sed -n "s/^$2 //p" /tmp/netifd | cut -d ' ' -f "$3")
	[ -n "$value" ] && [ "$value" != - ] || return 1
	eval "$1=\$value"
}

network_get_device() {
	netifd_field "$1" "$2" 1
}

network_get_physdev() {
	netifd_field "$1" "$2" 2
}
