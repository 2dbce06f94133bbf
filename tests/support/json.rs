// SPDX-License-Identifier: BSD-3-Clause
//! What the commands print with `-j`, read and held to schemas that the tests own.

use std::collections::{BTreeMap, BTreeSet};

/// A value of JSON.
#[derive(PartialEq, Debug)]
pub enum Json {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text that is one value. Fails where it is no JSON.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let mut reader = Reader(text);
        let value = reader.value();
        assert_eq!(reader.0.trim(), "", "after the end");
        value
    }

    /// Returns a member, or the item with this number.
    #[track_caller]
    pub fn at(&self, place: &str) -> &Self {
        let found = match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == place),
            Self::List(items) => {
                return &items[place.parse::<usize>().expect("a number")];
            }
            _ => None,
        };
        let (_, value) = found.unwrap_or_else(|| panic!("no {place} in {self:?}"));
        value
    }

    /// Returns the items of a list.
    #[track_caller]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Returns a text.
    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// Returns a number.
    #[track_caller]
    pub fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("no number: {other:?}"),
        }
    }
}

struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn take(&mut self, start: &str) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(start);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn text(&mut self) -> String {
        assert!(self.take("\""), "no text: {}", self.0);
        let mut text = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next().expect("the end of a text") {
                '"' => break,
                '\\' => {
                    let next = chars.next().expect("an escaped character");
                    assert!("\"\\".contains(next), "\\{next}");
                    text.push(next);
                }
                c => {
                    assert!(!c.is_control(), "{c:?} in {text}");
                    text.push(c);
                }
            }
        }
        self.0 = chars.as_str();
        text
    }

    /// What stands between brackets, with commas between.
    fn items(&mut self, end: &str, item: &mut dyn FnMut(&mut Self)) {
        if self.take(end) {
            return;
        }
        loop {
            item(self);
            if self.take(end) {
                return;
            }
            assert!(self.take(","), "no comma: {}", self.0);
        }
    }

    fn value(&mut self) -> Json {
        if self.take("{") {
            let mut members: Vec<(String, Json)> = vec![];
            self.items("}", &mut |reader| {
                let name = reader.text();
                assert!(reader.take(":"), "{name}: {}", reader.0);
                assert!(
                    members.iter().all(|(other, _)| *other != name),
                    "two {name}"
                );
                members.push((name, reader.value()));
            });
            return Json::Object(members);
        }
        if self.take("[") {
            let mut items = vec![];
            self.items("]", &mut |reader| items.push(reader.value()));
            return Json::List(items);
        }
        if self.0.trim_start().starts_with('"') {
            return Json::Text(self.text());
        }
        let end = self.0.find([',', '}', ']', '\n']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        match word {
            "null" => Json::Null,
            "true" => Json::Flag(true),
            "false" => Json::Flag(false),
            number => Json::Number(number.parse().unwrap_or_else(|_| panic!("{number}"))),
        }
    }
}

/// A schema: a line for each member, with its place and what it may be. `?` behind the place: it may
/// be missing. What it may be is `object`, `list`, `text`, `number`, `whole`, `flag`, `null` or, with
/// `=` in front, one text.
pub struct Schema(BTreeMap<&'static str, (bool, &'static str)>);

impl Schema {
    pub fn new(lines: &'static str) -> Self {
        let members = lines.lines().filter_map(|line| line.trim().split_once(' '));
        Self(
            members
                .map(|(place, kinds)| {
                    let name = place.strip_suffix('?');
                    (name.unwrap_or(place), (name.is_some(), kinds.trim()))
                })
                .collect(),
        )
    }

    /// Returns the places of all members, but those of the items of lists of texts.
    pub fn places(&self) -> BTreeSet<String> {
        let places = self.0.keys().filter(|place| !place.ends_with("[]"));
        places.map(|place| (*place).to_owned()).collect()
    }

    /// Reads a text, and fails if it does not fit.
    #[track_caller]
    pub fn check(&self, text: &str) -> Json {
        let value = Json::read(text);
        self.check_object("", &value);
        value
    }

    #[track_caller]
    fn check_object(&self, place: &str, value: &Json) {
        let Json::Object(members) = value else {
            panic!("{place} is no object: {value:?}");
        };
        let inside = match place {
            "" => String::new(),
            place => format!("{place}."),
        };
        for (name, value) in members {
            self.check_value(&format!("{inside}{name}"), value);
        }
        for (member, (optional, _)) in &self.0 {
            if let Some(name) = member.strip_prefix(&inside) {
                let direct = !name.contains(['.', '[']);
                let there = members.iter().any(|(other, _)| other == name);
                assert!(*optional || !direct || there, "{member} is missing");
            }
        }
    }

