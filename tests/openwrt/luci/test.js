// SPDX-License-Identifier: BSD-3-Clause
// What the pages must do, in order: each check goes on where the one before has left the router.
'use strict';

const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');
const Browser = require('./browser');
const Router = require('./router');

const { ROOT, OUT, WORLD, SCREENSHOTS } = process.env;
const PROGRAM = process.env.CHROMIUM ?? 'chromium';
const ACL = path.join(__dirname, '../../../openwrt/luci-app-mptcpd/root/usr/share/rpcd/acl.d/luci-app-mptcpd.json');
const [ STATUS, SETTINGS, OVERVIEW ] = [ 'view.mptcpd.status', 'view.mptcpd.settings', 'view.status.include.35_mptcpd' ];

let browser, router, home, failed = 0, passed = 0;

const page = (view, more = '') => browser.open(`${home}/?view=${view}${more}`);
const see = expression => browser.until(expression);
const card = name => `document.querySelector('[data-uplink="${name}"]')`;
const state = (name, word) => see(`${card(name)}?.querySelector('[role=status]').textContent == ${JSON.stringify(word)}`);
const button = (name, which) => `${card(name)}.querySelector('[data-state=${which}]')`;
const press = node => see(`(node => node != null && !node.disabled && !node.hidden && (node.click(), true))(${node})`);
const shot = (name, height) => browser.screenshot(path.join(SCREENSHOTS, name + '.png'), height);

// Of openwrt/README.md.
const picture = (name, height) => browser.screenshot(path.join(__dirname, '../../../openwrt', name + '.png'), height);

