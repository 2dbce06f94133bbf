// SPDX-License-Identifier: BSD-3-Clause
//! What a plugin keeps of each connection, or of each subflow, and what ends with it.

use super::{Connection, Subflow};
use crate::capacity;
use crate::config::Config;

/// Where a connection or a subflow stands in its table, and which of all that stood there it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Place {
    pub at: u32,
    /// 0 is nobody's.
    pub serial: u32,
}

/// A value of the plugin's for each connection. It ends with the connection: one that has the same
/// token later begins with the default.
///
/// ```
/// use mptcpd::{ConnectionEvent, Context, PerConnection, Plugin, SubflowEvent};
///
/// /// Counts the joins of each connection.
/// #[derive(Default)]
/// struct Joins(PerConnection<u32>);
///
/// impl Plugin for Joins {
///     fn wants_connections(&self) -> bool {
///         true
///     }
///
///     fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
///         self.0 = PerConnection::new(cx.config());
///         Ok(())
///     }
///
///     fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
///         let connection = cx.connection(subflow.token);
///         if let Some(joins) = connection.and_then(|connection| self.0.get_mut(&connection)) {
///             *joins += 1;
///         }
///     }
/// }
/// ```
pub struct PerConnection<T>(Storage<T>);

/// A value of the plugin's for each subflow of each connection, those asked for included. It ends
/// with the subflow.
pub struct PerSubflow<T>(Storage<T>);

struct Storage<T>(Vec<(u32, T)>);

impl<T> Default for PerConnection<T> {
    /// Returns one without room, until [`Self::new`] takes its place.
    fn default() -> Self {
        Self(Storage(Vec::new()))
    }
}

impl<T> Default for PerSubflow<T> {
    /// Returns one without room, until [`Self::new`] takes its place.
    fn default() -> Self {
        Self(Storage(Vec::new()))
    }
}

impl<T: Default> PerConnection<T> {
    /// Reserves room for `max-connections`, which is never exceeded, and nothing later. To be called
    /// in [`crate::plugin::Plugin::init`]; memory that is not used is not touched.
    pub fn new(config: &Config) -> Self {
        Self(Storage(Vec::with_capacity(config.max_connections as usize)))
    }

    /// Returns whether [`Self::new`] has made it.
    pub fn has_room(&self) -> bool {
        self.0.0.capacity() > 0
    }

    /// Returns the value of a connection; `None` if it was never asked for by [`Self::get_mut`].
    pub fn get(&self, connection: &Connection<'_>) -> Option<&T> {
        self.0.get(connection.place())
    }

    /// Returns the value of a connection, which is the default at first. `None` if there is no room.
    pub fn get_mut(&mut self, connection: &Connection<'_>) -> Option<&mut T> {
        self.0.get_mut(connection.place())
    }
}

impl<T: Default> PerSubflow<T> {
    /// Reserves room for as many subflows as the daemon's own table holds, as
    /// [`PerConnection::new`] does.
    pub fn new(config: &Config) -> Self {
        let most =
            (config.max_connections as usize).saturating_mul(capacity::SUBFLOWS_PER_CONNECTION);
        Self(Storage(Vec::with_capacity(most)))
    }

    /// Returns whether [`Self::new`] has made it.
    pub fn has_room(&self) -> bool {
        self.0.0.capacity() > 0
    }

    /// Returns the value of a subflow; `None` if it was never asked for by [`Self::get_mut`].
    pub fn get(&self, subflow: &Subflow) -> Option<&T> {
        self.0.get(subflow.place)
    }

    /// Returns the value of a subflow, which is the default at first. `None` if there is no room.
    pub fn get_mut(&mut self, subflow: &Subflow) -> Option<&mut T> {
        self.0.get_mut(subflow.place)
    }
}

impl<T: Default> Storage<T> {
    fn get(&self, place: Place) -> Option<&T> {
        let (serial, value) = self.0.get(place.at as usize)?;
        (*serial == place.serial).then_some(value)
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        let at = place.at as usize;
        if place.serial == 0 || at >= self.0.capacity() {
            return None;
        }
        if at >= self.0.len() {
            self.0.resize_with(at + 1, Default::default);
        }
        let (serial, value) = self.0.get_mut(at)?;
        if *serial != place.serial {
            (*serial, *value) = (place.serial, T::default());
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Connections;
    use super::*;
    use crate::netlink::mptcp::{ConnectionEvent, Token};

    fn event(token: u32) -> ConnectionEvent {
        ConnectionEvent {
            token: Token::new(token),
            local: ([10, 0, 0, 1], 1000).into(),
            remote: ([10, 0, 0, 2], 80).into(),
            server_side: false,
            deny_join_id0: false,
            mapped: false,
        }
    }

    #[test]
    fn a_value_ends_with_its_connection() {
        let config = Config::new::<crate::plugin::Entry>(&[]);
        let mut counts = PerConnection::<u32>::new(&config);
        let mut sizes = PerSubflow::<u8>::new(&config);
        let mut table = Connections::new(2);
        let capacity = counts.0.0.capacity();
        for round in 0..3 {
            for token in [7, 8] {
                assert!(table.insert(&event(token), 0, true));
                let connection = table.get(Token::new(token)).unwrap();
                assert_eq!(counts.get(&connection), None, "{round}");
                *counts.get_mut(&connection).unwrap() += token;
                assert_eq!(counts.get(&connection), Some(&token));
                let subflow = connection.subflows().next().unwrap();
                assert_eq!(sizes.get(subflow), None);
                assert_eq!(sizes.get_mut(subflow), Some(&mut 0));
                *sizes.get_mut(subflow).unwrap() = 3;
                assert_eq!(sizes.get(subflow), Some(&3));
            }
            for token in [8, 7] {
                table.remove(Token::new(token));
            }
        }
        assert_eq!(counts.0.0.capacity(), capacity, "it never grows");
        let none = PerConnection::<u32>::default()
            .0
            .get_mut(Place { at: 0, serial: 1 })
            .is_none();
        assert!(none, "without room");
    }
}
