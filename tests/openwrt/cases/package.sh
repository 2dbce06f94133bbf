# SPDX-License-Identifier: BSD-3-Clause
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
		'conffiles: /etc/config/mptcpd /etc/mptcpd/mptcpd.conf' 'features: router,control,addr_adv,healing,source-routing,health,sspi' \
		'build depends: rust/host' 'source: '; do
		grep -qxF "$line" "$OUT/metadata" || fail "no '$line' in: $(cat "$OUT/metadata")"
	done
	grep -q '^depends: @([^+]*) @KERNEL_MPTCP +MPTCPD_SSPI:kmod-inet-mptcp-diag' "$OUT/metadata" ||
		fail "$(cat "$OUT/metadata")"
	version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml)
	grep -qxF "version: $version-r1" "$OUT/metadata" || fail "not version $version"
}

case_package_features() {
	equal features 'features: router,control,source-routing,health,sspi' "$(build show CONFIG_MPTCPD_ADDR_ADV= CONFIG_MPTCPD_HEALING= | grep ^features)"
	equal features 'features: router,control,addr_adv,healing,source-routing,health' "$(build show CONFIG_MPTCPD_SSPI= | grep ^features)"
	equal features 'features: router,control' "$(build show CONFIG_MPTCPD_ADDR_ADV= CONFIG_MPTCPD_HEALING= CONFIG_MPTCPD_SOURCE_ROUTING= CONFIG_MPTCPD_HEALTH= CONFIG_MPTCPD_SSPI= | grep ^features)"
	equal features 'features: router,control,addr_adv,healing,source-routing,health,sspi,fullmesh,failover,ndiffports' \
		"$(build show CONFIG_MPTCPD_FULLMESH=y CONFIG_MPTCPD_FAILOVER=y CONFIG_MPTCPD_NDIFFPORTS=y | grep ^features)"
}

# In the feeds, the release is built, with the feed's own rust-package.mk and luci.mk.
case_package_in_the_feeds() {
	! ../../openwrt/submit "$OUT/feeds" 2>"$OUT/stderr" || fail 'it needs to know a few things'
	MAINTAINER='Jane Doe <jane@example.net>' URL=https://example.net/mptcpd HASH=0123 \
		SOURCE_URL=https://example.net/releases/ ../../openwrt/submit "$OUT/feeds"
	mkdir -p "$OUT/feeds/packages/lang/rust"
	cp buildroot/feeds/packages/lang/rust/rust-package.mk "$OUT/feeds/packages/lang/rust/"
	cp buildroot/feeds/luci/luci.mk "$OUT/feeds/luci/"
	PACKAGE=$OUT/feeds/packages/net/mptcpd
	shows 'maintainer: Jane Doe <jane@example.net>' 'url: https://example.net/mptcpd' 'hash: 0123'
	grep -q '^source: https://example.net/releases/mptcpd-.*\.tar\.gz$' "$OUT/metadata" || fail "$(cat "$OUT/metadata")"
	PACKAGE=$OUT/feeds/luci/applications/luci-app-mptcpd
	shows 'name: luci-app-mptcpd' 'maintainer: Jane Doe <jane@example.net>'
}

shows() { # LINE...
	build show >"$OUT/metadata"
	for line; do
		grep -qxF "$line" "$OUT/metadata" || fail "no '$line' in: $(cat "$OUT/metadata")"
	done
}

# As the CI of the packages feed does it.
case_package_test() {
	cp ../../openwrt/test.sh "$ROOT/tmp/"
	version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml)
	inside /bin/sh /tmp/test.sh mptcpd "$version" >"$OUT/stdout" 2>&1 || fail "$(cat "$OUT/stdout")"
	! inside /bin/sh /tmp/test.sh mptcpd 0.14 >"$OUT/stdout" 2>&1 || fail 'another version passes'
	inside /bin/sh /tmp/test.sh mptcpize 0.14
}

case_luci_package() {
	PACKAGE=../../openwrt/luci-app-mptcpd
	shows 'name: luci-app-mptcpd' 'license: BSD-3-Clause' 'depends: +luci-base +mptcpd'
	build install
	for file in www/luci-static/resources/view/mptcpd/status.js www/luci-static/resources/view/mptcpd/settings.js \
		www/luci-static/resources/view/status/include/35_mptcpd.js usr/share/luci/menu.d/luci-app-mptcpd.json \
		usr/share/rpcd/acl.d/luci-app-mptcpd.json; do
		[ -f "$OUT/luci/$file" ] || fail "no $file"
	done
	for file in "$OUT"/luci/usr/share/*/*/*.json; do
		python3 -m json.tool "$file" >/dev/null || fail "$file"
	done
	# Each view that the menu names is there.
	sed -n 's/.*"path": "\(.*\)".*/\1/p' "$OUT/luci/usr/share/luci/menu.d/luci-app-mptcpd.json" | while read -r view; do
		[ -f "$OUT/luci/www/luci-static/resources/view/$view.js" ] || fail "no view $view"
	done
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
