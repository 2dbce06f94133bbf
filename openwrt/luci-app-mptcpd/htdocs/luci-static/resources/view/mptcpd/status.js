// SPDX-License-Identifier: BSD-3-Clause
'use strict';
'require view';
'require dom';
'require poll';
'require rpc';
'require uci';
'require ui';
'require mptcpd';

const callDevices = rpc.declare({
	object: 'network.device',
	method: 'status',
	expect: { '': {} }
});

const INTERVAL = 2; /* seconds */
const SAMPLES = 60;
/* Connections that are shown until all are asked for. */
const FEW = 20;
const COLOURS = [ '#2f9e44', '#7048e8', '#e8590c', '#1098ad', '#d6336c', '#f08c00', '#4263eb', '#868e96' ];

function svg(name, attributes, children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', name);

	for (const key in attributes)
		node.setAttribute(key, attributes[key]);

	dom.append(node, children);

	return node;
}

function quantity(number, unit) {
	return number >= 1000 ? '%1000.1m%s'.format(number, unit) : '%d %s'.format(number ?? 0, unit);
}

function bytes(number) {
	return quantity(number, 'B');
}

function rate(perSecond) {
	return quantity(perSecond * 8, 'bit/s');
}

/* A time in the two units that matter. */
function span(seconds) {
	const units = [ [ 86400, _('%d d') ], [ 3600, _('%d h') ], [ 60, _('%d min') ], [ 1, _('%d s') ] ];
	const first = units.findIndex(([ size ]) => seconds >= size);
	let rest = Math.floor(seconds ?? 0);

	return units.slice(...(first < 0 ? [ 3 ] : [ first, first + 2 ])).map(([ size, text ]) => {
		const count = Math.floor(rest / size);

		rest %= size;

		return text.format(count);
	}).join(' ');
}

function sum(list, member) {
	return (list ?? []).reduce((total, item) => total + (item[member] ?? 0), 0);
}

/* The uplink of a subflow, or of their sums. */
function uplinkOf(item) {
	return item.interface ?? item.ifname ?? _('unknown');
}

function traffic(item) {
	return (item.sent ?? 0) + (item.received ?? 0);
}

/* Changes a text only if it is another one: what somebody reads or has selected stays. */
function say(node, text) {
	if (node.textContent != text)
		node.textContent = text;
}

/* What has been received and sent over a device, lately. */
class Graph {
	constructor() {
		this.samples = [];
		this.received = svg('path', { 'class': 'received' });
		this.sent = svg('path', { 'class': 'sent' });
		this.picture = svg('svg', { 'class': 'mptcpd-graph', 'viewBox': '0 0 %d 40'.format(SAMPLES - 1), 'preserveAspectRatio': 'none', 'role': 'img' }, [ this.received, this.sent ]);
		this.down = E('span', { 'class': 'received' });
		this.up = E('span', { 'class': 'sent' });
		this.node = E('div', {}, [ this.picture, E('div', { 'class': 'mptcpd-rates' }, [ this.down, this.up ]) ]);
	}

	update(statistics, now) {
		const { rx_bytes: received, tx_bytes: sent } = statistics ?? {};
		const last = this.last;

		this.last = { received, sent, now };

		/* A device that has been made anew counts from zero. */
		if (received != null && last?.received != null && now > last.now && received >= last.received && sent >= last.sent) {
			const seconds = (now - last.now) / 1000;

			this.samples.push([ (received - last.received) / seconds, (sent - last.sent) / seconds ]);
			this.samples.splice(0, this.samples.length - SAMPLES);
		}

		this.draw();
	}

	draw() {
		const most = Math.max(12500, ...this.samples.flat());
		const [ down, up ] = this.samples[this.samples.length - 1] ?? [ 0, 0 ];
		const line = which => this.samples.map((sample, at) => {
			const x = SAMPLES - this.samples.length + at;
			const y = 38 - sample[which] / most * 36;

			return '%d,%.1f'.format(x, y);
		});
		const [ received, sent ] = [ line(0), line(1) ];
		const start = SAMPLES - this.samples.length;

		this.received.setAttribute('d', received.length ? 'M%d,40 L%s L%d,40'.format(start, received.join(' '), SAMPLES - 1) : '');
		this.sent.setAttribute('d', sent.length ? 'M%s'.format(sent.join(' L')) : '');
		this.picture.setAttribute('aria-label', _('Received %s, sent %s; at most %s in the last two minutes').format(rate(down), rate(up), rate(Math.max(0, ...this.samples.flat()))));
		say(this.down, _('Received %s').format(rate(down)));
		say(this.up, _('Sent %s').format(rate(up)));
	}
}

