// SPDX-License-Identifier: BSD-3-Clause
// A headless Chromium, spoken to through two pipes: messages of the DevTools protocol, each ended by a
// NUL. Nothing but Node is needed.
'use strict';

const { spawn } = require('child_process');
const fs = require('fs');

class Browser {
	// The profile is made in `directory`.
	static async start(program, directory) {
		const browser = new Browser();
		const child = spawn(program, [
			'--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--mute-audio',
			'--disable-background-networking', '--disable-component-update', '--disable-extensions', '--no-zygote',
			'--hide-scrollbars', '--remote-debugging-pipe', '--user-data-dir=' + directory, 'about:blank'
		], { stdio: [ 'ignore', 'ignore', 'ignore', 'pipe', 'pipe' ], env: { ...process.env, HOME: directory } });

		Object.assign(browser, { child, number: 0, waiting: new Map(), problems: [], text: '' });
		child.on('exit', () => browser.waiting.forEach(({ reject }) => reject(new Error('the browser has ended'))));
		child.stdio[4].setEncoding('utf8');
		child.stdio[4].on('data', data => browser.read(data));

		const { targetInfos } = await browser.send('Target.getTargets');
		const { targetId } = targetInfos.find(target => target.type == 'page');

		browser.session = (await browser.send('Target.attachToTarget', { targetId, flatten: true })).sessionId;

		for (const domain of [ 'Page', 'Runtime', 'Log' ])
			await browser.send(domain + '.enable');

		return browser;
	}

	send(method, params = {}) {
		const id = ++this.number;

		this.child.stdio[3].write(JSON.stringify({ id, method, params, sessionId: this.session }) + '\0');

		return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject, method }));
	}

	read(data) {
		this.text += data;

		const messages = this.text.split('\0');

		this.text = messages.pop();

		for (const message of messages.map(JSON.parse)) {
			const { method, params } = message;
			const asked = this.waiting.get(message.id);

			this.waiting.delete(message.id);

			if (asked && message.error)
				asked.reject(new Error(asked.method + ': ' + message.error.message));
			else if (asked)
				asked.resolve(message.result);
			else if (method == 'Runtime.exceptionThrown')
				this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
			else if (method == 'Runtime.consoleAPICalled' && params.type == 'error')
				this.problems.push(params.args.map(arg => arg.value ?? arg.description).join(' '));
			else if (method == 'Log.entryAdded' && params.entry.level == 'error')
				this.problems.push(params.entry.text + ' ' + (params.entry.url ?? ''));
		}
	}

	async evaluate(expression) {
		const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });

		if (exceptionDetails)
			throw new Error(expression + ': ' + (exceptionDetails.exception?.description ?? exceptionDetails.text));

		return result.value;
	}

	// Until it is true, for half a minute: machines are busy.
	async until(expression) {
		const end = Date.now() + 30000;
		let last;

		while (Date.now() < end) {
			last = await this.evaluate(expression).catch(() => false);

			if (last)
				return last;

			await new Promise(resolve => setTimeout(resolve, 50));
		}

		throw new Error('not true after 30 seconds: ' + expression + this.problems.map(problem => '\n' + problem).join(''));
	}

	async open(url) {
		await this.send('Page.navigate', { url });
		await this.until(`location.href == ${JSON.stringify(url)} && document.body?.dataset.ready == 'yes'`);
	}

	size(width, height) {
		return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
	}

	async key(key, code = key, text) {
		await this.send('Input.dispatchKeyEvent', { type: 'keyDown', key, code, text, windowsVirtualKeyCode: { Enter: 13, Tab: 9, ' ': 32 }[key] });
		await this.send('Input.dispatchKeyEvent', { type: 'keyUp', key, code, windowsVirtualKeyCode: { Enter: 13, Tab: 9, ' ': 32 }[key] });
	}

	// The whole page, down to `height` at most.
	async screenshot(file, height = 2000) {
		const [ width, all ] = await this.evaluate('[ innerWidth, document.documentElement.scrollHeight ]');
		const { data } = await this.send('Page.captureScreenshot', { captureBeyondViewport: true, clip: { x: 0, y: 0, width, height: Math.min(all, height), scale: 1 } });

		fs.writeFileSync(file, Buffer.from(data, 'base64'));
	}

	stop() {
		return new Promise(resolve => {
			this.child.on('exit', resolve);
			this.child.kill('SIGKILL');
		});
	}
}

module.exports = Browser;
