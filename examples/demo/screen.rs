//! What is shown: headings, the routers' events as they come, and a progress bar below them.

use std::io::{IsTerminal, stdout};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Whoever writes, lines stay whole and the bar stays below them. All clones are one screen.
#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    /// Whether there is a terminal that shows bold and dim.
    styled: bool,
}

/// A progress bar; where there is no terminal, a line for each quarter.
pub(crate) struct Progress {
    screen: Screen,
    bar: ProgressBar,
    total: u64,
    quarters: u64,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let styled = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { bars: MultiProgress::new(), styled }
    }

    /// What comes next.
    pub(crate) fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.style("1", text)));
    }

    /// What came out.
    pub(crate) fn result(&self, text: &str) {
        self.line(&format!("  {} {text}", self.style("32", "=>")));
    }

    /// What a router tells.
    pub(crate) fn event(&self, site: &str, text: &str) {
        self.line(&format!("  {} {}", self.style("36", &format!("{site:<5}")), self.style("2", text)));
    }

    /// Begins a bar of so many bytes.
    pub(crate) fn progress(&self, total: u64) -> Progress {
        let bar = self.bars.add(ProgressBar::new(total));
        if let Ok(style) =
            ProgressStyle::with_template("  {bar:40.cyan} {bytes} of {total_bytes}, {bytes_per_sec}")
        {
            bar.set_style(style);
        }
        Progress { screen: self.clone(), bar, total, quarters: 0 }
    }

    fn line(&self, text: &str) {
        self.bars.suspend(|| println!("{text}"));
    }

    fn style(&self, code: &str, text: &str) -> String {
        if self.styled { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl Progress {
    /// So many bytes are on their way.
    pub(crate) fn at(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        let quarters = bytes * 4 / self.total.max(1);
        if quarters > std::mem::replace(&mut self.quarters, quarters) && self.screen.bars.is_hidden() {
            self.screen.line(&format!("  {} %", quarters * 25));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.screen.bars.remove(&self.bar);
    }
}
