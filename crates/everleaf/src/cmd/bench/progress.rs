//! A progress bar on stderr while a load runs, where stderr is a terminal.

use everleaf_bench::{Live, Phase};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often it is drawn anew: seldom, since drawing takes time from what is measured.
const STEP: Duration = Duration::from_millis(250);
const FORM: &str = "{msg:10} {wide_bar} {pos}/{len} {elapsed}";

/// A bar that goes away when this is dropped.
pub(super) struct Shown(Option<(ProgressBar, JoinHandle<()>)>);

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((bar, drawing)) = self.0.take() {
            drawing.abort();
            bar.finish_and_clear();
        }
    }
}

/// Shows how far the load is. Call inside a runtime.
pub(super) fn show(live: Arc<Live>) -> Shown {
    if !std::io::stderr().is_terminal() {
        return Shown(None);
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template(FORM) {
        bar.set_style(style);
    }
    let drawn = bar.clone();
    let drawing = tokio::spawn(async move {
        loop {
            draw(&drawn, &live);
            tokio::time::sleep(STEP).await;
        }
    });
    Shown(Some((bar, drawing)))
}

fn draw(bar: &ProgressBar, live: &Live) {
    let (done, total) = live.progress();
    let what = match live.phase() {
        Phase::Preparing => "keys",
        Phase::Equipping => "client certificates",
        Phase::Running => "certificates",
        Phase::Cleaning => "deleting",
    };
    let failed = match live.failed() {
        0 => String::new(),
        count => format!(", {count} failed"),
    };
    bar.set_message(format!("{what}{failed}"));
    bar.set_length(total);
    bar.set_position(done);
}
