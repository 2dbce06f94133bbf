# SPDX-License-Identifier: BSD-3-Clause
# Stand-in for procd: /tmp/procd/told is what it is told of the service, /tmp/procd/instance and
# /tmp/procd/triggers the parts, /tmp/procd/did what it does about it. A change of the instance or
# of its files is a signal where reload_signal says so, a restart otherwise. With /tmp/procd/real it
# runs the daemon for real; the log gets its stderr, as from procd.
# shellcheck shell=sh disable=SC2086

PROCD=/tmp/procd

procd_open_instance() { part=instance; }
procd_close_instance() { part=triggers; }
procd_tell() { echo "$*" >>$PROCD/new.$part; }
procd_add_jail() { procd_tell jail "$@"; }
procd_add_jail_mount() { procd_tell jail-mount "$@"; }
procd_add_jail_mount_rw() { procd_tell jail-mount-rw "$@"; }
procd_add_reload_trigger() { for file; do procd_tell reload-trigger "$file"; done; }
procd_add_raw_trigger() { procd_tell raw-trigger "$@"; } # EVENT MILLISECONDS COMMAND...

procd_set_param() { # TYPE VALUE...
	case $1 in
	command | respawn | file | reload_signal | stdout | stderr | user | group | no_new_privs | capabilities) ;;
	*) echo "procd_set_param $1: not in this stand-in" >&2 ;;
	esac
	procd_tell "$@"
	[ "$1" != file ] || md5sum <"$2" | sed 's/^/md5 /' >>$PROCD/new.$part
}

procd_open_service() { # NAME SCRIPT
	part=triggers
	: >$PROCD/new.instance
	: >$PROCD/new.triggers
}

procd_close_service() {
	service_triggers
	if [ ! -s $PROCD/new.instance ]; then
		if [ -e $PROCD/pid ]; then procd_end; fi
	elif [ ! -e $PROCD/pid ]; then
		procd_did start
		echo >$PROCD/pid
		[ ! -e $PROCD/real ] || procd_run
	elif cmp -s $PROCD/new.instance $PROCD/instance; then
		procd_did nothing
	elif grep -qx 'reload_signal HUP' $PROCD/instance; then
		procd_signal HUP
	else
		procd_did restart
	fi
	mv $PROCD/new.instance $PROCD/instance
	mv $PROCD/new.triggers $PROCD/triggers
	cat $PROCD/instance $PROCD/triggers >$PROCD/told
}

procd_run() {
	# shellcheck disable=SC2046
	set -- $(sed -n 's/^command //p' $PROCD/new.instance)
	mkfifo $PROCD/stderr 2>/dev/null
	while read -r line; do echo "daemon.err mptcpd: $line"; done <$PROCD/stderr >>/tmp/log &
	"$@" 2>$PROCD/stderr &
	echo $! >$PROCD/pid
}

procd_did() {
	echo "$*" >>$PROCD/did
}

procd_signal() { # SIGNAL
	procd_did "signal $1"
	[ ! -e $PROCD/real ] || kill -s "$1" "$(cat $PROCD/pid)"
}

procd_send_signal() { # SERVICE [INSTANCE [SIGNAL]]
	[ ! -e $PROCD/pid ] || procd_signal "${3:-HUP}"
}

procd_end() {
	procd_signal TERM
	if [ -e $PROCD/real ]; then
		while kill -0 "$(cat $PROCD/pid)" 2>/dev/null; do sleep 0.02; done
	fi
	rm -f $PROCD/pid
}

procd_kill() { # SERVICE [INSTANCE]
	if [ -e $PROCD/pid ]; then procd_end; fi
	rm -f $PROCD/told $PROCD/instance $PROCD/triggers
}

_procd_status() { # SERVICE
	if [ ! -e $PROCD/told ]; then
		echo inactive
		return 3
	elif [ ! -e $PROCD/pid ]; then
		echo 'active with no instances'
	else
		echo running
	fi
}
