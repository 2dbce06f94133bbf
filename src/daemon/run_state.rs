// SPDX-License-Identifier: BSD-3-Clause
//! The run state: what a next run has to know of this one, kept in a file.

use super::Buffers;
use crate::config::{Config, StateFile as Path};
use crate::engine::{Engine, Input};
use crate::logging;
use crate::state::file::{self, StateFile};
use crate::state::{Identity, Unusable};
use crate::time::Instant;

/// The file of the run state, if one is kept.
pub(super) struct RunState(Option<StateFile>);

impl RunState {
    /// Opens the file that the configuration names. Without it the daemon does without.
    pub(super) fn open(config: &Config, identity: Identity) -> Self {
        let path = match &config.state_file {
            Path::None => return Self(None),
            Path::Default => file::default_path(&identity),
            Path::Path(path) => path.clone(),
        };
        match StateFile::open(&path, identity) {
            Ok(file) => Self(Some(file)),
            Err(error) => {
                logging::warn!("{path}: {error}; running without a state file");
                Self(None)
            }
        }
    }

    /// Returns whether the next run will know what is ours.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Hands the engine what an earlier run has left.
    pub(super) fn restore(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        let Some(file) = &mut self.0 else { return };
        let mut found = |endpoint| engine.handle(now, Input::Remember(endpoint));
        match file.load(&mut io.out, &mut found) {
            Ok(state) => engine.handle(now, Input::Restore(&state)),
            Err(Unusable::Empty) => {}
            Err(Unusable::Damaged) => logging::warn!("the state file is damaged and is not used"),
            Err(Unusable::Foreign) => {
                logging::info!("the state file is of another boot or network namespace: not used");
            }
        }
    }

    /// Writes what the engine wants to be known, if it changed.
    pub(super) fn save(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        let Some(file) = &mut self.0 else { return };
        let Some((state, mut endpoints)) = engine.state_to_save() else {
            return;
        };
        let result = file.save(&mut io.out, &state, &mut endpoints);
        drop(endpoints);
        if let Err(error) = result {
            logging::warn!("cannot write the state file: {error}; trying again");
            engine.handle(now, Input::StateNotSaved);
        }
    }
}
