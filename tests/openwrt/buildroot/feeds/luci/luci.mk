# Stand-in for the luci feed's: `make install` leaves the files in OUT/luci.

LUCI_NAME?=$(notdir $(CURDIR))

show:
	@echo 'name: $(LUCI_NAME)'
	@echo 'title: $(LUCI_TITLE)'
	@echo 'depends: $(strip $(LUCI_DEPENDS))'
	@echo 'license: $(PKG_LICENSE)'
	@echo 'maintainer: $(PKG_MAINTAINER)'

install:
	mkdir -p $(OUT)/luci/www
	cp -R htdocs/. $(OUT)/luci/www
	cp -R root/. $(OUT)/luci

.PHONY: show install
