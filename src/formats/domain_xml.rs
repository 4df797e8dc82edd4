//! libvirt's definition of a domain (formatdomain), as far as it names functions of the host.

use crate::types::PciAddress;

/// The functions that a domain takes from the host: `<address>` with a slot in `<source>` (libvirt's formatdomain, for
/// hostdev, hostdev interfaces and NVMe disks). The `<address>` outside of it is the guest's own.
pub fn host_functions(xml: &str) -> Vec<PciAddress> {
    let mut functions = Vec::new();
    for source in without_comments(xml).split("<source").skip(1) {
        let end = source.find("</source>").unwrap_or(0);
        let inside = source.get(..end).unwrap_or_default();
        for address in inside.split("<address").skip(1) {
            let attributes = address.split('>').next().unwrap_or_default();
            functions.extend(address_of(attributes));
        }
    }
    functions.sort_unstable();
    functions.dedup();
    functions
}

fn without_comments(xml: &str) -> String {
    let mut text = String::new();
    let mut rest = xml;
    while let Some((before, after)) = rest.split_once("<!--") {
        text.push_str(before);
        rest = after.split_once("-->").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text
}

/// `domain='0x0000' bus='0x06' slot='0x00' function='0x0'`, in any order.
fn address_of(attributes: &str) -> Option<PciAddress> {
    let number = |key: &str| {
        let rest = attributes.split(&format!(" {key}=")).nth(1)?;
        let quote = rest.chars().next()?;
        let value = rest.get(1..)?.split(quote).next()?;
        match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        }
    };
    let (bus, slot, function) = (number("bus")?, number("slot")?, number("function").unwrap_or(0));
    let domain = number("domain").unwrap_or(0);
    format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_taken_from_the_host_counts() {
        let xml = "<domstatus state='running'><domain><devices>\n\
            <hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/>\n\
              <source>\n<address domain='0x0000' bus='0x06' slot='0x10' function='0x2'/>\n</source>\n\
              <address type='pci' domain='0x0000' bus='0x07' slot='0x00' function='0x0'/>\n</hostdev>\n\
            <!-- <source><address bus='0x09' slot='0x00'/></source> -->\n\
            <hostdev type='usb'><source><address bus='1' device='2'/></source></hostdev>\n\
            <disk type='nvme'><source type='pci' managed='yes' namespace='1'>\
              <address domain=\"0x0001\" bus=\"0x01\" slot=\"0x00\" function=\"0x0\"/></source></disk>\n\
            <disk><source file='/x'/></disk></devices></domain></domstatus>";
        let found: Vec<String> = host_functions(xml).iter().map(PciAddress::to_string).collect();
        assert_eq!(found, ["0000:06:10.2", "0001:01:00.0"]);
    }
}
