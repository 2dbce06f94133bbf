# SPDX-License-Identifier: BSD-3-Clause
# Stand-in for OpenWrt's /lib/functions.sh: the same functions, arguments and traits, among them the
# three that trip scripts up: options of a package loaded earlier stay visible (lists do not), lines
# that make no sense are skipped without a word, and a name that is none leaves the variable alone.
# shellcheck shell=sh disable=SC3043

reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}
reset_cb

config_load() { # PACKAGE
	local list data
	for list in $CONFIG_LISTS; do eval "CONFIG_$list="; done
	CONFIG_LISTS='' CONFIG_SECTIONS='' CONFIG_SECTION='' CONFIG_COUNT=0
	data=$(uci -S export "$1" 2>/dev/null) || return 1
	eval "$data"
	${CONFIG_SECTION:+config_cb}
}

config() { # TYPE [NAME]
	CONFIG_COUNT=$((CONFIG_COUNT + 1))
	CONFIG_SECTION=${2:-cfg$CONFIG_COUNT}
	# A section that comes again goes on where it was.
	case " $CONFIG_SECTIONS " in
	*" $CONFIG_SECTION "*) ;;
	*) CONFIG_SECTIONS="$CONFIG_SECTIONS $CONFIG_SECTION" ;;
	esac
	eval "CONFIG_${CONFIG_SECTION}_TYPE=\$1"
	config_cb "$1" "$CONFIG_SECTION"
}

option() { # NAME VALUE
	eval "CONFIG_${CONFIG_SECTION}_$1=\$2"
	option_cb "$1" "$2"
}

list() { # NAME VALUE
	CONFIG_LISTS="$CONFIG_LISTS ${CONFIG_SECTION}_$1"
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\${CONFIG_${CONFIG_SECTION}_$1:+\$CONFIG_${CONFIG_SECTION}_$1 }\$2\""
	list_cb "$1" "$2"
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	case $2$3 in
	*[!A-Za-z0-9_]*) ;;
	*) eval "$1=\${CONFIG_${2}_${3}:-\$4}" ;;
	esac
}

config_get_bool() { # VARIABLE SECTION OPTION [DEFAULT]
	local bool
	config_get bool "$2" "$3" "$4"
	case $bool in
	1 | on | true | yes | enabled) bool=1 ;;
	0 | off | false | no | disabled) bool=0 ;;
	*) bool=$4 ;;
	esac
	eval "$1=\$bool"
}

config_foreach() { # FUNCTION [TYPE] ARGUMENT...
	local function="$1" type="$2" section found
	shift 2
	for section in $CONFIG_SECTIONS; do
		config_get found "$section" TYPE
		[ "${type:-$found}" != "$found" ] || "$function" "$section" "$@"
	done
}