/* An uplink. */
class Card {
	constructor(page, name) {
		this.page = page;
		this.name = name;
		this.graph = new Graph();
		this.device = E('span', { 'class': 'mptcpd-device' });
		this.state = E('span', { 'class': 'mptcpd-badge', 'role': 'status' });
		this.why = E('p', { 'class': 'mptcpd-why' });
		this.advice = E('p', { 'class': 'mptcpd-advice' });
		this.addresses = E('ul', { 'class': 'mptcpd-addresses' });
		this.figures = E('dl', { 'class': 'mptcpd-figures' });
		this.buttons = {
			auto: this.button('auto', _('Put back'), 'positive'),
			backup: this.button('backup', _('Make it a backup'), 'neutral'),
			down: this.button('down', _('Take it out'), 'negative')
		};
		this.node = E('section', { 'class': 'mptcpd-card', 'data-uplink': name, 'aria-label': name }, [
			E('h3', {}, [ E('span', { 'class': 'mptcpd-key' }, [ name ]), this.device, this.state ]),
			this.why, this.advice, this.addresses, this.graph.node, this.figures,
			E('div', { 'class': 'mptcpd-buttons' }, [ this.buttons.auto, this.buttons.backup, this.buttons.down ])
		]);
	}

	button(state, text, style) {
		return E('button', {
			'type': 'button',
			'class': 'btn cbi-button cbi-button-%s'.format(style),
			'data-state': state,
			'disabled': L.hasViewPermission() ? null : 'disabled',
			'click': ui.createHandlerFn(this, 'declare', state)
		}, [ text ]);
	}

	declare(state) {
		return mptcpd.path(this.name, state).then(answer => {
			if (answer.error != null)
				ui.addNotification(null, E('p', {}, [ '%s: %s'.format(this.name, answer.error) ]), 'danger');

			return this.page.update();
		}).then(() => {
			/* The button that was used is not there any more. */
			if (document.activeElement == null || document.activeElement == document.body || document.activeElement.hidden)
				(state == 'auto' ? this.buttons.down : this.buttons.auto).focus();
		});
	}

	update(uplink, colour, usage) {
		const [ why, advice ] = uplink.ifname == null
			? [ _('The interface has no device yet.'), _('It is used once it is up.') ]
			: uplink.best == null
				? [ _('The device has no address.'), _('See the page Interfaces.') ]
				: mptcpd.explain(uplink.reason, uplink.best);

		this.node.className = 'mptcpd-card mptcpd-is-%s'.format(uplink.state);
		this.node.style.setProperty('--mptcpd-colour', colour);
		say(this.device, uplink.ifname != null && uplink.ifname != this.name ? uplink.ifname : '');
		say(this.state, mptcpd.stateWord(uplink.state));
		this.state.className = 'mptcpd-badge mptcpd-%s'.format(uplink.state);
		say(this.why, why ?? (uplink.declared == 'backup' ? _('It has been made a backup.') : ''));
		say(this.advice, advice ?? '');
		this.why.hidden = this.why.textContent == '';
		this.advice.hidden = this.advice.textContent == '';

		this.graph.node.hidden = this.figures.hidden = uplink.ifname == null;
		dom.content(this.addresses, uplink.paths.map(path => this.address(path, uplink)));
		dom.content(this.figures, this.figuresOf(uplink, usage).map(([ title, value ]) =>
			E('div', {}, [ E('dt', {}, [ title ]), E('dd', {}, [ value ]) ])));

		for (const state in this.buttons)
			this.buttons[state].hidden = uplink.best == null || state == uplink.declared || state == uplink.state;
	}

	address(path, uplink) {
		const flags = (path.endpoint?.flags ?? []).join(', ');
		const [ why ] = path.reason == uplink.reason ? [] : mptcpd.explain(path.reason, path);
		const details = [ _('for %s').format(span(path.since)) ];

		if (path.state != uplink.best.state)
			details.unshift(mptcpd.stateWord(path.state));

		if (path.endpoint != null)
			details.push(_('endpoint %d: %s').format(path.endpoint.id, flags));

		if (path.endpoint?.kept)
			details.push(_('kept for connections that have no other'));

		if (path.track?.last_answer >= 60)
			details.push(_('last answer %s ago').format(span(path.track.last_answer)));

		if (why != null)
			details.push(why);

		return E('li', {}, [
			E('code', {}, [ path.address ]),
			E('span', { 'class': 'mptcpd-small' }, [ details.join(' · ') ])
		]);
	}

