// SPDX-License-Identifier: BSD-3-Clause
'use strict';
'require baseclass';
'require fs';
'require rpc';

/* What the pages share: the object `mptcpd` of ubus, and its codes in words. */

/* Errors of ubus reject; those of the daemon are in the answer, as `error` and `code`. */
const callStatus = rpc.declare({
	object: 'mptcpd',
	method: 'status',
	expect: { '': {} },
	reject: true
});

const callConnections = rpc.declare({
	object: 'mptcpd',
	method: 'connections',
	params: [ 'limit' ],
	expect: { '': {} },
	reject: true
});

const callPath = rpc.declare({
	object: 'mptcpd',
	method: 'path',
	params: [ 'interface', 'state' ],
	expect: { '': {} },
	reject: true
});

const callPlugins = rpc.declare({
	object: 'mptcpd',
	method: 'plugins',
	expect: { plugins: [] }
});

/* The exit status of a command that finds no daemon. */
const NOT_RUNNING = 3;

/* The best first: an uplink is in the best state that one of its addresses is in. */
const STATES = [ 'active', 'backup', 'standby', 'waiting', 'dead', 'failed', 'foreign', 'unused' ];

function stateWord(state) {
	switch (state) {
	case 'active': return _('In use');
	case 'backup': return _('Backup');
	case 'standby': return _('Standby');
	case 'waiting': return _('Waiting');
	case 'dead': return _('Dead');
	case 'out': return _('Taken out');
	case 'failed': return _('Failed');
	case 'foreign': return _('Not ours');
	case 'unused': return _('Not used');
	case 'absent': return _('Not up');
	}
	return state;
}

/* Why an address is not used, and what to do about it, if there is something to do. */
function explain(reason, path) {
	switch (reason) {
	case 'no_carrier':
		return [ _('There is no carrier.'), _('Check the cable, and whether the modem is on.') ];
	case 'interface_down':
		return [ _('The device is down.'), _('Bring the interface up on the page Interfaces.') ];
	case 'no_default_route':
		return [ _('No default route leads out over this uplink.'), _('Give the interface a gateway, and a metric of its own beside other uplinks.') ];
	case 'hold_down':
		return [ _('It works again, and is used once it has for long enough (hold-down).') ];
	case 'tentative':
	case 'not_judged_yet':
		return [ _('The address is new and still being checked.') ];
	case 'standby':
		return [ _('It is spared while another uplink works.') ];
	case 'declared_down':
		return [ _('It has been taken out, here or by another program.'), _('Put it back when it may be used again.') ];
	case 'duplicate_address':
		return [ _('Another host has the same address.'), _('Give one of them another address.') ];
	case 'deprecated':
		return [ _('The address is about to expire.') ];
	case 'temporary':
		return [ _('It is a temporary address beside a stable one.') ];
	case 'unique_local':
		return [ _('The address is local to this site, and another one is not.') ];
	case 'link_local':
	case 'loopback':
	case 'not_a_host_address':
		return [ _('No address for the Internet.') ];
	case 'interface_excluded':
	case 'family_excluded':
		return [ _('The settings exclude it.') ];
	case 'older_than_the_daemon':
		return [ _('The settings exclude addresses that were there before the daemon.') ];
	case 'made_by_another_program':
		return [ _('Another program has made an endpoint for this address.'), _('Remove it there, or let mptcpd adopt it (Settings, Advanced).') ];
	case 'refused':
		return [ _('The kernel refuses the endpoint (error %d).').format(path?.errno ?? 0), _('See the system log.') ];
	case 'no_endpoint_yet':
		return [ _('The kernel is yet to make the endpoint.') ];
	case 'no_answer':
		return [ _('The link is up, but the tracked addresses do not answer.'), _('Ask the provider, or restart the modem. It is used again once they answer.') ];
	case 'no_path_answers':
		return [ _('The tracked addresses do not answer on any uplink. It is used all the same.'), _('Track other addresses, or ask the provider.') ];
	case null:
	case undefined:
	case '':
		return [];
	}
	/* One that is newer than these pages, with the daemon's own words. */
	return [ String(reason).replace(/_/g, ' '), path?.advice ].filter(text => text)
		.map(text => '%s%s.'.format(text.charAt(0).toUpperCase(), text.slice(1)));
}

/* The uplinks: those that are to be used, and what else has an address in use. */
function uplinks(status) {
	const found = [];

	for (const chosen of status.interfaces ?? [])
		found.push({ name: chosen.interface, ifname: chosen.ifname ?? null, paths: [] });

	for (const path of status.paths ?? []) {
		let uplink = found.find(known => known.ifname == path.ifname);

		if (uplink == null) {
			if (path.state == 'unused')
				continue;

			uplink = { name: path.interface ?? path.ifname, ifname: path.ifname, paths: [] };
			found.push(uplink);
		}

		uplink.paths.push(path);
	}

	for (const uplink of found) {
		uplink.paths.sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state));

		const best = uplink.paths[0];

		uplink.declared = best?.declared ?? 'auto';
		uplink.reason = best?.reason;
		uplink.best = best;
		uplink.state = best?.state ?? 'absent';

		if (uplink.state == 'dead' && uplink.reason == 'declared_down')
			uplink.state = 'out';
	}

	return found;
}

/* An answer with `error` in any case of failure. */
function settle(promise) {
	return promise.catch(err => ({ error: err?.message ?? String(err), code: -1 }));
}

return baseclass.extend({
	NOT_RUNNING: NOT_RUNNING,

	status: () => settle(callStatus()),
	connections: limit => settle(callConnections(limit)),
	path: (name, state) => settle(callPath(name, state)),
	plugins: () => L.resolveDefault(callPlugins(), []),
	/* Not by the object `rc`: who may call that can stop every service. */
	start: () => fs.exec('/etc/init.d/mptcpd', [ 'start' ]),

	stateWord: stateWord,
	explain: explain,
	uplinks: uplinks,

	/* Makes sure that the pages' style sheet is there. */
	style: function() {
		if (document.getElementById('mptcpd-style') == null)
			document.head.appendChild(E('link', {
				'id': 'mptcpd-style',
				'rel': 'stylesheet',
				'href': L.resource('view/mptcpd/mptcpd.css')
			}));
	},

	badge: function(state) {
		return E('span', { 'class': 'mptcpd-badge mptcpd-%s'.format(state) }, [ stateWord(state) ]);
	}
});
