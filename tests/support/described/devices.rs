//! Functions and block devices.

use super::{Described, Words};

impl Described {
    /// `function ADDRESS VENDOR:DEVICE CLASS [driver=NAME] [group=N] [under=BRIDGE,...] [vfs=NOW/MOST]`
    pub(super) fn function(&mut self, words: &Words<'_>) {
        let (address, id, class) = (words.at(0), words.at(1), words.at(2));
        let under = words.list("under");
        let first = under.first().copied().unwrap_or(address);
        let (domain, bus) = (
            &first[..first.rfind(':').unwrap_or(0) - 3],
            &first[first.rfind(':').unwrap_or(0) - 2..first.rfind(':').unwrap_or(0)],
        );
        let mut directory = format!("/sys/devices/pci{domain}:{bus}");
        for bridge in &under {
            directory.push_str(&format!("/{bridge}"));
        }
        directory.push_str(&format!("/{address}"));
        self.lay_function(address, &directory, id, class, words);
        if let Some((now, most)) = words.option("vfs").and_then(|vfs| vfs.split_once('/')) {
            for (name, value) in [
                ("sriov_totalvfs", most),
                ("sriov_numvfs", now),
                ("sriov_drivers_autoprobe", "1"),
                ("sriov_offset", "128"),
                ("sriov_stride", "2"),
                ("sriov_vf_device", "10ed"),
            ] {
                self.file(&format!("{directory}/{name}"), &format!("{value}\n"));
            }
        }
    }

    /// `vf ADDRESS of PF index=N [driver=NAME] [group=N]`
    pub(super) fn vf(&mut self, words: &Words<'_>) {
        let (address, pf) = (words.at(0), words.after("of").expect("of which PF"));
        let index = words.option("index").unwrap_or("0");
        let pf_directory = self.place(pf);
        let above = pf_directory.rsplit_once('/').map(|(above, _)| above.to_owned()).unwrap_or_default();
        let directory = format!("{above}/{address}");
        self.lay_function(address, &directory, "8086:10ed", "020000", words);
        self.link(&format!("{directory}/physfn"), &format!("../{pf}"));
        self.link(&format!("{pf_directory}/virtfn{index}"), &format!("../{address}"));
    }

    fn lay_function(&mut self, address: &str, directory: &str, id: &str, class: &str, words: &Words<'_>) {
        let (vendor, device) = id.split_once(':').expect("vendor:device");
        let upper = |text: &str| text.to_uppercase();
        let modalias = format!(
            "pci:v0000{}d0000{}sv00000000sd00000000bc{}sc{}i{}",
            upper(vendor),
            upper(device),
            upper(&class[..2]),
            upper(&class[2..4]),
            upper(&class[4..])
        );
        for (name, value) in [
            ("vendor", format!("0x{vendor}")),
            ("device", format!("0x{device}")),
            ("class", format!("0x{class}")),
            ("modalias", modalias),
            ("driver_override", "(null)".to_owned()),
            ("numa_node", "-1".to_owned()),
        ] {
            self.file(&format!("{directory}/{name}"), &format!("{value}\n"));
        }
        self.sys_link(&format!("{directory}/subsystem"), "/sys/bus/pci");
        self.sys_link(&format!("/sys/bus/pci/devices/{address}"), directory);
        if let Some(driver) = words.option("driver") {
            let drivers = format!("/sys/bus/pci/drivers/{driver}");
            self.file(&format!("{drivers}/bind"), "");
            self.file(&format!("{drivers}/unbind"), "");
            self.sys_link(&format!("{drivers}/{address}"), directory);
            self.sys_link(&format!("{directory}/driver"), &drivers);
        }
        if let Some(group) = words.option("group") {
            let members = format!("/sys/kernel/iommu_groups/{group}");
            self.file(&format!("{members}/type"), "DMA\n");
            self.sys_link(&format!("{members}/devices/{address}"), directory);
            self.sys_link(&format!("{directory}/iommu_group"), &members);
        }
        self.places.insert(address.to_owned(), directory.to_owned());
    }

    /// `block NAME MAJOR:MINOR at ADDRESS/ata1/host0/target0:0:0/0:0:0:0/block`, or without `at` a virtual one.
    pub(super) fn block(&mut self, words: &Words<'_>) {
        let (name, number) = (words.at(0), words.at(1));
        let parent = words.after("at").map_or("/sys/devices/virtual/block".to_owned(), |at| {
            if at.starts_with('/') { at.to_owned() } else { self.place(at) }
        });
        let directory = format!("{parent}/{name}");
        self.lay_block(name, number, &directory, "disk");
        self.sys_link(&format!("/sys/block/{name}"), &directory);
        self.directory(&format!("{directory}/slaves"));
    }

    /// `partition NAME MAJOR:MINOR of DISK`
    pub(super) fn partition(&mut self, words: &Words<'_>) {
        let (name, number) = (words.at(0), words.at(1));
        let directory = format!("{}/{name}", self.place(words.after("of").expect("of which disk")));
        self.lay_block(name, number, &directory, "partition");
        self.file(&format!("{directory}/partition"), "1\n");
    }

    /// `stack NAME MAJOR:MINOR over=A,B [dm=NAME] [uuid=LVM-...]`: a device mapper, md or bcache device.
    pub(super) fn stack(&mut self, words: &Words<'_>) {
        self.block(words);
        let name = words.at(0);
        let directory = self.place(name);
        for lower in words.list("over") {
            let below = self.place(lower);
            self.sys_link(&format!("{directory}/slaves/{lower}"), &below);
            self.sys_link(&format!("{below}/holders/{name}"), &directory);
        }
        if let Some(dm) = words.option("dm") {
            self.file(&format!("{directory}/dm/name"), &format!("{dm}\n"));
            self.file(&format!("{directory}/dm/uuid"), &format!("{}\n", words.option("uuid").unwrap_or("")));
            self.link(&format!("/dev/mapper/{dm}"), &format!("../{name}"));
        }
        if name.starts_with("md") {
            self.file(&format!("{directory}/md/level"), "raid1\n");
        }
    }

    fn lay_block(&mut self, name: &str, number: &str, directory: &str, kind: &str) {
        let (major, minor) = number.split_once(':').expect("major:minor");
        self.file(&format!("{directory}/dev"), &format!("{number}\n"));
        self.file(&format!("{directory}/size"), "2097152\n");
        let uevent = format!("MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE={kind}\n");
        self.file(&format!("{directory}/uevent"), &uevent);
        self.directory(&format!("{directory}/holders"));
        self.sys_link(&format!("{directory}/subsystem"), "/sys/class/block");
        self.sys_link(&format!("/sys/class/block/{name}"), directory);
        self.sys_link(&format!("/sys/dev/block/{number}"), directory);
        self.places.insert(name.to_owned(), directory.to_owned());
        self.numbers.insert(name.to_owned(), number.to_owned());
    }

    /// `udev NAME KEY=VALUE ... [S:disk/by-uuid/...]`: what udev knows of a block device.
    pub(super) fn udev(&mut self, words: &Words<'_>) {
        let name = words.at(0);
        let number = self.numbers.get(name).unwrap_or_else(|| panic!("{name} is no block device")).clone();
        let lines: Vec<String> = words
            .line
            .split_whitespace()
            .skip(2)
            .map(|word| if word.starts_with("S:") { word.to_owned() } else { format!("E:{word}") })
            .collect();
        self.file(&format!("/run/udev/data/b{number}"), &format!("{}\n", lines.join("\n")));
    }
}