    #[track_caller]
    fn check_value(&self, place: &str, value: &Json) {
        let Some((_, kinds)) = self.0.get(place) else {
            panic!("{place} is unknown: {value:?}");
        };
        let fits = kinds.split('|').any(|kind| match (kind, value) {
            ("object", Json::Object(_))
            | ("list", Json::List(_))
            | ("text", Json::Text(_))
            | ("number", Json::Number(_))
            | ("flag", Json::Flag(_))
            | ("null", Json::Null) => true,
            ("whole", Json::Number(number)) => number.fract() == 0.0,
            (kind, Json::Text(text)) => kind.strip_prefix('=') == Some(text),
            _ => false,
        });
        assert!(fits, "{place}: {value:?} is not {kinds}");
        match value {
            Json::Object(_) => self.check_object(place, value),
            Json::List(items) => {
                let place = format!("{place}[]");
                for item in items {
                    match item {
                        Json::Object(_) => self.check_object(&place, item),
                        item => self.check_value(&place, item),
                    }
                }
            }
            _ => {}
        }
    }
}

/// `mptcpd status -j`.
pub const STATUS: &str = "
    v whole
    version text
    pid whole
    uptime number
    plugin text|null
    kernel_path_manager =kernel|=userspace|null
    config object
    config.file text|null
    config.read whole
    config.warnings whole
    config.last_error text|null
    paths list
    paths[].ifname text
    paths[].ifindex whole
    paths[].address text
    paths[].family =ipv4|=ipv6
    paths[].state =active|=backup|=standby|=waiting|=unused|=foreign|=failed|=dead
    paths[].endpoint object|null
    paths[].endpoint.id whole
    paths[].endpoint.flags list
    paths[].endpoint.flags[] text
    paths[].endpoint.ours flag
    paths[].endpoint.kept flag
    paths[].since number
    paths[].joins object
    paths[].joins.tried whole|null
    paths[].joins.joined whole|null
    paths[].joins.failed whole
    paths[].reason text|null
    paths[].advice text|null
    paths[].errno? whole
    paths[].track? object|null
    paths[].track.latency number|null
    paths[].track.packetloss whole|null
    paths[].track.last_answer number|null
    paths[].priority whole
    paths[].declared =down|=backup|=auto
    steering object
    steering.ipv4 text|null
    steering.ipv6 text|null
    limits? object
    limits.subflows whole
    limits.add_addr_accepted whole
    counters object
    counters.events whole
    counters.connection_events whole
    counters.overflows whole
    counters.commands whole
    counters.refused whole
    counters.tables_full whole
    joins object
    joins.tried whole
    joins.joined whole
    joins.failed whole
    fallbacks whole
    blackholes whole
";

/// `mptcpd connections -j`.
pub const CONNECTIONS: &str = "
    v whole
    connections list
    connections[].local text
    connections[].remote text
    connections[].fallback flag
    connections[].age number|null
    connections[].idle number|null
    connections[].sent whole
    connections[].received whole
    connections[].subflows list
    connections[].subflows[].ifname text|null
    connections[].subflows[].local text
    connections[].subflows[].remote text
    connections[].subflows[].state =active|=backup|=joining
    connections[].subflows[].backup flag
    connections[].subflows[].sent whole
    connections[].subflows[].received whole
    connections[].subflows[].rtt number
    connections[].subflows[].retrans whole
    uplinks list
    uplinks[].ifname text|null
    uplinks[].subflows whole
    uplinks[].sent whole
    uplinks[].received whole
";

/// A line of `mptcpd monitor -j`.
pub const EVENT: &str = "
    v whole
    t? number
    event =path_lost|=path_used|=path_flapping|=path_settled|=verdict|=endpoint_added|=endpoint_changed|=endpoint_removed|=declared|=steering_begun|=steering_ended|=overflow|=reloaded|=reload_failed|=connection_established|=connection_closed|=subflow_established|=subflow_closed|=lost
    ifname? text
    address? text
    endpoint? whole
    local? text
    remote? text
    reason? text
    lost_for? number
    times? whole
    flags? list
    flags[] text
    errno? whole
    declared? =down|=backup|=auto
    family? =ipv4|=ipv6
    count? whole
";
