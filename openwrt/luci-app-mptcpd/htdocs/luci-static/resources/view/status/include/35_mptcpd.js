// SPDX-License-Identifier: BSD-3-Clause
'use strict';
'require baseclass';
'require mptcpd';

return baseclass.extend({
	title: _('Multipath TCP'),

	load: function() {
		mptcpd.style();

		return mptcpd.status();
	},

	render: function(status) {
		const link = E('a', { 'href': L.url('admin/network/mptcpd/status') }, [ _('Details') ]);

		if (status.error != null)
			return E('p', { 'id': 'mptcpd-overview' }, [
				status.code == mptcpd.NOT_RUNNING ? _('mptcpd is not running.') : status.error, ' ', link
			]);

		const uplinks = mptcpd.uplinks(status);

		return E('p', { 'id': 'mptcpd-overview', 'class': 'mptcpd-line' }, [
			...uplinks.map(uplink => E('span', { 'class': 'mptcpd-item' }, [
				E('strong', {}, [ uplink.name ]), ' ', mptcpd.badge(uplink.state)
			])),
			uplinks.length ? '' : _('There is no uplink to use.'),
			link
		]);
	}
});
