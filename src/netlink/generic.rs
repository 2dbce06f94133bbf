// SPDX-License-Identifier: BSD-3-Clause
//! Generic netlink: families are found by name, and their number is dealt at run time.
//!
//! ```text
//!  0       1       2               4 octets, after the netlink header
//! +-------+-------+---------------+
//! |command|version|   reserved    |  struct genlmsghdr
//! +-------+-------+---------------+
//! |        attributes ...         |
//! ```
//!
//! The family `nlctrl` (always number 16) tells the number of the others and, in its only
//! multicast group, their coming and going. Source: `include/uapi/linux/genetlink.h`.

use super::Seq;
use super::attribute::{Attributes, Builder, Full};
use super::message::{NLM_F_ACK, NLM_F_REQUEST};

/// The message kind of `nlctrl`.
pub const CONTROLLER: u16 = 0x10;
/// The group `notify` of `nlctrl`; the kernel gives it the number of the family.
pub const CONTROLLER_GROUP: u32 = 0x10;

const CTRL_CMD_NEWFAMILY: u8 = 1;
const CTRL_CMD_DELFAMILY: u8 = 2;
const CTRL_CMD_GETFAMILY: u8 = 3;

const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;

const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

/// Writes the generic netlink header. The kernel does not look at the version.
pub(super) fn header(out: &mut Builder<'_>, command: u8) {
    out.raw(&[command, 0, 0, 0]);
}

/// Returns the command and the attributes of a message of any family; `None` if there is no header.
pub fn parse_header(payload: &[u8]) -> Option<(u8, Attributes<'_>)> {
    let (&[command, ..], rest) = payload.split_first_chunk::<4>()?;
    Some((command, Attributes::new(rest)))
}

/// Asks for a family by name. The answer is [`Controller::New`], or an ENOENT acknowledgement.
///
/// # Errors
/// [`Full`] if the buffer has no room.
pub fn get_family(out: &mut Builder<'_>, seq: Seq, name: &str) -> Result<(), Full> {
    out.message(CONTROLLER, NLM_F_REQUEST | NLM_F_ACK, seq);
    header(out, CTRL_CMD_GETFAMILY);
    out.str(CTRL_ATTR_FAMILY_NAME, name);
    out.end()
}

/// A generic netlink family.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// The kind of its messages.
    pub id: u16,
    pub name: &'a str,
    groups: Attributes<'a>,
}

impl Family<'_> {
    /// Returns the number of a multicast group, for NETLINK_ADD_MEMBERSHIP.
    pub fn group(&self, name: &str) -> Option<u32> {
        { self.groups }.find_map(|group| {
            let mut id = None;
            let mut matches = false;
            for attribute in group.nested() {
                match attribute.kind {
                    CTRL_ATTR_MCAST_GRP_NAME => matches = attribute.str() == Some(name),
                    CTRL_ATTR_MCAST_GRP_ID => id = attribute.u32(),
                    _ => {}
                }
            }
            id.filter(|_| matches)
        })
    }
}

/// What `nlctrl` says, in an answer or an event.
#[derive(Clone, Copy, Debug)]
pub enum Controller<'a> {
    New(Family<'a>),
    Gone(Family<'a>),
}

/// Reads a message of kind [`CONTROLLER`]; `None` if it does not speak of a family.
pub fn decode(payload: &[u8]) -> Option<Controller<'_>> {
    let (command, attributes) = parse_header(payload)?;
    let mut family = Family {
        id: 0,
        name: "",
        groups: Attributes::new(&[]),
    };
    for attribute in attributes {
        match attribute.kind {
            CTRL_ATTR_FAMILY_ID => family.id = attribute.u16()?,
            CTRL_ATTR_FAMILY_NAME => family.name = attribute.str()?,
            CTRL_ATTR_MCAST_GROUPS => family.groups = attribute.nested(),
            _ => {}
        }
    }
    match command {
        _ if family.id == 0 => None,
        CTRL_CMD_NEWFAMILY => Some(Controller::New(family)),
        CTRL_CMD_DELFAMILY => Some(Controller::Gone(family)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns what Linux sends for `mptcp_pm`, less the operations.
    fn reply(command: u8) -> Vec<u8> {
        let mut buffer = [0; 256];
        let mut out = Builder::new(&mut buffer);
        out.message(CONTROLLER, 0, Seq(1));
        out.raw(&[command, 2, 0, 0]);
        out.str(CTRL_ATTR_FAMILY_NAME, "mptcp_pm");
        out.u16(CTRL_ATTR_FAMILY_ID, 0x1e);
        // Version, length of the header, highest attribute.
        for (kind, value) in [(3, 1), (4, 0), (5, 6)] {
            out.u32(kind, value);
        }
        let groups = out.nest(CTRL_ATTR_MCAST_GROUPS);
        for (index, (id, name)) in [(3, "mptcp_pm_cmds"), (4, "mptcp_pm_events")]
            .into_iter()
            .enumerate()
        {
            let group = out.nest(index as u16 + 1);
            out.u32(CTRL_ATTR_MCAST_GRP_ID, id);
            out.str(CTRL_ATTR_MCAST_GRP_NAME, name);
            out.close(group);
        }
        out.close(groups);
        out.end().unwrap();
        out.bytes()[16..].to_vec()
    }

    #[test]
    fn asks_by_name() {
        let mut buffer = [0; 64];
        let mut out = Builder::new(&mut buffer);
        get_family(&mut out, Seq(5), "mptcp_pm").unwrap();
        let mut expected = Vec::from(36u32.to_ne_bytes());
        expected.extend(0x10u16.to_ne_bytes());
        expected.extend(5u16.to_ne_bytes());
        expected.extend(5u32.to_ne_bytes());
        expected.extend([0, 0, 0, 0, 3, 0, 0, 0]);
        expected.extend(13u16.to_ne_bytes());
        expected.extend(2u16.to_ne_bytes());
        expected.extend(b"mptcp_pm\0\0\0\0");
        let length = expected.len() as u32;
        expected[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(out.bytes(), expected);
    }

    #[test]
    fn reads_the_answer_and_the_events() {
        let bytes = reply(CTRL_CMD_NEWFAMILY);
        let Some(Controller::New(family)) = decode(&bytes) else {
            panic!("not a new family");
        };
        assert_eq!((family.id, family.name), (0x1e, "mptcp_pm"));
        assert_eq!(family.group("mptcp_pm_cmds"), Some(3));
        assert_eq!(family.group("mptcp_pm_events"), Some(4));
        assert_eq!(family.group("mptcp_pm"), None);
        let bytes = reply(CTRL_CMD_DELFAMILY);
        assert!(matches!(decode(&bytes), Some(Controller::Gone(f)) if f.id == 0x1e));
        assert!(decode(&reply(7)).is_none(), "a new group is no new family");
        assert!(decode(&[1, 2, 0, 0]).is_none(), "a family has a number");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Some(Controller::New(family) | Controller::Gone(family)) = decode(&bytes) {
                let _ = family.group("mptcp_pm_events");
            }
        }

        #[test]
        fn no_torn_answer_panics(length in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = reply(CTRL_CMD_NEWFAMILY);
            bytes.truncate(length);
            if let Some(old) = bytes.get_mut(at) {
                *old = byte;
            }
            if let Some(Controller::New(family)) = decode(&bytes) {
                let _ = family.group("mptcp_pm_events");
            }
        }
    }
}
