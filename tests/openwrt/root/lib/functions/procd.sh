# Stand-in for procd: /tmp/procd/told is what it would be told last, /tmp/procd/did what it would
# have done about it. With /tmp/procd/real it runs the daemon for real.
# shellcheck shell=sh

PROCD=/tmp/procd

procd_open_instance() { echo instance >>$PROCD/new; }
procd_close_instance() { echo end >>$PROCD/new; }
procd_add_jail() { echo "jail $*" >>$PROCD/new; }
procd_add_jail_mount_rw() { echo "jail-rw $*" >>$PROCD/new; }
procd_add_reload_trigger() { echo "reload-trigger $*" >>$PROCD/new; }
procd_add_raw_trigger() { echo "raw-trigger $*" >>$PROCD/new; }

procd_set_param() {
	echo "$*" >>$PROCD/new
	[ "$1" != file ] || md5sum <"$2" | sed 's/^/md5 /' >>$PROCD/new
}

procd_open_service() {
	: >$PROCD/new
}

procd_close_service() {
	service_triggers
	if ! grep -qx instance $PROCD/new; then
		if [ -e $PROCD/pid ]; then procd_end; fi
	elif [ ! -e $PROCD/pid ]; then
		procd_did start
		echo >$PROCD/pid
		if [ -e $PROCD/real ]; then
			# shellcheck disable=SC2046
			set -- $(sed -n 's/^command //p' $PROCD/new)
			"$@" >>/tmp/daemon.log 2>&1 &
			echo $! >$PROCD/pid
		fi
	elif cmp -s $PROCD/new $PROCD/told; then
		procd_did nothing
	elif grep -qx 'reload_signal HUP' $PROCD/new; then
		procd_signal HUP
	else
		procd_did restart
	fi
	mv $PROCD/new $PROCD/told
}

procd_did() {
	echo "$*" >>$PROCD/did
}

procd_signal() { # SIGNAL
	procd_did "signal $1"
	[ ! -e $PROCD/real ] || kill -s "$1" "$(cat $PROCD/pid)"
}

procd_send_signal() { # SERVICE INSTANCE SIGNAL
	[ ! -e $PROCD/pid ] || procd_signal "$3"
}

procd_end() {
	procd_signal TERM
	if [ -e $PROCD/real ]; then
		while kill -0 "$(cat $PROCD/pid)" 2>/dev/null; do usleep 20000; done
	fi
	rm -f $PROCD/pid
}

procd_kill() { # SERVICE
	[ ! -e $PROCD/pid ] || procd_end
	rm -f $PROCD/told
}
