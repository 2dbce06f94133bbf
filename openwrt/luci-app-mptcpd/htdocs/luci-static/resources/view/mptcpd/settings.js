// SPDX-License-Identifier: BSD-3-Clause
'use strict';
'require view';
'require form';
'require uci';
'require mptcpd';

const YES = [ '1', 'on', 'true', 'yes', 'enabled', 'enable' ];

/* The mode of an interface may be in either file; that of mptcpd wins. */
function modeOf(section) {
	const mode = uci.get('mptcpd', section, 'multipath') ?? uci.get('network', section, 'multipath') ?? '';

	return YES.includes(mode) ? 'on' : [ '0', 'no', 'false', 'disabled', 'disable' ].includes(mode) ? 'off' : mode;
}

/* A yes or no, written in any of UCI's ways. */
function flag(option) {
	option.cfgvalue = function(section) {
		const value = form.Flag.prototype.cfgvalue.call(this, section);

		return value == null ? null : YES.includes(value) ? '1' : '0';
	};

	return option;
}

function choice(option, values) {
	for (const [ value, text ] of values)
		option.value(value, text);

	option.rmempty = true;
	/* Of one that takes several. */
	option.placeholder = _('Default');

	return option;
}

/* An option of mptcpd's in another section than the form's, which is made when there is something to put
 * in: that of an interface, in a table of network's interfaces, or that of a strategy. */
function inMptcpd(option, type, name, key) {
	option.cfgvalue = function(section) {
		return uci.get('mptcpd', name ?? section, key ?? this.option);
	};
	option.write = function(section, value) {
		if (uci.get('mptcpd', name ?? section) == null)
			uci.add('mptcpd', type ?? 'interface', name ?? section);

		uci.set('mptcpd', name ?? section, key ?? this.option, value);
	};
	option.remove = function(section) {
		if (uci.get('mptcpd', name ?? section, key ?? this.option) != null)
			uci.unset('mptcpd', name ?? section, key ?? this.option);
	};

	return option;
}

/* A list of prefixes, or of such words. */
function prefixes(option, ...words) {
	for (const word of words)
		option.value(word);

	option.rmempty = true;
	option.validate = (id, value) => [].concat(value).every(item => item == '' || words.includes(item) || /^!?[0-9a-fA-F.:]+(\/[0-9]{1,3})?$/.test(item)) ||
		_('Expected addresses or prefixes, such as %s').format('192.0.2.0/24');

	return option;
}

const endpointFlags = () => [
	[ 'subflow', _('subflow: open subflows from the address') ],
	[ 'signal', _('signal: announce the address to the peer') ],
	[ 'backup', _('backup: only when no other subflow can') ],
	[ 'fullmesh', _('fullmesh: connect with every address of the peer') ],
	[ 'laminar', _('laminar: for addresses that the peer announces (Linux 6.18)') ]
];

const notifyFlags = () => [
	[ 'existing', _('that were there before the daemon') ],
	[ 'check_route', _('only with a route to the Internet') ],
	[ 'skip_link_local', _('but for link-local ones') ],
	[ 'skip_loopback', _('but for loopback ones') ]
];

/* Those of probes, with range and default. */
const probeOptions = () => [
	[ 'track_interval', _('Interval'), _('Seconds between probes of an idle uplink.'), 'range(1,86400)', '5' ],
	[ 'track_timeout', _('Timeout'), _('Seconds to wait for an answer.'), 'range(1,60)', '1' ],
	[ 'track_down', _('Losses until it is dead'), null, 'range(1,10)', '3' ],
	[ 'track_up', _('Answers until it is alive'), null, 'range(1,10)', '2' ],
	[ 'track_reliability', _('How many addresses must answer'), null, 'range(1,8)', '1' ]
];

/* Those of strategies, with who has them, and default. */
const strategyOptions = () => [
	[ 'subflows', _('Subflows'), _('At most so many for a connection of this router\'s, the first included.'), { fullmesh: '8', ndiffports: '2' } ],
	[ 'patience', _('Patience'), _('Seconds to wait for an answer before a path is left for another one; 0 for as long as it has a carrier.'), { failover: '3' } ],
	[ 'settle', _('Settling'), _('Seconds that a better uplink must have worked before the subflows of the others are closed.'), { failover: '10' } ],
	[ 'listen', _('Listen'), _('Whether to listen on addresses where no program does, so that all can be announced.'), { sspi: null, fullmesh: null, failover: null } ]
];

