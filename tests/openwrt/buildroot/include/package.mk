# Stand-in: what is defined later, as with the real one, wins over what is defined here.

PKG_BUILD_DIR?=$(BUILD_DIR)/$(PKG_NAME)-$(PKG_VERSION)
PKG_INSTALL_DIR?=$(PKG_BUILD_DIR)/ipkg-install

define Build/Prepare
	$(error this stand-in does not download $(PKG_SOURCE_URL)$(PKG_SOURCE))
endef

define BuildPackage
$(eval $(Package/$(1)))
$(foreach field,SECTION CATEGORY TITLE URL,$(if $($(field)),,$(error Package/$(1) has no $(field))))

show:
	@echo 'name: $(1)'
	@echo 'version: $(PKG_VERSION)-r$(PKG_RELEASE)'
	@echo 'license: $(PKG_LICENSE)'
	@echo 'maintainer: $(PKG_MAINTAINER)'
	@echo 'url: $(URL)'
	@echo 'hash: $(PKG_HASH)'
	@echo 'depends: $(strip $(DEPENDS))'
	@echo 'user: $(USERID)'
	@echo 'build depends: $(PKG_BUILD_DEPENDS)'
	@echo 'source: $(PKG_SOURCE_URL)$(PKG_SOURCE)'
	@echo 'features: $(strip $(RUST_PKG_FEATURES))'
	@echo 'conffiles: $(strip $(Package/$(1)/conffiles))'

prepare:
	rm -rf $(PKG_BUILD_DIR)
	mkdir -p $(PKG_BUILD_DIR)
	$$(Build/Prepare)

compile: prepare
	$$(Build/Compile)

install:
	$$(call Package/$(1)/install,$(OUT)/root)

# Scripts are exported, as they have lines and quotes of their own.
export POSTINST=$$(Package/$(1)/postinst)
postinst:
	@printf '%s\n' "$$$$POSTINST" >$(OUT)/postinst
endef

.PHONY: show prepare compile install postinst
.DEFAULT_GOAL:=install
