//! What an operator at the machine sees and types on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::graph::{Graph, Thing};
use super::{Scope, Use, sysfs};
use crate::host::pci::attribute;
use crate::host::{HostError, ReadHost};
use crate::plan::{Because, Reason};
use crate::types::PciAddress;

/// What firmware framebuffers are called in /proc/iomem (drivers/firmware/sysfb.c, drivers/video/fbdev/).
const FRAMEBUFFERS: [&str; 5] = ["BOOTFB", "efifb", "vesafb", "simplefb", "simpledrm"];

/// The keys that udev takes a keyboard to have all of: the first 31 (systemd, `src/udev/udev-builtin-input_id.c`).
const KEYS: u64 = 0xffff_fffe;

pub(super) fn add(graph: &mut Graph<'_>) {
    let found = displays(graph.host);
    for (because, head, on) in graph.known(Scope::Any, found) {
        graph.need(because, head, on);
    }
    let found = serial(graph.host);
    for (because, head, on) in graph.known(Scope::Any, found) {
        graph.need(because, head, on);
    }
    let found = last_keyboard(graph.host);
    for (because, head, on) in graph.known(Scope::Any, found) {
        graph.need(because, head, on);
    }
}

/// Whether the firmware shows the boot on this function. No list of the host has that, only the function itself.
///
/// # Errors
/// When the attribute is there and cannot be read.
pub(super) fn boot_display(host: &dyn ReadHost, function: PciAddress) -> Result<Option<Use>, HostError> {
    let boot = host.text(&attribute(function, "boot_vga"))?;
    let head = || console("boot-display", format!("the firmware shows the boot on {function}"));
    Ok((boot.as_deref() == Some("1")).then(|| Use { because: Because::Console, chain: vec![head()] }))
}

type Found = Vec<(Because, Reason, Vec<Thing>)>;

fn console(code: &'static str, text: String) -> Reason {
    Reason::new(code, text).remedy("give the host another console (a serial line, a second graphics card)")
}

/// The firmware's framebuffer, the framebuffer that shows the text console.
fn displays(host: &dyn ReadHost) -> Result<Found, HostError> {
    let mut found = Found::new();
    let memory = host.text(Path::new("/proc/iomem"))?.unwrap_or_default();
    for (function, name) in framebuffers(&memory) {
        let head =
            console("framebuffer", format!("the console's framebuffer {name} is in memory of {function}"));
        found.push((Because::Console, head, vec![Thing::Function(function)]));
    }
    if has_text_console(host)? {
        for name in console_framebuffers(host)? {
            let entry = Path::new("/sys/class/graphics").join(&name);
            let head = console("text-console", format!("the text console is shown on {name}"));
            found.push((Because::Console, head, vec![Thing::Device(name, entry)]));
        }
    }
    Ok(found)
}

/// The functions in whose memory a framebuffer lies: /proc/iomem is indented, a resource below the one that holds it.
fn framebuffers(memory: &str) -> BTreeSet<(PciAddress, String)> {
    let mut found = BTreeSet::new();
    let mut above: Vec<(usize, &str)> = Vec::new();
    for line in memory.lines() {
        let depth = line.len() - line.trim_start().len();
        let Some((_, name)) = line.split_once(" : ") else { continue };
        above.retain(|(other, _)| *other < depth);
        let function = above.iter().rev().find_map(|(_, holder)| holder.parse::<PciAddress>().ok());
        if let Some(function) = function
            && FRAMEBUFFERS.contains(&name)
        {
            found.insert((function, name.to_owned()));
        }
        above.push((depth, name));
    }
    found
}

