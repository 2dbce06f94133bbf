# What the package is, and how it takes over from the C daemon's.
# shellcheck shell=sh disable=SC2034

case_package_files() {
	equal files "/etc/capabilities/mptcpd.json 644
/etc/config/mptcpd 600
/etc/hotplug.d/iface/90-mptcpd 644
/etc/init.d/mptcpd 755
/etc/mptcpd/mptcpd.conf 600
/etc/uci-defaults/90-mptcpd 755" "$(cd "$OUT" && find etc -path '*mptcpd*' -type f -printf '/%p %m\n' | sort)"
	inside /usr/bin/mptcpd --check -c /etc/mptcpd/mptcpd.conf >/dev/null
	equal plugins addr_adv,sspi "$(inside /usr/bin/mptcpd --list-plugins | cut -d ' ' -f 1 | paste -s -d,)"
}

case_package_metadata() {
	build show >"$OUT/metadata"
	for line in 'name: mptcpd' 'license: BSD-3-Clause' 'user: mptcpd:mptcpd' \
		'conffiles: /etc/config/mptcpd /etc/mptcpd/mptcpd.conf' 'features: router,control,addr_adv,health,sspi' \
		'build depends: rust/host' 'source: '; do
		grep -qxF "$line" "$OUT/metadata" || fail "no '$line' in: $(cat "$OUT/metadata")"
	done
	grep -q '^depends: @([^+]*) @KERNEL_MPTCP +MPTCPD_SSPI:kmod-inet-mptcp-diag$' "$OUT/metadata" ||
		fail "$(cat "$OUT/metadata")"
	version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml)
	grep -qxF "version: $version-r1" "$OUT/metadata" || fail "not version $version"
}

case_package_features() {
	equal features 'features: router,control,health,sspi' "$(build show CONFIG_MPTCPD_ADDR_ADV= | grep ^features)"
	equal features 'features: router,control,addr_adv,health' "$(build show CONFIG_MPTCPD_SSPI= | grep ^features)"
	equal features 'features: router,control' "$(build show CONFIG_MPTCPD_ADDR_ADV= CONFIG_MPTCPD_HEALTH= CONFIG_MPTCPD_SSPI= | grep ^features)"
}

# In the feed, the release is built, with the feed's own rust-package.mk.
case_package_in_the_feed() {
	mkdir -p "$OUT/feed/net" "$OUT/feed/lang/rust"
	cp -R ../../openwrt "$OUT/feed/net/mptcpd"
	cp buildroot/feeds/packages/lang/rust/rust-package.mk "$OUT/feed/lang/rust/"
	PACKAGE=$OUT/feed/net/mptcpd
	build show >"$OUT/metadata"
	grep -q '^source: https://.*/mptcpd-.*\.tar\.gz$' "$OUT/metadata" || fail "$(cat "$OUT/metadata")"
}

case_upgrade_restarts() {
	service start
	cp "$OUT/postinst" "$ROOT/tmp/postinst"
	inside /bin/sh /tmp/postinst
	did start
	ENVIRONMENT='PKG_UPGRADE=1 IPKG_INSTROOT=/root'
	inside /bin/sh /tmp/postinst
	did start
	ENVIRONMENT='PKG_UPGRADE=1'
	mkdir -p "$ROOT/etc/rc.d"
	ln -s ../init.d/mptcpd "$ROOT/etc/rc.d/S10mptcpd"
	inside /bin/sh /tmp/postinst
	did start, signal HUP, signal TERM, start
	# The C daemon's endpoints.
	core 'adopt = yes'
	equal rc.d S25mptcpd "$(ls "$ROOT/etc/rc.d")"
}

migrate() {
	inside /bin/sh /etc/uci-defaults/90-mptcpd
}

# As its package installed it, with a few changes.
case_migration() {
	cat >"$ROOT/etc/mptcpd/mptcpd.conf" <<-END
		# of the C daemon
		[core]
		log=syslog
		plugin-dir=/usr/lib/mptcpd
		path-manager=addr_adv
		# load-plugins=sspi
		addr-flags=subflow,signal,fullmesh
		notify-flags = existing,skip_loopback,unheard_of
		load-plugins=addr_adv,mine
	END
	migrate
	equal migrated "
# From /etc/mptcpd/mptcpd.conf.
config globals 'globals'
	option path_manager 'addr_adv'
	list load_plugins 'addr_adv'
	list addr_flags 'subflow'
	list addr_flags 'signal'
	list notify_flags 'existing'
	list notify_flags 'skip_loopback'" "$(diff "$OUT/etc/config/mptcpd" "$ROOT/etc/config/mptcpd" | sed -n 's/^> //p')"
	logged 'addr-flags: fullmesh is not supported: dropped'
	logged 'notify-flags: unheard_of is not supported: dropped'
	logged 'load-plugins: mine is not supported: dropped'
	service start
	did start
	for line in 'path-manager = addr_adv' 'load-plugins = addr_adv' 'notify-flags = existing,skip_loopback'; do
		core "$line"
	done
	is "interfaces = eth1
[interface eth1] addr-flags = subflow,signal"
	# Once.
	cp "$ROOT/etc/config/mptcpd" "$ROOT/tmp/once"
	migrate
	cmp "$ROOT/tmp/once" "$ROOT/etc/config/mptcpd" || fail 'migrated twice'
}

case_migration_of_nothing() {
	migrate
	rm -r "$ROOT/etc/mptcpd"
	migrate
	cmp "$OUT/etc/config/mptcpd" "$ROOT/etc/config/mptcpd" || fail 'there was nothing to take over'
}

# Whoever runs the daemon by hand can leave the file as it is.
case_old_file_by_hand() {
	printf '[core]\nlog=stderr\nplugin-dir=/usr/lib/mptcpd\npath-manager=addr_adv\n' >"$ROOT/etc/mptcpd/mptcpd.conf"
	inside /usr/bin/mptcpd --check >/dev/null
}
