// SPDX-License-Identifier: BSD-3-Clause
//! Commands, events, attributes and flags of the `mptcp_pm` family.
//!
//! Source: `include/uapi/linux/mptcp_pm.h` and, of flags, `include/uapi/linux/mptcp.h`.

/// `MPTCP_PM_CMD_*`.
pub(super) const ADD_ADDR: u8 = 1;
pub(super) const DEL_ADDR: u8 = 2;
pub(super) const GET_ADDR: u8 = 3;
pub(super) const FLUSH_ADDRS: u8 = 4;
pub(super) const SET_LIMITS: u8 = 5;
pub(super) const GET_LIMITS: u8 = 6;
pub(super) const SET_FLAGS: u8 = 7;
pub(super) const ANNOUNCE: u8 = 8;
pub(super) const REMOVE: u8 = 9;
pub(super) const SUBFLOW_CREATE: u8 = 10;
pub(super) const SUBFLOW_DESTROY: u8 = 11;

/// `MPTCP_PM_ATTR_*`, of commands and replies.
pub(super) const ADDR: u16 = 1;
pub(super) const RCV_ADD_ADDRS: u16 = 2;
pub(super) const SUBFLOWS: u16 = 3;
pub(super) const TOKEN: u16 = 4;
pub(super) const LOC_ID: u16 = 5;
pub(super) const ADDR_REMOTE: u16 = 6;

/// `MPTCP_PM_ADDR_ATTR_*`, within an address.
pub(super) const ADDR_FAMILY: u16 = 1;
pub(super) const ADDR_ID: u16 = 2;
pub(super) const ADDR_ADDR4: u16 = 3;
pub(super) const ADDR_ADDR6: u16 = 4;
pub(super) const ADDR_PORT: u16 = 5;
pub(super) const ADDR_FLAGS: u16 = 6;
pub(super) const ADDR_IF_IDX: u16 = 7;

/// `MPTCP_EVENT_*`.
pub(super) const EVENT_CREATED: u8 = 1;
pub(super) const EVENT_ESTABLISHED: u8 = 2;
pub(super) const EVENT_CLOSED: u8 = 3;
pub(super) const EVENT_ANNOUNCED: u8 = 6;
pub(super) const EVENT_REMOVED: u8 = 7;
pub(super) const EVENT_SUB_ESTABLISHED: u8 = 10;
pub(crate) const EVENT_SUB_CLOSED: u8 = 11;
pub(super) const EVENT_SUB_PRIORITY: u8 = 13;
pub(super) const EVENT_LISTENER_CREATED: u8 = 15;
pub(super) const EVENT_LISTENER_CLOSED: u8 = 16;

/// `MPTCP_ATTR_*`, of events.
pub(super) const EVENT_TOKEN: u16 = 1;
pub(super) const EVENT_LOC_ID: u16 = 3;
pub(super) const EVENT_REM_ID: u16 = 4;
pub(super) const EVENT_SADDR4: u16 = 5;
pub(super) const EVENT_SADDR6: u16 = 6;
pub(super) const EVENT_DADDR4: u16 = 7;
pub(super) const EVENT_DADDR6: u16 = 8;
pub(super) const EVENT_SPORT: u16 = 9;
pub(super) const EVENT_DPORT: u16 = 10;
pub(super) const EVENT_BACKUP: u16 = 11;
pub(super) const EVENT_ERROR: u16 = 12;
pub(super) const EVENT_FLAGS: u16 = 13;
pub(super) const EVENT_IF_IDX: u16 = 15;
pub(super) const EVENT_RESET_REASON: u16 = 16;
pub(super) const EVENT_RESET_FLAGS: u16 = 17;
pub(super) const EVENT_SERVER_SIDE: u16 = 18;

/// `MPTCP_PM_EV_FLAG_*`.
pub(super) const DENY_JOIN_ID0: u16 = 1;
pub(super) const SERVER_SIDE: u16 = 1 << 1;