	figuresOf(uplink, usage) {
		const joins = uplink.paths.map(path => path.joins).filter(joins => joins != null);
		const probed = uplink.paths.filter(path => path.track?.packetloss != null || path.track?.latency != null);
		const failed = sum(joins, 'failed');
		const figures = [
			[ _('Subflows'), String(usage?.subflows ?? 0) ],
			[ _('MPTCP ↓'), bytes(usage?.received) ],
			[ _('MPTCP ↑'), bytes(usage?.sent) ]
		];

		/* Of joins that the kernel makes by itself, only those that fail are known. */
		if (joins.some(({ tried }) => tried != null))
			figures.push([ _('Joins'), _('%d of %d').format(sum(joins, 'joined'), sum(joins, 'tried')) ]);
		else if (failed)
			figures.push([ _('Joins failed'), String(failed) ]);

		for (const { family, track: { latency, packetloss } } of probed) {
			const title = probed.length > 1 && family == 'ipv6' ? _('Ping, IPv6') : _('Ping');

			figures.push([ title, latency != null ? _('%.1f ms').format(latency) : _('no answer') ]);
			figures.push([ _('Loss'), _('%d %%').format(packetloss ?? 0) ]);
		}

		return figures;
	}
}

/* A connection, with its subflows where it is open. */
class Connection {
	constructor() {
		this.ends = E('span', { 'class': 'mptcpd-ends' });
		this.kind = E('span', { 'class': 'mptcpd-kind' });
		this.split = E('span', { 'class': 'mptcpd-split', 'role': 'img' });
		this.received = E('span', { 'class': 'mptcpd-number received' });
		this.sent = E('span', { 'class': 'mptcpd-number sent' });
		this.body = E('div');
		this.node = E('details', { 'class': 'mptcpd-connection', 'toggle': () => this.open() }, [
			E('summary', {}, [ this.ends, this.kind, this.split, this.sent, this.received ]), this.body
		]);
	}

	update(connection, colours) {
		const subflows = connection.subflows ?? [];
		const backups = subflows.filter(subflow => subflow.backup).length;

		this.subflows = subflows;

		if (this.ends.firstChild == null)
			dom.content(this.ends, [ E('code', {}, [ connection.remote ]), ' ', E('span', { 'class': 'mptcpd-small' }, [ _('from %s').format(connection.local) ]) ]);

		if (connection.fallback)
			dom.content(this.kind, E('span', { 'class': 'mptcpd-badge mptcpd-fallback' }, [ _('Plain TCP') ]));
		else
			say(this.kind, backups
				? N_(subflows.length, '%d subflow, %d backup', '%d subflows, %d backup').format(subflows.length, backups)
				: N_(subflows.length, '%d subflow', '%d subflows').format(subflows.length));

		say(this.sent, '↑ %s'.format(bytes(connection.sent)));
		say(this.received, '↓ %s'.format(bytes(connection.received)));
		draw(this.split, byUplink(subflows), colours);
		this.open();
	}

	open() {
		if (!this.node.open)
			return;

		const titles = [ _('Uplink'), _('Subflow'), _('State'), _('Sent'), _('Received'), _('Round trip'), _('Sent again') ];

		dom.content(this.body, E('table', { 'class': 'mptcpd-subflows' }, [
			E('thead', {}, E('tr', {}, titles.map(title => E('th', { 'scope': 'col' }, [ title ])))),
			E('tbody', {}, this.subflows.map(subflow => E('tr', {}, [
				uplinkOf(subflow),
				E('code', {}, [ '%s → %s'.format(subflow.local, subflow.remote) ]),
				subflow.state == 'joining' ? _('Joining') : mptcpd.stateWord(subflow.state),
				bytes(subflow.sent),
				bytes(subflow.received),
				_('%.1f ms').format(subflow.rtt ?? 0),
				String(subflow.retrans ?? 0)
			].map((value, at) => E('td', { 'data-title': at > 1 ? titles[at] : null }, [ value ])))))
		]));
	}
}

function byUplink(subflows) {
	const split = {};

	for (const subflow of subflows) {
		const name = uplinkOf(subflow);

		split[name] = (split[name] ?? 0) + traffic(subflow);
	}

	return split;
}

/* Draws how bytes split among uplinks. */
function draw(node, split, colours) {
	const all = Object.values(split).reduce((total, part) => total + part, 0);
	const shares = Object.keys(split).sort().map(name => [ name, all ? split[name] / all * 100 : 0 ]);

	node.setAttribute('aria-label', shares.map(([ name, share ]) => '%s %d %%'.format(name, share)).join(', '));
	node.setAttribute('title', node.getAttribute('aria-label'));
	dom.content(node, shares.map(([ name, share ]) =>
		E('span', { 'style': 'width:%.1f%%;--mptcpd-colour:%s'.format(share, colours(name)) })));
}

