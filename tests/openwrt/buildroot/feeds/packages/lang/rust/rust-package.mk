# Stand-in: builds for this machine, without optimisation.

RUST_ARCH_DEPENDS:=@(aarch64||arm||mips||mipsel||x86_64)
RUST_PKG_LOCKED?=1

# Directory below PKG_BUILD_DIR, further arguments.
define Build/Compile/Cargo
	+cargo install -q \
		--profile dev \
		$(if $(strip $(RUST_PKG_FEATURES)),--features "$(strip $(RUST_PKG_FEATURES))") \
		--root $(PKG_INSTALL_DIR) \
		--path "$(PKG_BUILD_DIR)/$(strip $(1))" \
		$(if $(filter 1,$(RUST_PKG_LOCKED)),--locked) \
		$(2)
endef

define RustBinPackage
endef
