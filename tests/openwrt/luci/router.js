// SPDX-License-Identifier: BSD-3-Clause
// Stand-in for a router's web server: the package's files, and /ubus with what the pages call. The
// object `mptcpd` is the real plugin of rpcd with the real daemon behind it; UCI is the files that the
// real init script reads; network.device and file are what the kernel and that script say.
'use strict';

const http = require('http');
const fs = require('fs');
const path = require('path');
const { spawnSync, spawn } = require('child_process');

const PACKAGE = path.join(__dirname, '../../../openwrt/luci-app-mptcpd');
const ACL = path.join(PACKAGE, 'root/usr/share/rpcd/acl.d/luci-app-mptcpd.json');
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.html': 'text/html' };
const [ OK, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED ] = [ 0, 2, 4, 6 ];

class Router {
	// `root` is the directory where the router's files are.
	constructor(root) {
		this.root = root;
		this.calls = new Set();
		// Answers that take the place of real ones, by OBJECT.METHOD.
		this.answers = {};
		this.staged = {};
		this.server = http.createServer((request, response) => this.serve(request, response));
	}

	listen() {
		return new Promise(resolve => this.server.listen(0, '127.0.0.1', () => resolve('http://127.0.0.1:' + this.server.address().port)));
	}

	inside(words, input = '') {
		return new Promise(resolve => {
			const child = spawn('chroot', [ this.root, '/bin/env', '-i', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', ...words ], { stdio: [ 'pipe', 'pipe', 'ignore' ] });
			let text = '';

			child.stdout.on('data', data => text += data);
			child.on('close', () => resolve(text));
			child.stdin.on('error', () => {});
			child.stdin.end(input);
			// The daemon that a service starts keeps what it has inherited.
			child.on('exit', () => setTimeout(() => resolve(text), 500));
		});
	}

	service(action) {
		return this.inside([ '/bin/sh', '-c', 'umask 077; exec /etc/init.d/mptcpd ' + action + ' >/tmp/service 2>&1' ]);
	}

	serve(request, response) {
		const { pathname } = new URL(request.url, 'http://router');

		if (pathname == '/ubus')
			return this.ubus(request, response);

		const file = pathname.startsWith('/luci-static/') ? path.join(PACKAGE, 'htdocs', path.normalize(pathname))
			: path.join(__dirname, pathname == '/client.js' ? 'client.js' : 'page.html');

		if (!fs.existsSync(file))
			return response.writeHead(pathname == '/favicon.ico' ? 204 : 404).end();

		response.writeHead(200, { 'Content-Type': TYPES[path.extname(file)] ?? 'text/plain' }).end(fs.readFileSync(file));
	}

	ubus(request, response) {
		let body = '';

		request.on('data', data => body += data);
		request.on('end', async () => {
			const { id, params: [ , object, method, args ] } = JSON.parse(body);

			this.calls.add(object + '.' + method);

			const result = this.answers[object + '.' + method]?.(args) ?? await this.call(object, method, args);

			response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
		});
	}

	async call(object, method, args) {
		switch (object) {
		case 'mptcpd':
			return [ OK, JSON.parse(await this.inside([ '/usr/libexec/rpcd/mptcpd', 'call', method ], JSON.stringify(args))) ];

		case 'network.device':
			return [ OK, this.devices() ];

		case 'file': {
			const acl = JSON.parse(fs.readFileSync(ACL));
			const line = [ args.command, ...args.params ].join(' ');

			if (!Object.values(acl).some(({ write }) => write.file?.[line]?.includes('exec')))
				return [ PERMISSION_DENIED ];

			await this.service(args.params[0]);

			return [ OK, { code: 0, stderr: fs.readFileSync(path.join(this.root, 'tmp/service'), 'utf8') } ];
		}

		case 'uci':
			return this.uci(method, args);
		}

		return [ NOT_FOUND ];
	}

	devices() {
		const text = spawnSync('ip', [ '-s', '-j', 'link', 'show' ]).stdout;

		return Object.fromEntries(JSON.parse(text).map(link => [ link.ifname, {
			statistics: { rx_bytes: link.stats64.rx.bytes, tx_bytes: link.stats64.tx.bytes }
		} ]));
	}

	file(config) {
		return path.join(this.root, 'etc/config', config);
	}

	// Sections by name; those without one are called as UCI does.
	load(config) {
		const sections = {};
		let section, count = 0;

		for (const line of fs.existsSync(this.file(config)) ? fs.readFileSync(this.file(config), 'utf8').split('\n') : []) {
			const [ , word, name, value ] = /^\s*(\w+)\s+'?([\w-]+)'?(?:\s+'(.*)')?\s*$/.exec(line) ?? [];

			if (word == 'config')
				section = sections[value ?? 'cfg' + ++count] ??= { '.type': name, '.name': value ?? 'cfg' + count, '.anonymous': value == null };
			else if (word == 'option')
				section[name] = value;
			else if (word == 'list')
				section[name] = [].concat(section[name] ?? [], value);
		}

		return sections;
	}

	store(config, sections) {
		const lines = [];

		for (const section of Object.values(sections)) {
			lines.push(`config ${section['.type']}${section['.anonymous'] ? '' : ` '${section['.name']}'`}`);

			for (const [ name, value ] of Object.entries(section))
				if (!name.startsWith('.'))
					lines.push(...[].concat(value).map(item => `\t${Array.isArray(value) ? 'list' : 'option'} ${name} '${item}'`));
		}

		fs.writeFileSync(this.file(config), lines.join('\n') + '\n');
	}

	async uci(method, { config, section, type, name, values, options }) {
		if (method == 'apply') {
			for (const changed in this.staged)
				this.store(changed, this.staged[changed]);

			this.staged = {};
			// As procd does, by the service's triggers.
			await this.service('reload');

			return [ OK ];
		}

		const sections = this.staged[config] ?? this.load(config);

		if (method == 'get')
			return Object.keys(sections).length ? [ OK, { values: sections } ] : [ NOT_FOUND ];

		this.staged[config] = sections;

		switch (method) {
		case 'add':
			sections[name] = { '.type': type, '.name': name };
			break;

		case 'set':
			Object.assign(sections[section], values);
			break;

		case 'delete':
			options.forEach(option => delete sections[section][option]);
			break;

		default:
			return [ INVALID_ARGUMENT ];
		}

		return [ OK ];
	}
}

module.exports = Router;
