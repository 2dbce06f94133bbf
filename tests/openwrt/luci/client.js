// SPDX-License-Identifier: BSD-3-Clause
/*
 * Stand-in for LuCI's client API, as much of it as the pages use: the same names, arguments and
 * habits, among them those that trip pages up (a text that is a child by itself is HTML, one in an
 * array is text). The wire is that of uhttpd's /ubus.
 */
'use strict';

(function() {
	const resources = '/luci-static/resources';

	/* ---- formats: %s %d %.1f %t %1000.1mB and %% */
	String.prototype.format = function(...values) {
		return this.replace(/%(?:%|(\d*)(?:\.(\d+))?([sdftm]))/g, (all, width, precision, kind) => {
			if (kind == null)
				return '%';

			const value = values.shift();

			switch (kind) {
			case 's': return String(value ?? '');
			case 'd': return String(Math.floor(+value || 0));
			case 'f': return (+value).toFixed(+(precision ?? 2));
			case 't': {
				const [ d, h, m, s ] = [ value / 86400, value / 3600 % 24, value / 60 % 60, value % 60 ].map(Math.floor);

				return (d ? '%dd '.format(d) : '') + '%dh %dm %ds'.format(h, m, s);
			}
			case 'm': {
				const base = +(width || 1000);
				let number = +value || 0, at = 0;

				while (number > base && at < 4) {
					number /= base;
					at++;
				}

				return '%s %s'.format(number.toFixed(+(precision ?? 2)), [ '', 'K', 'M', 'G', 'T' ][at]);
			}
			}
		});
	};

	window._ = text => text;
	window.N_ = (count, one, many) => count == 1 ? one : many;

	/* ---- nodes */
	const dom = {
		elem: thing => thing != null && typeof thing == 'object' && 'nodeType' in thing,

		append(node, children) {
			if (Array.isArray(children)) {
				for (const child of children)
					if (dom.elem(child))
						node.appendChild(child);
					else if (child != null)
						node.appendChild(document.createTextNode(String(child)));
			}
			else if (dom.elem(children)) {
				node.appendChild(children);
			}
			else if (children != null) {
				node.innerHTML = String(children);
			}

			return node.lastChild;
		},

		content(node, children) {
			node.replaceChildren();

			return dom.append(node, children);
		}
	};

	window.E = (name, attributes = {}, children) => {
		const node = document.createElement(name);

		for (const key in attributes)
			if (typeof attributes[key] == 'function')
				node.addEventListener(key, attributes[key]);
			else if (attributes[key] != null)
				node.setAttribute(key, attributes[key]);

		dom.append(node, children);

		return node;
	};

	/* ---- classes */
	class Base {
		static extend(members) {
			const Made = class extends this {};

			Object.assign(Made.prototype, members);

			return Made;
		}
	}

	/* ---- ubus */
	let number = 0;
	const CODES = [ 'OK', 'Invalid command', 'Invalid argument', 'Method not found', 'Resource not found', 'No data', 'Permission denied', 'Timeout' ];

	function call(object, method, args) {
		return fetch('/ubus', {
			method: 'POST',
			body: JSON.stringify({ jsonrpc: '2.0', id: ++number, method: 'call', params: [ '0', object, method, args ] })
		}).then(response => response.json()).then(reply => reply.result);
	}

	const rpc = {
		declare: options => (...values) => {
			const args = {};

			(options.params ?? []).forEach((name, at) => {
				if (values[at] !== undefined)
					args[name] = values[at];
			});

			return call(options.object, options.method, args).then(([ code, answer ]) => {
				const [ member, otherwise ] = Object.entries(options.expect ?? { '': undefined })[0];

				if (code != 0) {
					if (options.reject)
						throw new Error('RPC call to %s/%s failed with ubus code %d: %s'.format(options.object, options.method, code, CODES[code]));

					return otherwise;
				}

				return member == '' ? answer ?? otherwise : answer?.[member] ?? otherwise;
			});
		}
	};

	const poll = {
		add(work, seconds) {
			let busy = false;

			setInterval(() => {
				if (busy || window.stopped)
					return;

				busy = true;
				Promise.resolve(work()).finally(() => busy = false);
			}, seconds * 1000);
		}
	};

	/* ---- UCI, with the changes that are not saved yet */
	const loaded = {};
	let changes = [];

	const uci = {
		load: configs => Promise.all([].concat(configs).map(config => loaded[config] ?? call('uci', 'get', { config }).then(([ code, answer ]) => {
			if (code == 0)
				loaded[config] = answer.values;
		}))),
		sections: (config, type) => Object.values(loaded[config] ?? {}).filter(section => section['.type'] == type),
		get: (config, section, option) => option == null ? loaded[config]?.[section] : loaded[config]?.[section]?.[option],

		set(config, section, option, value) {
			if (loaded[config]?.[section] == null)
				return;

			loaded[config][section][option] = value;
			changes.push([ 'set', { config, section, values: { [option]: value } } ]);
		},

		unset(config, section, option) {
			if (loaded[config]?.[section]?.[option] == null)
				return;

			delete loaded[config][section][option];
			changes.push([ 'delete', { config, section, options: [ option ] } ]);
		},

		add(config, type, name) {
			(loaded[config] ??= {})[name] = { '.type': type, '.name': name };
			changes.push([ 'add', { config, type, name } ]);

			return name;
		},

		async save() {
			for (const [ method, args ] of changes)
				await call('uci', method, args);

			changes = [];
		},

		apply: () => call('uci', 'apply', { rollback: false })
	};

	const ui = {
		addNotification(title, children, kind) {
			const node = E('div', { 'class': 'alert-message %s'.format(kind ?? ''), 'role': 'alert' }, [ children ]);

			document.querySelector('#notifications').appendChild(node);

			return node;
		},

		createHandlerFn: (self, work, ...values) => event => {
			const button = event.currentTarget;

			button.disabled = true;

			return Promise.resolve((typeof work == 'string' ? self[work] : work).call(self, ...values, event))
				.finally(() => button.disabled = false);
		}
	};

	/* ---- forms */
	const TYPES = {
		'ipaddr': value => /^[0-9]+(\.[0-9]+){3}$/.test(value) || /^[0-9a-fA-F:]*:[0-9a-fA-F:.]*$/.test(value),
		'uinteger': value => /^[0-9]+$/.test(value),
		'uciname': value => /^[a-zA-Z0-9_]+$/.test(value),
		'range': (value, first, last) => /^-?[0-9]+$/.test(value) && +value >= first && +value <= last
	};

	function isValid(datatype, value) {
		const [ , name, list ] = /^(\w+)(?:\((.*)\))?$/.exec(datatype);

		return TYPES[name](value, ...(list ?? '').split(','));
	}

	class Option extends Base {
		constructor(section, name, title, description) {
			super();
			Object.assign(this, { section, option: name, title, description, rmempty: true, keys: [], texts: [] });
		}

		value(key, text) {
			this.keys.push(String(key));
			this.texts.push(text ?? key);
		}

		get config() { return this.section.uciconfig ?? this.section.map.config; }
		cfgvalue(id) { return uci.get(this.config, id, this.option); }
		write(id, value) { uci.set(this.config, id, this.option, value); }
		remove(id) { uci.unset(this.config, id, this.option); }
		validate() { return true; }

		render(id) {
			const value = this.cfgvalue(id) ?? this.default;
			const label = 'widget.%s.%s.%s'.format(this.config, id, this.option);

			this.fields ??= new Map();
			this.fields.set(id, this.widget(label, value));

			const field = this.fields.get(id);

			field.message = E('div', { 'class': 'error', 'role': 'alert' });

			return E('div', { 'class': 'cbi-value', 'data-name': this.option, 'data-title': this.title }, [
				E('label', { 'class': 'cbi-value-title', 'for': label }, [ this.title ]),
				E('div', { 'class': 'cbi-value-field' }, [ field.node, field.message, E('div', { 'class': 'cbi-value-description' }, [ this.description ?? '' ]) ])
			]);
		}

		widget(id, value) {
			const node = E('input', { id, 'type': 'text', 'value': value ?? '', 'placeholder': this.placeholder });

			return { node, get: () => node.value.trim() };
		}

		check(id) {
			const field = this.fields.get(id);

			if (field == null)
				return true;

			const wrong = [].concat(field.get()).filter(item => item != '').some(item => this.datatype && !isValid(this.datatype, item));
			const says = this.validate(id, field.get());

			field.message.textContent = wrong ? 'Expecting %s'.format(this.datatype) : says === true ? '' : says;

			return field.message.textContent == '';
		}

		parse(id) {
			const value = this.fields.get(id)?.get();

			if (value === undefined)
				return;

			if (JSON.stringify(value) == JSON.stringify(this.cfgvalue(id)))
				return;

			const empty = value == '' || (this.rmempty && value == this.default);

			if (!empty)
				this.write(id, value);
			else if (this.cfgvalue(id) != null)
				this.remove(id);
		}
	}

	class Flag extends Option {
		widget(id, value) {
			const node = E('input', { id, 'type': 'checkbox' });

			node.checked = value == '1';

			return { node, get: () => node.checked ? '1' : '0' };
		}
	}

	class ListValue extends Option {
		widget(id, value) {
			const keys = this.keys.includes(value ?? '') ? this.keys : [ ...this.keys, value ];
			const node = E('select', { id }, keys.map((key, at) => E('option', { 'value': key, 'selected': key == (value ?? '') ? '' : null }, [ this.texts[at] ?? key ])));

			return { node, get: () => node.value };
		}
	}

	class MultiValue extends Option {
		widget(id, value) {
			const chosen = [].concat(value ?? []).flatMap(item => item.split(' '));
			const boxes = this.keys.map(key => E('input', { 'type': 'checkbox', 'value': key, 'checked': chosen.includes(key) ? '' : null }));

			return {
				node: E('div', { id }, boxes.map((box, at) => E('label', { 'class': 'choice' }, [ box, ' ', this.texts[at] ]))),
				get: () => boxes.filter(box => box.checked).map(box => box.value)
			};
		}
	}

	class DynamicList extends Option {
		widget(id, value) {
			const node = E('textarea', { id, 'rows': 2 }, [ [].concat(value ?? []).join('\n') ]);

			return { node, get: () => node.value.split(/\s+/).filter(item => item != '') };
		}
	}

	class DummyValue extends Option {
		widget(id, value) {
			return { node: E('output', { id }, [ value ?? '' ]), get: () => undefined };
		}
	}

	class Section {
		constructor(map, first, ...rest) {
			Object.assign(this, { map, options: [], tabs: [] });
			this.init(first, ...rest);
		}

		option(kind, name, title, description) {
			const option = new kind(this, name, title, description);

			this.options.push(option);

			return option;
		}

		tab(name, title) { this.tabs.push([ name, title ]); }

		taboption(tab, ...rest) {
			const option = this.option(...rest);

			if (!this.tabs.some(([ name ]) => name == tab))
				throw new Error('no tab ' + tab);

			option.tabname = tab;

			return option;
		}

		head() {
			return [ E('h3', {}, [ this.title ]), E('div', { 'class': 'cbi-section-descr' }, [ this.description ?? '' ]) ];
		}
	}

	class NamedSection extends Section {
		init(id, type, title, description) { Object.assign(this, { id, title, description }); }
		ids() { return uci.get(this.uciconfig ?? this.map.config, this.id) ? [ this.id ] : []; }

		render() {
			const rows = tab => this.options.filter(option => option.tabname == tab).map(option => option.render(this.id));
			const panes = this.tabs.map(([ name, title ], at) => E('details', { 'class': 'tab', 'data-tab': name, 'open': at == 0 ? '' : null }, [ E('summary', {}, [ title ]), ...rows(name) ]));

			return this.ids().length ? E('div', { 'class': 'cbi-section' }, [ ...this.head(), ...rows(undefined), ...panes ]) : E('div');
		}
	}

	class TableSection extends Section {
		init(type, title, description) { Object.assign(this, { type, title, description }); }

		ids() {
			return uci.sections(this.uciconfig ?? this.map.config, this.type).map(section => section['.name']).filter(id => this.filter?.(id) ?? true);
		}

		render() {
			return E('div', { 'class': 'cbi-section' }, [ ...this.head(), E('div', { 'class': 'table' }, this.ids().map(id =>
				E('div', { 'class': 'tr', 'data-section-id': id }, [ E('strong', { 'class': 'title' }, [ id ]), ...this.options.map(option => option.render(id)) ]))) ]);
		}
	}

	class Map_ {
		constructor(config, title, description) { Object.assign(this, { config, title, description, sections: [], configs: [ config ] }); }
		chain(config) { this.configs.push(config); }

		section(kind, ...rest) {
			const section = new kind(this, ...rest);

			this.sections.push(section);

			return section;
		}

		async render() {
			await uci.load(this.configs);

			const node = E('div', { 'class': 'cbi-map' }, [
				E('h2', {}, [ this.title ]), E('div', { 'class': 'cbi-map-descr' }, [ this.description ]), ...this.sections.map(section => section.render())
			]);

			node.map = this;

			return node;
		}

		async save() {
			const all = this.sections.flatMap(section => section.ids().flatMap(id => section.options.map(option => [ option, id ])));

			/* Each says what is wrong with it. */
			if (all.filter(([ option, id ]) => !option.check(id)).length)
				throw new Error('There are invalid values.');

			for (const [ option, id ] of all)
				option.parse(id);

			await uci.save();
		}
	}

	const form = { Map: Map_, NamedSection, TableSection, Value: Option, Flag, ListValue, MultiValue, DynamicList, DummyValue };

	/* ---- views */
	const view = class extends Base {
		load() {}

		async handleSave() {
			for (const node of document.querySelectorAll('#view .cbi-map'))
				await node.map.save();
		}

		async handleSaveApply() {
			await this.handleSave();
			await uci.apply();
			document.body.dataset.applied = 'yes';
		}
	};

	const fs = {
		exec: (command, params) => call('file', 'exec', { command, params }).then(([ code, answer ]) => {
			if (code != 0)
				throw new Error('%s: %s'.format(command, CODES[code]));

			return answer;
		})
	};

	/* ---- modules: what they require, each once */
	const modules = { baseclass: Base, dom, form, fs, poll, rpc, uci, ui, view };

	window.L = {
		url: path => '/cgi-bin/luci/%s'.format(path),
		resource: path => '%s/%s'.format(resources, path),
		resolveDefault: (promise, otherwise) => Promise.resolve(promise).catch(() => otherwise),
		hasViewPermission: () => !new URLSearchParams(location.search).has('readonly'),

		require: name => modules[name] ??= (async () => {
			const text = await (await fetch('%s/%s.js'.format(resources, name.replace(/\./g, '/')))).text();
			const head = text.slice(0, text.search(/^(?!['\s]|\/\/)/m));
			const names = [ ...head.matchAll(/^'require ([\w.]+)';$/gm) ].map(match => match[1]);
			const needed = await Promise.all(names.map(L.require));
			const Made = new Function('_', ...names, text + '\n//# sourceURL=' + name)(window._, ...needed);

			return new Made();
		})()
	};

	window.addEventListener('DOMContentLoaded', async () => {
		const query = new URLSearchParams(location.search);
		const place = document.querySelector('#view');

		document.documentElement.dataset.darkmode = query.has('dark');

		const shown = await L.require(query.get('view'));
		const node = await shown.render(await shown.load());

		dom.content(place, node);

		if (shown.title != null)
			place.prepend(E('h3', {}, [ shown.title ]));

		if (shown.handleSaveApply)
			place.appendChild(E('div', { 'class': 'cbi-page-actions' }, [
				E('button', { 'class': 'btn cbi-button cbi-button-apply', 'click': ui.createHandlerFn(shown, () =>
					shown.handleSaveApply().catch(err => ui.addNotification(null, E('p', {}, [ err.message ]), 'danger'))) }, [ 'Save & Apply' ])
			]));

		document.body.dataset.ready = 'yes';
	});
})();
