# Stand-in for OpenWrt's build system, as much as the package needs: make -C openwrt TOPDIR=... .
# OUT is where everything goes. `make install` leaves the package's files in OUT/root, `make show`
# prints what its metadata would be.

INCLUDE_DIR:=$(TOPDIR)/include
BUILD_DIR:=$(OUT)/build

empty:=
space:=$(empty) $(empty)
comma:=,

INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_DATA:=install -m0644
INSTALL_CONF:=install -m0600
SED:=sed -i -e
