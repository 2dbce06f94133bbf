# Stand-in for OpenWrt's /lib/functions.sh: what the init script uses of it, with the two traits that
# trip scripts up: values of a package loaded earlier stay visible, and lines that make no sense are
# skipped without a word.
# shellcheck shell=sh disable=SC3043

config_load() { # PACKAGE
	CONFIG_SECTIONS=
	[ -f "/etc/config/$1" ] || return 1
	eval "$(uci -S export "$1")"
}

config() { # TYPE NAME
	CONFIG_COUNT=$((CONFIG_COUNT + 1))
	CONFIG_SECTION=${2:-cfg$CONFIG_COUNT}
	CONFIG_SECTIONS="$CONFIG_SECTIONS $CONFIG_SECTION"
	eval "CONFIG_${CONFIG_SECTION}_TYPE=\$1"
}

option() { # NAME VALUE
	eval "CONFIG_${CONFIG_SECTION}_$1=\$2"
}

list() { # NAME VALUE
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\${CONFIG_${CONFIG_SECTION}_$1:+\$CONFIG_${CONFIG_SECTION}_$1 }\$2\""
}

config_get() { # VARIABLE SECTION OPTION [DEFAULT]
	case $2$3 in
	*[!A-Za-z0-9_]*) echo "config_get: $2.$3 is no name" >&2 ;;
	*) eval "$1=\${CONFIG_${2}_${3}:-\$4}" ;;
	esac
}

config_get_bool() { # VARIABLE SECTION OPTION DEFAULT
	local bool
	config_get bool "$2" "$3" "$4"
	case $bool in
	1 | on | true | yes | enabled) bool=1 ;;
	0 | off | false | no | disabled) bool=0 ;;
	*) bool=$4 ;;
	esac
	eval "$1=\$bool"
}

config_foreach() { # FUNCTION TYPE ARGUMENT...
	local function="$1" type="$2" section found
	shift 2
	for section in $CONFIG_SECTIONS; do
		config_get found "$section" TYPE
		[ "$found" != "$type" ] || "$function" "$section" "$@"
	done
}