/// Whether a framebuffer shows the text console (Documentation/fb/fbcon.rst).
fn has_text_console(host: &dyn ReadHost) -> Result<bool, HostError> {
    let class = Path::new("/sys/class/vtconsole");
    for name in host.list(class)?.unwrap_or_default() {
        let text = |attribute: &str| host.text(&class.join(&name).join(attribute));
        if text("name")?.is_some_and(|name| name.contains("frame buffer"))
            && text("bind")?.as_deref() == Some("1")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The framebuffers with consoles on them: the first one, or those of `fbcon=map:`.
fn console_framebuffers(host: &dyn ReadHost) -> Result<Vec<String>, HostError> {
    let names = host.list(Path::new("/sys/class/graphics"))?.unwrap_or_default();
    let mut numbered: BTreeMap<u32, String> = BTreeMap::new();
    for name in names {
        let number = name.strip_prefix("fb").and_then(|number| number.parse().ok());
        numbered.extend(number.map(|number| (number, name)));
    }
    let arguments = host.text(Path::new("/proc/cmdline"))?.unwrap_or_default();
    let map = arguments.split_whitespace().find_map(|word| word.strip_prefix("fbcon=map:"));
    let mapped: BTreeSet<u32> =
        map.unwrap_or_default().chars().filter_map(|digit| digit.to_digit(10)).collect();
    if mapped.is_empty() {
        return Ok(numbered.into_values().take(1).collect());
    }
    Ok(numbered.into_iter().filter(|(number, _)| mapped.contains(number)).map(|(_, name)| name).collect())
}

/// The lines that the kernel's console is on; those of a card are behind a function.
fn serial(host: &dyn ReadHost) -> Result<Found, HostError> {
    let active = host.text(Path::new("/sys/class/tty/console/active"))?.unwrap_or_default();
    let mut found = Found::new();
    for name in active.split_whitespace() {
        let head = console("serial-console", format!("the kernel's console is on {name}"));
        if name.starts_with("hvc") {
            found.push((Because::Console, head, vec![Thing::VirtioDriver("virtio_console")]));
        } else {
            let entry = Path::new("/sys/class/tty").join(name);
            found.push((Because::Console, head, vec![Thing::Device(name.to_owned(), entry)]));
        }
    }
    Ok(found)
}

/// The controller that all keyboards are behind; nothing where a keyboard is left without it, or where there is none.
fn last_keyboard(host: &dyn ReadHost) -> Result<Found, HostError> {
    let devices = host.text(Path::new("/proc/bus/input/devices"))?.unwrap_or_default();
    let mut keyboards = Vec::new();
    for device in devices.split("\n\n") {
        let field = |key: &str| device.lines().find_map(|line| line.strip_prefix(key));
        let keys =
            field("B: KEY=").and_then(|words| u64::from_str_radix(words.split(' ').next_back()?, 16).ok());
        let place = PathBuf::from(format!("/sys{}", field("S: Sysfs=").unwrap_or_default()));
        // What programs make is not one to type on.
        let made = place.starts_with("/sys/devices/virtual");
        if keys.is_some_and(|keys| keys & KEYS == KEYS) && !made {
            let name = field("N: Name=").unwrap_or_default().trim_matches('"').to_owned();
            keyboards.push((name, sysfs::functions_in(&place)));
        }
    }
    let Some((name, controllers)) = keyboards.first() else { return Ok(Found::new()) };
    let of_all = |controller: &&PciAddress| keyboards.iter().all(|(_, others)| others.contains(controller));
    let last = controllers.iter().filter(of_all);
    let head = |controller: &PciAddress| {
        let text = format!("the last keyboard ({name}) is behind {controller}");
        let head = Reason::new("last-keyboard", text).remedy("plug a keyboard into another controller");
        (Because::Keyboard, head, vec![Thing::Function(*controller)])
    };
    Ok(last.map(head).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framebuffer_is_of_the_function_that_holds_it() {
        let memory = "00000000-00000fff : Reserved\n\
                      c0000000-cfffffff : PCI Bus 0000:01\n\
                      \x20 c0000000-cfffffff : 0000:01:00.0\n\
                      \x20   c0000000-c02fffff : BOOTFB\n\
                      \x20 d0000000-d000ffff : 0000:01:00.1\n\
                      e0000000-e02fffff : efifb\n";
        let found = framebuffers(memory);
        let expected = ("0000:01:00.0".parse().unwrap(), "BOOTFB".to_owned());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [expected]);
    }
}