function seconds(section, tab, name, title, description, fallback) {
	const option = section.taboption(tab, form.Value, name, title, description);

	option.datatype = 'range(0,86400)';
	option.placeholder = fallback;
	option.rmempty = true;
}

return view.extend({
	load: function() {
		mptcpd.style();

		return Promise.all([ mptcpd.plugins(), uci.load([ 'mptcpd', 'network' ]) ]);
	},

	render: function([ plugins ]) {
		if (uci.get('mptcpd', 'globals') == null)
			uci.add('mptcpd', 'globals', 'globals');

		const map = new form.Map('mptcpd', _('Multipath TCP'),
			_('Which uplinks the connections of this router use at the same time, and how.'));

		map.chain('network');

		this.general(map, plugins);
		this.interfaces(map);
		this.advanced(map, plugins);
		this.advancedInterfaces(map);

		return map.render();
	},

	general: function(map, plugins) {
		const section = map.section(form.NamedSection, 'globals', 'globals', _('General'));
		let option;

		option = flag(section.option(form.Flag, 'enabled', _('Use Multipath TCP')));
		option.default = uci.get('network', 'globals', 'multipath') == 'disable' ? '0' : '1';
		option.rmempty = false;

		option = section.option(form.ListValue, 'path_manager', _('Strategy'),
			_('Who opens the subflows of a connection, and which.'));
		choice(option, [
			[ '', _('Default') ],
			...plugins.map(plugin => [ plugin.name, plugin.description ? '%s: %s'.format(plugin.name, plugin.description) : plugin.name ])
		]);

		option = section.option(form.DynamicList, 'track', _('Track addresses'),
			_('Addresses that answer pings, such as those of public name servers. An uplink over which none answers is not used until one does again. Without any, only link, address and route count.'));
		option.datatype = 'ipaddr("nomask")';
		option.rmempty = true;

		option = section.option(form.ListValue, 'steer', _('Steering'),
			_('Sends new connections, also those of other hosts, out by another uplink while the preferred one is dead.'));
		choice(option, [ [ '', _('Automatic: unless mwan3 does it') ], [ '1', _('Yes') ], [ '0', _('No') ] ]);

		option = flag(section.option(form.Flag, 'source_routing', _('Source routing'),
			_('Sends what comes from the address of an uplink out by that uplink.')));
		option.rmempty = true;
	},

	/* All interfaces of the network but the loopback one. */
	table: function(map, title, description) {
		const section = map.section(form.TableSection, 'interface', title, description);

		section.uciconfig = 'network';
		section.anonymous = false;
		section.addremove = false;
		section.filter = name => uci.get('network', name, 'proto') != 'none' && uci.get('network', name, 'device') != 'lo' && name != 'loopback';
		section.rowcolors = true;

		return section;
	},

	interfaces: function(map) {
		const section = this.table(map, _('Interfaces'),
			_('While none is chosen, those of the firewall zone wan are used; once one is, only those that are.'));
		let option;

		option = section.option(form.DummyValue, '_device', _('Device'));
		option.cfgvalue = name => uci.get('network', name, 'device') ?? uci.get('network', name, 'proto') ?? '';

		option = section.option(form.ListValue, 'multipath', _('Multipath'));
		choice(option, [
			[ '', _('not set') ],
			[ 'on', _('on') ],
			[ 'master', _('master: comes first') ],
			[ 'backup', _('backup: idle while others work') ],
			[ 'handover', _('handover: if no other works') ],
			[ 'off', _('off') ]
		]);
		option.cfgvalue = modeOf;
		option.write = function(name, value) {
			uci.unset('mptcpd', name, 'multipath');
			uci.set('network', name, 'multipath', value);
		};
		option.remove = function(name) {
			uci.unset('mptcpd', name, 'multipath');
			uci.unset('network', name, 'multipath');
		};

		option = inMptcpd(section.option(form.DynamicList, 'track', _('Track addresses')));
		option.datatype = 'ipaddr("nomask")';
		option.rmempty = true;
	},

	advanced: function(map, plugins) {
		const section = map.section(form.NamedSection, 'globals', 'globals', _('Advanced'),
			_('What is empty has its default. The manual, mptcpd(8), says more.'));
		let option;

		section.tab('endpoints', _('Addresses'));
		section.tab('probes', _('Probes'));
		section.tab('connections', _('Connections'));
		section.tab('strategies', _('Strategies'));
		section.tab('routing', _('Routing'));
		section.tab('kernel', _('Kernel'));

		option = section.taboption('endpoints', form.Value, 'zone', _('Firewall zone'), _('Its interfaces are used while none is chosen; - is none.'));
		option.placeholder = 'wan';
		option.rmempty = true;

		prefixes(section.taboption('endpoints', form.DynamicList, 'addresses', _('Addresses'), _('Prefixes to use; with ! those not to use.')));

		option = section.taboption('endpoints', form.MultiValue, 'addr_flags', _('Endpoints'));
		choice(option, endpointFlags());

		option = section.taboption('endpoints', form.MultiValue, 'notify_flags', _('Use addresses'));
		choice(option, notifyFlags());

		option = section.taboption('endpoints', form.ListValue, 'temporary_addresses', _('Temporary IPv6 addresses'));
		choice(option, [ [ '', _('Default: where there is no stable one') ], [ 'yes', _('Yes') ], [ 'no', _('No') ] ]);

		seconds(section, 'endpoints', 'hold_down', _('Hold-down'), _('Seconds that an address must work before it is used.'), '0');
		seconds(section, 'endpoints', 'route_grace', _('Route grace'), _('Seconds that an address stays in use without its default route.'), '1');

		option = section.taboption('endpoints', form.DynamicList, 'check_route_to', _('Routes to the Internet'), _('Addresses to which there must be a route; nothing is sent to them.'));
		option.datatype = 'ipaddr("nomask")';
		option.rmempty = true;

		prefixes(section.taboption('endpoints', form.DynamicList, 'adopt', _('Adopt endpoints'),
			_('Whether an endpoint of another program on an address to be used becomes the daemon\'s: yes, no, or prefixes of such addresses. Default: only after an upgrade from the C daemon.')), 'yes', 'no');

		option = section.taboption('endpoints', form.Value, 'max_endpoints', _('Endpoints at most'));
		option.datatype = 'range(1,255)';
		option.placeholder = '8';
		option.rmempty = true;

		for (const [ name, title, description, datatype, fallback ] of probeOptions()) {
			option = section.taboption('probes', form.Value, name, title, description);
			option.datatype = datatype;
			option.placeholder = fallback;
			option.rmempty = true;
		}

		for (const [ name, title ] of [
			[ 'limit_subflows', _('Additional subflows for each connection') ],
			[ 'limit_add_addr_accepted', _('Addresses accepted from each peer') ]
		]) {
			option = section.taboption('connections', form.Value, name, title);
			option.datatype = 'range(0,255)';
			option.placeholder = _('automatic');
			option.rmempty = true;
		}

		option = section.taboption('connections', form.Value, 'max_connections', _('Tracked connections'), _('At most so many; for strategies in user space.'));
		option.datatype = 'range(1,1000000)';
		option.placeholder = '4096';
		option.rmempty = true;

		seconds(section, 'connections', 'heal_interval', _('Healing'), _('Seconds between looks for lost subflows; 0 for none.'), '60');
		seconds(section, 'connections', 'resync_interval', _('Checks of the kernel'), _('Seconds between looks for what others have changed; 0 for none.'), '300');

		option = section.taboption('connections', form.Value, 'control_group', _('Group'), _('Its members may use mptcpd\'s commands, beside root.'));
		option.datatype = 'uciname';
		option.rmempty = true;

		option = section.taboption('connections', form.ListValue, 'log_level', _('Log'));
		choice(option, [ [ '', _('Default') ], [ 'error', _('errors') ], [ 'warn', _('warnings') ], [ 'info', _('what happens') ], [ 'debug', _('everything') ] ]);

		option = section.taboption('strategies', form.MultiValue, 'load_plugins', _('Loaded'), _('Default: only the strategy above, which must be among them.'));
		choice(option, plugins.map(({ name }) => [ name, name ]));

		for (const [ name, title, description, defaults ] of strategyOptions())
			for (const plugin of plugins.filter(plugin => plugin.name in defaults)) {
				option = section.taboption('strategies', name == 'listen' ? form.ListValue : form.Value, '_%s_%s'.format(plugin.name, name),
					'%s: %s'.format(plugin.name, title), description);
				inMptcpd(option, 'plugin', plugin.name, name);

				if (name == 'listen')
					choice(option, [ [ '', _('Default: no') ], [ 'yes', _('Yes') ], [ 'no', _('No') ] ]);
				else
					option.datatype = 'uinteger';

				option.placeholder = defaults[plugin.name];
				option.rmempty = true;
			}

		for (const [ name, title, fallback ] of [
			[ 'source_routing_tables', _('Tables of source routing'), '5200-5455' ],
			[ 'source_routing_priorities', _('Priorities of source routing'), '5200-5455' ]
		]) {
			option = section.taboption('routing', form.Value, name, title);
			option.placeholder = fallback;
			option.rmempty = true;
			option.validate = (id, value) => value == '' || /^[0-9]+-[0-9]+$/.test(value) || _('Expected FIRST-LAST, such as %s').format('5200-5455');
		}

		option = section.taboption('routing', form.ListValue, 'rp_filter', _('Reverse path filter'), _('A strict one drops what comes in on an uplink that is not the preferred one.'));
		choice(option, [ [ '', _('leave it alone') ], [ 'loose', _('loosen it on the uplinks in use') ] ]);

		for (const [ name, title ] of [
			[ 'blackhole_timeout', _('Seconds without MPTCP after it has been found blocked') ],
			[ 'stale_loss_cnt', _('Losses until a subflow is stale') ],
			[ 'syn_retrans_before_tcp_fallback', _('SYNs sent again before plain TCP is used') ],
			[ 'add_addr_timeout', _('Seconds until an address is announced again') ]
		]) {
			option = section.taboption('kernel', form.Value, name, title);
			option.datatype = 'uinteger';
			option.placeholder = _('left alone');
			option.rmempty = true;
		}

		option = section.taboption('kernel', form.ListValue, 'checksum_enabled', _('Checksums'));
		choice(option, [ [ '', _('left alone') ], [ '1', _('on') ], [ '0', _('off') ] ]);

		option = section.taboption('kernel', form.Value, 'scheduler', _('Packet scheduler'));
		option.placeholder = _('left alone');
		option.datatype = 'uciname';
		option.rmempty = true;
	},

	advancedInterfaces: function(map) {
		let section = this.table(map, _('Advanced, by interface'), _('What is empty is as above.'));
		let option;

		option = inMptcpd(section.option(form.Value, 'priority', _('Priority (-128 is first, 127 last)')));
		option.datatype = 'range(-128,127)';
		option.rmempty = true;

		option = inMptcpd(section.option(form.MultiValue, 'families', _('Families')));
		choice(option, [ [ 'ipv4', 'IPv4' ], [ 'ipv6', 'IPv6' ] ]);

		option = inMptcpd(section.option(form.ListValue, 'source_routing', _('Source routing')));
		choice(option, [ [ '', _('as above') ], [ '1', _('Yes') ], [ '0', _('No') ] ]);

		option = inMptcpd(section.option(form.Value, 'hold_down', _('Hold-down')));
		option.datatype = 'range(0,86400)';
		option.rmempty = true;

		option = inMptcpd(section.option(form.Value, 'port', _('Port to announce')));
		option.datatype = 'range(0,65535)';
		option.rmempty = true;

		section = this.table(map, _('Addresses, by interface'));

		inMptcpd(prefixes(section.option(form.DynamicList, 'addresses', _('Addresses'))));
		choice(inMptcpd(section.option(form.MultiValue, 'addr_flags', _('Endpoints'))), endpointFlags());
		choice(inMptcpd(section.option(form.MultiValue, 'notify_flags', _('Use addresses'))), notifyFlags());

		section = this.table(map, _('Probes, by interface'));

		for (const [ name, title, , datatype ] of probeOptions()) {
			option = inMptcpd(section.option(form.Value, name, title));
			option.datatype = datatype;
			option.rmempty = true;
		}
	}
});
