// SPDX-License-Identifier: BSD-3-Clause
//! `ip mptcp monitor`, which tells the kernel's events of connections.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::{Lab, Namespace, until};

/// A running one. It says nothing when it begins.
pub struct Monitor {
    child: Child,
    output: PathBuf,
}

impl Monitor {
    pub fn start(lab: &Lab, at: &Namespace, name: &str) -> Self {
        let output = lab.path(&format!("monitor-{name}"));
        let file = File::create(&output).expect("a file of our own");
        let mut command = at.command("stdbuf");
        command
            .args(["-oL", "ip", "mptcp", "monitor"])
            .stdout(file)
            .stderr(Stdio::null());
        let child = command.spawn().expect("nsenter");
        Self { child, output }
    }

    /// Its whole lines.
    pub fn lines(&self) -> Vec<String> {
        super::lines(&self.output)
    }

    /// How many events have all of these words. What is told again counts once: the kernel sends
    /// announcements again that it sees no answer to.
    pub fn count(&self, words: &[&str]) -> usize {
        let lines = self.lines();
        let holds = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(holds).collect::<BTreeSet<_>>().len()
    }

    #[track_caller]
    pub fn sees(&self, words: &[&str], times: usize) {
        let holds = until(|| self.count(words) == times);
        assert!(holds, "{words:?}: {} times", self.count(words));
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