function equal(found, expected) {
	if (JSON.stringify(found) != JSON.stringify(expected))
		throw new Error(`expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
}

async function check(what, work) {
	try {
		await work();
		equal(browser.problems.splice(0), []);
		passed++;
		console.log('ok - ' + what);
	}
	catch (err) {
		failed++;
		console.log(`not ok - ${what}: ${err.stack ?? err}`);
		browser.problems = [];
		await shot('failed-' + failed).catch(() => {});
	}
}

// Those of the kernel, within half a minute.
async function endpoints(pattern, there = true) {
	const end = Date.now() + 30000;
	let text;

	do {
		text = execFileSync('ip', [ 'mptcp', 'endpoint', 'show' ], { encoding: 'utf8' });

		if (pattern.test(text) == there)
			return;

		await new Promise(resolve => setTimeout(resolve, 100));
	} while (Date.now() < end);

	throw new Error(`endpoints: ${pattern} ${there ? 'is not' : 'is'} in\n${text}`);
}

const world = (...words) => execFileSync('nsenter', [ '-t', WORLD, '-n', ...words ]);
const config = name => fs.readFileSync(path.join(ROOT, 'etc/config', name), 'utf8');

// A router with eight uplinks in every state, probes and joins.
function everyState() {
	let count = 0;

	const path = (name, state, more = {}) => ({
		interface: name, ifname: 'eth-' + name, address: '198.51.100.' + (++count + 13), family: 'ipv4', state, reason: null, since: 3725.5,
		endpoint: state == 'active' || state == 'backup' ? { id: count, flags: [ 'subflow', ...(state == 'backup' ? [ state ] : []) ], ours: true, kept: false } : null, declared: 'auto', ...more
	});
	const track = (latency, packetloss, last_answer) => ({ track: { latency, packetloss, last_answer } });
	const paths = [
		path('fibre', 'active', { ...track(8.3, 0, 2.1), joins: { tried: 812, joined: 810, failed: 2 } }),
		path('lte', 'backup', { ...track(43.7, 2, 3.8), joins: { tried: null, joined: null, failed: 22 } }),
		path('dsl', 'dead', { reason: 'no_answer', ...track(null, 100, null) }),
		path('cable', 'waiting', { reason: 'no_default_route', ...track(20, 100, 7205) }),
		path('satlink', 'failed', { reason: 'refused', errno: 28 }),
		path('office', 'foreign', { reason: 'made_by_another_program', endpoint: { id: 9, flags: [ 'subflow' ], ours: false, kept: false } }),
		path('neighbour', 'dead', { reason: 'declared_down', declared: 'down' }),
		path('umts', 'waiting', { reason: 'something_that_is_new', advice: 'do what it takes' })
	];

	return {
		v: 1, version: '1.0.0', uptime: 273600, plugin: 'addr_adv', config: { last_error: 'line 3: unknown key' }, joins: { tried: 1624, joined: 1600, failed: 24 }, fallbacks: 3, blackholes: 2, limits: { subflows: 8, add_addr_accepted: 8 },
		interfaces: paths.map(({ interface: name, ifname }) => ({ interface: name, ifname })), paths
	};
}

function manyConnections(count) {
	const connections = [];

	for (let at = 0; at < count; at++) {
		const subflow = (name, part) => ({
			interface: name, ifname: 'eth-' + name, local: `198.51.100.${name == 'lte' ? 15 : 14}:${40000 + at}`, remote: '192.0.2.80:443', state: name == 'lte' ? 'backup' : 'active',
			backup: name == 'lte', sent: at * 1000 * part, received: at * 90000 * part, rtt: 10.5, retrans: at % 7
		});

		connections.push({ local: `198.51.100.14:${40000 + at}`, remote: `192.0.2.${80 + at}:443`, fallback: at % 10 == 3, sent: at * 1000, received: at * 90000, subflows: [ subflow('fibre', .8), subflow('lte', .2) ] });
	}

	const total = count * (count - 1) / 2;

	return { v: 1, count, connections, uplinks: [
		{ interface: 'fibre', ifname: 'eth-fibre', subflows: count, sent: total * 800, received: total * 72000 },
		{ interface: 'lte', ifname: 'eth-lte', subflows: count, sent: total * 200, received: total * 18000 }
	] };
}

async function realDaemon() {
	await check('the status page shows each uplink of the real daemon, why it is not used and what to do', async () => {
		await browser.size(1100, 800);
		await page(STATUS);
		await state('wan', 'In use');
		await state('lte', 'Backup');
		await state('vpn', 'Standby');
		await state('dsl', 'Waiting');
		await state('usb', 'Not up');
		equal(await browser.evaluate(`document.querySelectorAll('.mptcpd-card').length`), 5);
		await see(`${card('dsl')}.innerText.includes('There is no carrier.') && ${card('dsl')}.innerText.includes('Check the cable')`);
		await see(`${card('wan')}.innerText.includes('203.0.113.5') && /endpoint [0-9]+: subflow/.test(${card('wan')}.innerText)`);
		for (const [ name, hidden ] of [ [ 'wan', [ true, false, false ] ], [ 'lte', [ true, true, false ] ] ])
			equal(await browser.evaluate(`[ 'auto', 'backup', 'down' ].map(which => ${card(name)}.querySelector('[data-state=' + which + ']').hidden)`), hidden);
	});

	await check('it shows throughput, connections, and their subflows when one is opened by keyboard', async () => {
		await see(`/Sent [1-9][0-9.]* [KM]bit/.test(${card('wan')}.innerText)`);
		await see(`${card('wan')}.querySelector('.sent').getAttribute('d').split('L').length > 2`);
		await see(`document.querySelector('.mptcpd-connection')?.innerText.includes('198.51.100.80:5001')`);
		await see(`/Ping\\n[0-9.]+ ms\\nLoss\\n0 %/.test(${card('wan')}.innerText)`);
		await see(`/2 subflows, 1 backup/.test(document.querySelector('.mptcpd-connection').innerText)`);
		await browser.evaluate(`document.querySelector('.mptcpd-connection summary').focus()`);
		await browser.key('Enter', 'Enter', '\r');
		await see(`(text => text.includes('wan') && text.includes('lte') && text.includes('100.64.0.5'))(document.querySelector('.mptcpd-subflows').innerText)`);
		await see(`document.querySelector('.mptcpd-connection .mptcpd-split').title.match(/wan [0-9]+ %/)`);
		// It stays open, and the focus where it is, when figures change.
		const before = await browser.evaluate(`document.querySelector('.mptcpd-connection .sent').textContent`);
		await see(`document.querySelector('.mptcpd-connection .sent').textContent != ${JSON.stringify(before)}`);
		await see(`document.querySelector('.mptcpd-connection').open && document.activeElement.matches('.mptcpd-connection summary')`);
		await see(`${card('wan')}.querySelector('.sent').getAttribute('d').split('L').length > 4`);
		await shot('status');
	});

	await check('an uplink is taken out and put back by keyboard', async () => {
		await browser.evaluate(`${button('wan', 'down')}.focus()`);
		await browser.key(' ', 'Space', ' ');
		await endpoints(/203\.0\.113\.5/, false);
		await state('wan', 'Taken out');
		await see(`document.activeElement == ${button('wan', 'auto')}`);
		await shot('taken-out');
		await browser.key('Enter', 'Enter', '\r');
		await endpoints(/203\.0\.113\.5 .*dev eth1/);
		await state('wan', 'In use');
	});

	await check('it is made a backup, and more than that again', async () => {
		await press(button('wan', 'backup'));
		await endpoints(/203\.0\.113\.5 .*backup.*dev eth1/);
		await state('wan', 'Backup');
		await press(button('wan', 'auto'));
		await endpoints(/203\.0\.113\.5 .*backup.*dev eth1/, false);
		await state('wan', 'In use');
	});

	await check('a cable that is pulled is seen without a reload of the page', async () => {
		world('ip', 'link', 'set', 'wwan0-far', 'down');
		await state('lte', 'Waiting');
		world('ip', 'link', 'set', 'wwan0-far', 'up');
		await state('lte', 'Backup');
	});

	await check('what is refused is said', async () => {
		router.answers['mptcpd.path'] = () => [ 0, { error: 'no such <b>interface</b>', code: 1 } ];
		await press(button('wan', 'down'));
		await see(`document.querySelector('[role=alert]')?.textContent == 'wan: no such <b>interface</b>'`);
		delete router.answers['mptcpd.path'];
	});

	await check('who may only look cannot press', async () => {
		await page(STATUS, '&readonly');
		await see(`${button('wan', 'down')}.disabled`);
	});

	await check('the overview has a line', async () => {
		await page(OVERVIEW);
		await see(`/wan\\s*In use/.test(document.querySelector('#mptcpd-overview').innerText)`);
		await shot('overview');
	});
}

async function settings() {
	const field = (name, section = 'globals', file = 'mptcpd') => `document.getElementById('widget.${file}.${section}.${name}')`;

	await check('the settings page shows what UCI has', async () => {
		await page(SETTINGS);
		equal(await browser.evaluate(`[ 'wan', 'lte', 'vpn', 'dsl', 'wan6' ].map(name => document.getElementById('widget.network.' + name + '.multipath').value)`),
			[ 'on', 'backup', 'handover', 'on', '' ]);
		await see(`${field('enabled')}.checked`);
		await see(`[ ...${field('path_manager')}.options ].some(option => option.value == 'sspi')`);
		await shot('settings', 1500);
		if (process.env.PICTURES)
			await picture('settings', 960);
	});

	await check('it has every option of UCI', async () => {
		const init = fs.readFileSync(path.join(__dirname, '../../../openwrt/files/mptcpd.init'), 'utf8');
		const options = (...names) => names.flatMap(name => new RegExp(`^${name}='([^']*)'`, 'm').exec(init)[1].split(/\s+/));
		const missing = (names, id) => browser.evaluate(`${JSON.stringify(names)}.filter(name => document.querySelector(\`${id}\`) == null)`);
		const answer = [ 'addr_adv', 'sspi', 'fullmesh', 'failover', 'ndiffports' ].map(name => ({ name, description: '' }));

		router.answers['mptcpd.plugins'] = () => [ 0, { plugins: answer } ];
		await page(SETTINGS);
		equal(await missing(options('CORE_OPTIONS', 'OTHER_CORE_OPTIONS', 'KERNEL_OPTIONS'), '[id="widget.mptcpd.globals.${name}"]'), []);
		equal(await missing(options('INTERFACE_OPTIONS', 'OTHER_INTERFACE_OPTIONS'), '[id="widget.network.wan.${name}"]'), []);
		equal(await missing(options('PLUGIN_OPTIONS'), '[id^="widget.mptcpd.globals._"][id$="_${name}"]'), []);
		delete router.answers['mptcpd.plugins'];
		await page(SETTINGS);
	});

	await check('what makes no sense is not saved', async () => {
		const before = config('mptcpd') + config('network');

		await browser.evaluate(`${field('hold_down')}.value = 'soon'`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.querySelector('[data-name=hold_down] .error').textContent != ''`);
		await browser.evaluate(`${field('hold_down')}.value = ''`);
		await browser.evaluate(`${field('addresses')}.value = '192.0.2.0/24 somewhere'`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.querySelector('[data-name=addresses] .error').textContent != ''`);
		equal(config('mptcpd') + config('network'), before);
	});

	await check('Save & Apply reaches the kernel', async () => {
		await browser.evaluate(`${field('addresses')}.value = '!192.0.2.0/24'`);
		await browser.evaluate(`${field('multipath', 'lte', 'network')}.value = 'on'`);
		await browser.evaluate(`${field('source_routing')}.checked = true`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.body.dataset.applied == 'yes'`);
		await endpoints(/100\.64\.0\.5 .*backup/, false);
		await endpoints(/100\.64\.0\.5 .*subflow.*dev wwan0/);
		equal(/interface 'lte'\n(\t.*\n)*\toption multipath 'on'\n/.test(config('network')), true);
		equal(/option source_routing '1'/.test(config('mptcpd')), true);
		equal(/list track '198.51.100.80'/.test(config('mptcpd')), true);
		equal(/list addresses '!192.0.2.0.24'/.test(config('mptcpd')), true);
		equal(/multipath|hold_down/.test(config('mptcpd')), false);
	});

	await check('an interface that mptcpd has an opinion of its own about', async () => {
		await page(SETTINGS);
		await browser.evaluate(`${field('priority', 'lte', 'network')}.value = '-5'`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.body.dataset.applied == 'yes'`);
		equal(/config interface 'lte'\n\toption priority '-5'/.test(config('mptcpd')), true);
	});

	await check('an option of a strategy is in a section of its own', async () => {
		const generated = () => fs.readFileSync(path.join(ROOT, 'tmp/run/mptcpd/mptcpd.conf'), 'utf8');

		await page(SETTINGS);
		await browser.evaluate(`${field('path_manager')}.value = 'sspi'; ${field('_sspi_listen')}.value = 'yes'`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.body.dataset.applied == 'yes'`);
		equal(/config plugin 'sspi'\n\toption listen 'yes'\n/.test(config('mptcpd')), true);
		equal(/^path-manager = sspi$/m.test(generated()) && /^\[sspi\]\nlisten = yes$/m.test(generated()), true);
		await page(SETTINGS);
		await browser.evaluate(`${field('path_manager')}.value = ''; ${field('_sspi_listen')}.value = ''`);
		await press(`document.querySelector('.cbi-button-apply')`);
		await see(`document.body.dataset.applied == 'yes'`);
		equal(/path_manager|listen/.test(config('mptcpd')), false);
		equal(/^path-manager = addr_adv$/m.test(generated()), true);
	});
}

async function probes() {
	const far = (...words) => world('ip', 'route', ...words, '100.64.0.0/24', 'dev', 'wwan0-far');

	await check('an uplink that leads nowhere is dead, though its link is up', async () => {
		await page(STATUS);
		await state('lte', 'In use');
		far('del');
		await state('lte', 'Dead');
		await see(`${card('lte')}.innerText.includes('the tracked addresses do not answer')`);
		await endpoints(/100\.64\.0\.5/, false);
		far('add');
	});
}

async function withoutDaemon() {
	await check('without the daemon the page says so, starts it, and says why it does not start', async () => {
		await page(STATUS);
		await router.service('stop');
		await see(`document.querySelector('#mptcpd-problem').textContent.includes('mptcpd is not running: start it.')`);
		await shot('not-running');
		const whole = config('mptcpd');

		fs.writeFileSync(path.join(ROOT, 'etc/config/mptcpd'), whole + "config globals 'globals'\n\toption hold_down 'soon'\n");
		await press(`document.querySelector('#mptcpd-problem button')`);
		await see(`document.querySelector('#mptcpd-problem').textContent.includes('mptcpd.globals.hold_down: invalid value "soon"')`);
		await shot('not-started');
		fs.writeFileSync(path.join(ROOT, 'etc/config/mptcpd'), whole);
		await press(`document.querySelector('#mptcpd-problem button')`);
		await state('wan', 'In use');
		equal(await browser.evaluate(`document.querySelector('#mptcpd-problem').textContent`), '');
	});

	await check('switched off is not the same', async () => {
		await router.uci('set', { config: 'mptcpd', section: 'globals', values: { enabled: '0' } });
		await router.uci('apply', {});
		await page(STATUS);
		await see(`document.querySelector('#mptcpd-problem').textContent.includes('switched off')`);
		await see(`document.querySelector('#mptcpd-problem a').href.endsWith('/mptcpd/settings')`);
	});

	await check('an rpcd that does not know the object is named', async () => {
		router.answers['mptcpd.status'] = router.answers['mptcpd.connections'] = () => [ 4 ];
		await page(STATUS);
		await see(`document.querySelector('#mptcpd-problem').textContent.includes('Resource not found')`);
		await page(OVERVIEW);
		await see(`document.querySelector('#mptcpd-overview').textContent.includes('Resource not found')`);
	});
}

async function everything() {
	router.answers['mptcpd.status'] = () => [ 0, everyState() ];
	router.answers['mptcpd.connections'] = () => [ 0, manyConnections(100) ];
	router.answers['network.device.status'] = () => {
		const time = Date.now() / 1000;
		const bytes = (base, swing) => Math.floor(base * time + swing * (4 * Math.sin(time / 9) + Math.sin(time / 2)));

		return [ 0, Object.fromEntries(everyState().paths.map(({ ifname }, at) => [ ifname, {
			statistics: at < 2 ? { rx_bytes: bytes(4e6 / (at * 5 + 1), 3e6 / (at * 5 + 1)), tx_bytes: bytes(6e5 / (at * 5 + 1), 4e5 / (at * 5 + 1)) } : { rx_bytes: 0, tx_bytes: 0 }
		} ])) ];
	};

	await check('every state has a word, a reason and advice', async () => {
		await page(STATUS);
		for (const [ name, word, text ] of [
			[ 'fibre', 'In use', 'Ping\n8.3 ms\nLoss\n0 %' ], [ 'fibre', 'In use', 'Joins\n810 of 812' ], [ 'fibre', 'In use', 'for 1 h 2 min' ], [ 'lte', 'Backup', '43.7 ms\nLoss\n2 %' ], [ 'lte', 'Backup', 'Joins failed\n22' ],
			[ 'dsl', 'Dead', 'do not answer' ], [ 'dsl', 'Dead', 'no answer\nLoss\n100 %' ],
			[ 'cable', 'Waiting', 'Give the interface a gateway' ], [ 'cable', 'Waiting', 'last answer 2 h 0 min ago' ], [ 'satlink', 'Failed', 'error 28' ], [ 'office', 'Not ours', 'let mptcpd adopt it' ],
			[ 'neighbour', 'Taken out', 'Put it back' ], [ 'umts', 'Waiting', 'Something that is new.' ], [ 'umts', 'Waiting', 'Do what it takes.' ]
		]) {
			await state(name, word);
			await see(`${card(name)}.innerText.includes(${JSON.stringify(text)})`);
		}
	});

	await check('what the daemon warns of is said', async () => {
		for (const text of [ 'refused, and those before are in use: line 3: unknown key', 'for a while 2 times' ])
			await see(`document.querySelector('#mptcpd-problem').textContent.includes(${JSON.stringify(text)})`);
		for (const text of [ '1600 of 1624 joins came about', '3 connections fell back' ])
			await see(`document.querySelector('#mptcpd-summary').textContent.includes(${JSON.stringify(text)})`);
	});

	await check('where there are no connections it says who would have some', async () => {
		router.answers['mptcpd.connections'] = () => [ 0, { v: 1, count: 0, connections: [], uplinks: [] } ];
		await page(STATUS);
		await see(`document.querySelector('#mptcpd-note').textContent.includes('what it forwards for others stays as it is')`);
		router.answers['mptcpd.connections'] = () => [ 0, manyConnections(100) ];
		await see(`document.querySelector('#mptcpd-note').hidden`);
	});

	await check('of a hundred connections the largest are shown, and all on demand', async () => {
		const rows = `document.querySelectorAll('.mptcpd-connection')`;

		await see(`${rows}.length == 20 && ${rows}[0].innerText.includes('198.51.100.14:40099')`);
		await see(`[ ...${rows} ].some(row => row.innerText.includes('Plain TCP'))`);
		await press(`[ ...document.querySelectorAll('button') ].find(button => button.textContent == 'Show all 100')`);
		await see(`${rows}.length == 100 && document.activeElement == ${rows}[20].querySelector('summary')`);
		const begin = Date.now();
		await browser.evaluate('new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))');
		equal(Date.now() - begin < 5000, true);
	});

	for (const [ name, width, more ] of [ [ 'light', 1100, '' ], [ 'dark', 1100, '&dark' ], [ 'phone', 390, '' ], [ 'phone-dark', 390, '&dark' ] ]) {
		await check(`nothing is cut off: ${name}`, async () => {
			await browser.size(width, 800);
			for (const view of [ STATUS, SETTINGS ]) {
				await page(view, more);
				equal(await browser.evaluate('document.documentElement.scrollWidth - innerWidth'), 0);
			}
			await page(STATUS, more);
			await browser.evaluate(`document.querySelector('.mptcpd-connection').open = true`);
			await see(`document.querySelector('.mptcpd-subflows') != null`);
			equal(await browser.evaluate('document.documentElement.scrollWidth - innerWidth'), 0);
			await see(`${card('fibre')}.querySelector('.sent').getAttribute('d').split('L').length > 3`);
			await shot(name, 1900);
		});

		await check(`texts stand out from what is behind them: ${name}`, async () => {
			const worst = await browser.evaluate(`(${contrast})()`);

			if (worst.ratio < 4.5)
				throw new Error(JSON.stringify(worst));
		});
	}
}

// With a graph of two minutes.
async function pictures() {
	const status = everyState();
	const connections = manyConnections(5);

	Object.assign(status, { config: { last_error: null }, blackholes: 0 });

	for (const list of [ 'interfaces', 'paths' ])
		status[list] = status[list].slice(0, 3);
	router.answers['mptcpd.status'] = () => [ 0, status ];
	router.answers['mptcpd.connections'] = () => [ 0, connections ];

	for (const [ name, width, height, more ] of [ [ 'status', 1100, 760, '' ], [ 'phone', 360, 760, '&dark' ] ])
		await check('picture: ' + name, async () => {
			await browser.size(width, height);
			await page(STATUS, more);
			await browser.evaluate(`document.querySelector('.mptcpd-connection').open = true`);
			await new Promise(resolve => setTimeout(resolve, 125000));
			await picture(name, height);
		});
}

// Runs in the page: the least contrast between a badge's or a sentence's text and its background.
function contrast() {
	const channels = colour => (colour.match(/[\d.]+/g) ?? []).map(Number);
	const luminance = ([ r, g, b ]) => [ r, g, b ].map(part => part / 255).map(part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
		.reduce((total, part, at) => total + part * [ .2126, .7152, .0722 ][at], 0);
	const over = (top, bottom, alpha) => top.slice(0, 3).map((part, at) => part * alpha + bottom[at] * (1 - alpha));
	let worst = { ratio: 21 };

	for (const node of document.querySelectorAll('.mptcpd-badge, .mptcpd-card p, .mptcpd-small, .mptcpd-card dt, .mptcpd-card code, .mptcpd-card button')) {
		const chain = [];

		for (let at = node; at != null; at = at.parentElement)
			chain.unshift(at);

		let behind = [ 255, 255, 255 ], opacity = 1;

		for (const at of chain) {
			const [ r, g, b, alpha = 1 ] = channels(getComputedStyle(at).backgroundColor);

			behind = over([ r, g, b ], behind, alpha);
			opacity *= +getComputedStyle(at).opacity;
		}

		const [ a, b ] = [ luminance(over(channels(getComputedStyle(node).color), behind, opacity)), luminance(behind) ].sort((one, other) => other - one);
		const ratio = (a + .05) / (b + .05);

		if (ratio < worst.ratio && node.offsetParent != null)
			worst = { ratio, text: node.textContent, class: node.className };
	}

	return worst;
}

async function main() {
	router = new Router(ROOT);
	home = await router.listen();
	browser = await Browser.start(PROGRAM, path.join(OUT, 'profile'));

	try {
		await realDaemon();
		await settings();
		await probes();
		await withoutDaemon();
		await everything();
		if (process.env.PICTURES)
			await pictures();

		await check('the pages may call what they call, and nothing else', async () => {
			const acl = JSON.parse(fs.readFileSync(ACL));
			const granted = Object.values(acl).flatMap(({ read, write }) => [ read, write ]).flatMap(part =>
				Object.entries(part?.ubus ?? {}).flatMap(([ object, methods ]) => methods.map(method => object + '.' + method)));

			equal([ ...router.calls ].filter(call => !call.startsWith('uci.')).sort(), [ ...new Set(granted) ].sort());
			for (const changes of [ 'mptcpd.path', 'file.exec' ])
				equal(Object.values(acl).some(({ read }) => Object.entries(read.ubus).some(([ object, methods ]) => methods.some(method => object + '.' + method == changes))), false);
		});
	}
	finally {
		await browser.stop();
		router.server.close();
	}

	console.log(`${passed} passed, ${failed} failed`);
	process.exit(failed ? 1 : 0);
}

main().catch(err => {
	console.log('not ok - ' + (err.stack ?? err));
	process.exit(1);
});
