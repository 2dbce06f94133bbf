#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The packages feed's CI runs this where the package has been installed: test.sh PACKAGE VERSION. There
# is neither procd nor a kernel to configure.
set -eu
[ "$1" = mptcpd ] || exit 0

mptcpd --version | grep -F "$2"
mptcpd --list-plugins | grep addr_adv
mptcpd --check -c /etc/mptcpd/mptcpd.conf >/dev/null
/usr/libexec/rpcd/mptcpd list | grep '"status"'
# Nobody answers, and that is said.
echo '{}' | /usr/libexec/rpcd/mptcpd call status | grep '"code":3'
for script in /etc/init.d/mptcpd /etc/hotplug.d/iface/90-mptcpd; do sh -n "$script"; done
