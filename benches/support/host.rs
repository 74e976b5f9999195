//! What the figures were taken on.

use std::{fs, thread};

/// One line: processor, how many, kernel, congestion control.
///
/// The last is told because it decides the size of everything: BBR paces what it sends, and on loopback that costs
/// plain TCP three quarters of its throughput.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("processor unknown", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    format!("{processors} × {model}; Linux {}; TCP congestion control: {}", kernel.trim(), congestion.trim())
}