return view.extend({
	load: function() {
		mptcpd.style();

		return Promise.all([
			mptcpd.status(),
			mptcpd.connections(),
			L.resolveDefault(callDevices(), {}),
			L.resolveDefault(uci.load([ 'mptcpd', 'network' ]), null)
		]);
	},

	render: function(data) {
		this.cards = new Map();
		this.rows = new Map();
		this.palette = new Map();
		this.all = false;
		/* What the last start from here has said; of interest while the daemon does not run. */
		this.said = [];

		this.problem = E('div', { 'id': 'mptcpd-problem' });
		this.summary = E('p', { 'class': 'mptcpd-summary mptcpd-small', 'id': 'mptcpd-summary' });
		this.grid = E('div', { 'class': 'mptcpd-cards', 'id': 'mptcpd-uplinks' });
		this.keys = E('div', { 'class': 'mptcpd-keys' });
		this.share = E('div', { 'class': 'mptcpd-split', 'role': 'img' });
		this.list = E('div', { 'id': 'mptcpd-connections' });
		this.note = E('p', { 'id': 'mptcpd-note' });
		this.more = E('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': () => this.showAll() });
		this.heading = E('h3', {}, [ _('Connections') ]);
		this.lower = E('div', {}, [ this.heading, this.share, this.keys, this.list, this.note, this.more ]);

		this.show(data);
		poll.add(() => this.update(), INTERVAL);

		return E('div', { 'class': 'mptcpd' }, [
			E('h2', {}, [ _('Multipath TCP') ]), this.problem, this.summary, this.grid, this.lower
		]);
	},

	update: function() {
		return Promise.all([
			mptcpd.status(),
			mptcpd.connections(),
			L.resolveDefault(callDevices(), {})
		]).then(data => this.show(data));
	},

	show: function([ status, connections, devices ]) {
		this.connections = connections;
		this.showProblem(status);

		const uplinks = status.error == null ? mptcpd.uplinks(status) : [];

		for (const uplink of uplinks)
			this.colour(uplink.name);

		this.summary.hidden = this.grid.hidden = status.error != null;
		this.showSummary(status, uplinks);
		this.showUplinks(uplinks, devices);
		this.showConnections();
	},

	/* Each uplink has a colour of its own for as long as the page is open. */
	colour: function(name) {
		if (!this.palette.has(name))
			this.palette.set(name, COLOURS[this.palette.size % COLOURS.length]);

		return this.palette.get(name);
	},

	showProblem: function(status) {
		const refused = status.config?.last_error;
		const warnings = [
			refused != null ? _('The last change of the settings was refused, and those before are in use: %s').format(refused) : null,
			status.blackholes ? N_(status.blackholes, 'The kernel has turned Multipath TCP off for a while, as only plain TCP was answered.',
				'The kernel has turned Multipath TCP off for a while %d times, as only plain TCP was answered.').format(status.blackholes) : null
		].filter(warning => warning != null);
		const key = JSON.stringify([ status.error, status.code, warnings, this.said ]);

		if (key == this.shown)
			return;

		this.shown = key;

		if (status.error == null)
			return dom.content(this.problem, warnings.length
				? E('div', { 'class': 'alert-message warning' }, warnings.map(warning => E('p', {}, [ warning ])))
				: null);

		if (status.code != mptcpd.NOT_RUNNING)
			return dom.content(this.problem, E('div', { 'class': 'alert-message warning' }, [
				E('p', {}, [ _('mptcpd cannot be asked: %s').format(status.error) ])
			]));

		const off = uci.get('mptcpd', 'globals', 'enabled') == '0' || uci.get('network', 'globals', 'multipath') == 'disable';

		dom.content(this.problem, E('div', { 'class': 'alert-message warning' }, off ? [
			E('p', {}, [ _('Multipath TCP is switched off.') ]),
			E('a', { 'class': 'btn cbi-button', 'href': L.url('admin/network/mptcpd/settings') }, [ _('Settings') ])
		] : [
			E('p', {}, [ _('mptcpd is not running: start it.') ]),
			...this.said.map(line => E('p', {}, [ line ])),
			E('button', {
				'type': 'button',
				'class': 'btn cbi-button cbi-button-positive',
				'disabled': L.hasViewPermission() ? null : 'disabled',
				'click': ui.createHandlerFn(this, 'start')
			}, [ _('Start') ])
		]));
	},

	start: function() {
		return mptcpd.start()
			.then(answer => this.said = (answer.stderr ?? '').split('\n').filter(line => line != '').map(line => line.replace(/^mptcpd: /, '')))
			.catch(err => ui.addNotification(null, E('p', {}, [ _('mptcpd cannot be started: %s').format(err.message) ]), 'danger'))
			.then(() => this.update());
	},

	showSummary: function(status, uplinks) {
		const used = uplinks.filter(uplink => uplink.state == 'active' || uplink.state == 'backup').length;
		const facts = status.error != null ? [] : [
			N_(used, '%d uplink works', '%d uplinks work').format(used),
			_('strategy %s').format(status.plugin ?? _('none')),
			status.limits != null ? _('at most %d more subflows for each connection').format(status.limits.subflows) : null,
			status.joins?.tried ? _('%d of %d joins came about').format(status.joins.joined, status.joins.tried) : null,
			status.fallbacks ? N_(status.fallbacks, '%d connection fell back to plain TCP', '%d connections fell back to plain TCP').format(status.fallbacks) : null,
			_('mptcpd %s, up %s').format(status.version, span(status.uptime))
		];

		dom.content(this.summary, facts.filter(fact => fact != null).map(fact => E('span', {}, [ fact ])));
	},

	showUplinks: function(uplinks, devices) {
		const now = Date.now();
		const usage = name => (this.connections.uplinks ?? []).find(known => uplinkOf(known) == name);

		for (const [ name, card ] of this.cards)
			if (!uplinks.some(uplink => uplink.name == name)) {
				card.node.remove();
				this.cards.delete(name);
			}

		for (const uplink of uplinks) {
			let card = this.cards.get(uplink.name);

			if (card == null) {
				card = new Card(this, uplink.name);
				this.cards.set(uplink.name, card);
				this.grid.appendChild(card.node);
			}

			card.graph.update(devices?.[uplink.ifname]?.statistics, now);
			card.update(uplink, this.colour(uplink.name), usage(uplink.name));
		}

		if (!uplinks.length && !this.grid.querySelector('p'))
			this.grid.appendChild(E('p', {}, [ _('There is no uplink to use: choose one on the page Settings.') ]));
		else if (uplinks.length)
			this.grid.querySelector(':scope > p')?.remove();
	},

	showConnections: function() {
		const connections = (this.connections.connections ?? []).slice().sort((a, b) => traffic(b) - traffic(a));
		const count = this.connections.count ?? connections.length;
		const shown = this.all ? connections : connections.slice(0, FEW);
		const colours = name => this.colour(name);
		const split = byUplink(this.connections.uplinks ?? []);
		const rows = new Map();

		say(this.heading, count ? '%s (%d)'.format(_('Connections'), count) : _('Connections'));
		this.share.hidden = this.keys.hidden = !connections.length;
		draw(this.share, split, colours);
		dom.content(this.keys, Object.keys(split).sort().map(name => {
			const uplink = this.connections.uplinks.find(known => uplinkOf(known) == name);

			return E('span', { 'class': 'mptcpd-key', 'style': '--mptcpd-colour:%s'.format(colours(name)) }, [
				N_(uplink.subflows, '%s: %d subflow, %s received, %s sent', '%s: %d subflows, %s received, %s sent')
					.format(name, uplink.subflows, bytes(uplink.received), bytes(uplink.sent))
			]);
		}));

		shown.forEach((connection, at) => {
			const key = '%s %s'.format(connection.local, connection.remote);
			const row = this.rows.get(key) ?? new Connection();

			row.update(connection, colours);
			rows.set(key, row);

			/* A row that moves would lose the focus. */
			if (this.list.children[at] != row.node && !row.node.contains(document.activeElement))
				this.list.insertBefore(row.node, this.list.children[at] ?? null);
		});

		for (const [ key, row ] of this.rows)
			if (!rows.has(key))
				row.node.remove();

		this.rows = rows;
		this.more.hidden = shown.length == connections.length;
		say(this.more, _('Show all %d').format(connections.length));
		say(this.note, this.connections.error != null
			? this.connections.error
			: !connections.length
				? _('There are no Multipath TCP connections of this router. Its own programs have some if they ask for them, such as a proxy; what it forwards for others stays as it is.')
				: count > connections.length ? _('%d of %d connections are shown.').format(connections.length, count) : '');
		this.note.hidden = this.note.textContent == '';
	},

	showAll: function() {
		this.all = true;
		this.showConnections();
		this.list.children[FEW]?.querySelector('summary').focus();
	},

	handleSave: null,
	handleSaveApply: null,
	handleReset: null
});
