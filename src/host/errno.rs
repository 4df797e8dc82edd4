//! What the kernel means by an errno, by the attribute that it was given for: one table.
//!
//! From `drivers/pci/iov.c`, `drivers/base/bus.c`, `drivers/base/dd.c`, `drivers/pci/pci-driver.c` and
//! `drivers/vfio/pci/` of Linux 6.12, and from the PF drivers' `sriov_configure`.

use std::path::Path;

use rustix::io::Errno;

/// In the place of an attribute: what a driver's probe ended with, which no write returns and only the kernel log tells.
const PROBE: &str = "probe";

/// An explanation of one errno of one attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    attribute: &'static str,
    errno: Errno,
    /// What it means there.
    pub(super) cause: &'static str,
    /// What to do.
    pub(super) next: &'static str,
}

const fn row(attribute: &'static str, errno: Errno, cause: &'static str, next: &'static str) -> Meaning {
    Meaning { attribute, errno, cause, next }
}

/// Every errno with a meaning of its own there; all others have their usual one.
const TABLE: [Meaning; 23] = [
    row(
        "sriov_numvfs",
        Errno::BUSY,
        "there are VFs already, or the driver says that guests have them",
        "run again; if it stays so, shut down the guests that have VFs of this function",
    ),
    row(
        "sriov_numvfs",
        Errno::NOENT,
        "the function has no driver, or its driver cannot make VFs",
        "bind it to its own driver; one that is on vfio-pci needs vfio-pci's enable_sriov=1",
    ),
    row(
        "sriov_numvfs",
        Errno::RANGE,
        "the count is above sriov_totalvfs",
        "lower vfs in the document, or raise the limit in the card's firmware (mlxconfig NUM_OF_VFS, say)",
    ),
    row(
        "sriov_numvfs",
        Errno::INVAL,
        "the driver does not take this count: it is above what the card offers at first, or the card is in a mode without VFs",
        "see the kernel log, and the driver's documentation",
    ),
    row(
        "sriov_numvfs",
        Errno::NODEV,
        "the function, or the one that its VFs depend on, is gone",
        "look at it with lspci",
    ),
    row(
        "sriov_numvfs",
        Errno::NOMEM,
        "there is no room for the VFs: the firmware has given them no addresses, or bus numbers have run out",
        "turn on SR-IOV and \"above 4G decoding\" in the firmware, or pass pci=realloc (addresses) or pci=assign-busses (buses)",
    ),
    row(
        "sriov_numvfs",
        Errno::NOSPC,
        "the card has run out of something that each VF needs, as MSI-X vectors",
        "lower vfs in the document, or give each VF less in the card's firmware",
    ),
    row(
        "sriov_numvfs",
        Errno::IO,
        "the card contradicts itself about its VFs (InitialVFs), or does not answer",
        "update the card's firmware, or power the host off and on",
    ),
    row("sriov_numvfs", Errno::NOSYS, "the function cannot have VFs", "take it out of sriov in the document"),
    row(
        "sriov_numvfs",
        Errno::PERM,
        "the driver says that guests have VFs of this function, or the kernel is locked down",
        "shut those guests down; see `reconcile status` for lockdown",
    ),
    row(
        "sriov_numvfs",
        Errno::AGAIN,
        "the driver is busy with the card (a reset, a firmware update)",
        "run again",
    ),
    row(
        "sriov_drivers_autoprobe",
        Errno::INVAL,
        "the kernel takes 0 and 1 only",
        "report this as a fault of reconcile",
    ),
    row(
        "unbind",
        Errno::NODEV,
        "the function is gone, or is no longer bound to this driver",
        "run again: its driver is looked at anew",
    ),
    row(
        "driver_override",
        Errno::INVAL,
        "the kernel does not take this name",
        "correct the driver's name in the document",
    ),
    row("driver_override", Errno::NODEV, "the function is gone", "look for it with reconcile devices"),
    row("drivers_probe", Errno::NODEV, "the function is gone", "look for it with reconcile devices"),
    row(
        "drivers_probe",
        Errno::INVAL,
        "a driver refuses to say whether the function is one of its own",
        "see the kernel log",
    ),
    row(
        PROBE,
        Errno::INVAL,
        "vfio-pci does not take it: it is in no IOMMU group, is a bridge, or is on vfio-pci's denylist",
        "see `reconcile devices` for its group and `reconcile status` for the IOMMU",
    ),
    row(
        PROBE,
        Errno::BUSY,
        "it has VFs (vfio-pci refuses such a one), or a guest has its IOMMU group",
        "remove its VFs (vfs: 0), or shut the guest down",
    ),
    row(
        PROBE,
        Errno::NODEV,
        "the driver finds that it is not one of its own, or that it is gone",
        "see `reconcile devices`",
    ),
    row(
        PROBE,
        Errno::PERM,
        "the driver may not have it: the kernel is locked down, or its IOMMU group is a guest's",
        "see `reconcile status`",
    ),
    row(
        PROBE,
        Errno::NOMEM,
        "the kernel has no memory, or no addresses, for it",
        "free some memory and run again",
    ),
    row(PROBE, Errno::IO, "it does not answer its driver", "power the host off and on"),
];

/// What the probe ended with that these lines of the kernel log tell of ("… failed with error -22", `call_driver_probe` in
/// drivers/base/dd.c).
pub(super) fn of_probe(log: &[String]) -> Option<&'static Meaning> {
    let number = |line: &String| line.rsplit_once("failed with error -")?.1.trim().parse().ok();
    let errno = Errno::from_raw_os_error(log.iter().rev().find_map(number)?);
    TABLE.iter().find(|row| row.attribute == PROBE && row.errno == errno)
}

/// What `errno` means where it came from a write to `path`.
pub(super) fn meaning(path: &Path, errno: Errno) -> Option<&'static Meaning> {
    let attribute = path.file_name()?.to_str()?;
    TABLE.iter().find(|row| row.attribute == attribute && row.errno == errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a row: the attribute, the errno's number on Linux, a word that has to be in the explanation.
    const EXPECTED: [(&str, i32, &str); 23] = [
        ("sriov_numvfs", 16, "VFs already"),
        ("sriov_numvfs", 2, "no driver"),
        ("sriov_numvfs", 34, "sriov_totalvfs"),
        ("sriov_numvfs", 22, "does not take this count"),
        ("sriov_numvfs", 19, "gone"),
        ("sriov_numvfs", 12, "no room"),
        ("sriov_numvfs", 28, "MSI-X"),
        ("sriov_numvfs", 5, "contradicts itself"),
        ("sriov_numvfs", 38, "cannot have VFs"),
        ("sriov_numvfs", 1, "locked down"),
        ("sriov_numvfs", 11, "busy"),
        ("sriov_drivers_autoprobe", 22, "0 and 1"),
        ("unbind", 19, "no longer bound"),
        ("driver_override", 22, "name"),
        ("driver_override", 19, "gone"),
        ("drivers_probe", 19, "gone"),
        ("drivers_probe", 22, "one of its own"),
        ("probe", 22, "IOMMU group"),
        ("probe", 16, "has VFs"),
        ("probe", 19, "not one of its own"),
        ("probe", 1, "locked down"),
        ("probe", 12, "no memory"),
        ("probe", 5, "does not answer"),
    ];

    #[test]
    fn every_row_is_found_by_its_attribute_and_errno() {
        assert_eq!(EXPECTED.len(), TABLE.len());
        for (attribute, errno, word) in EXPECTED {
            let path = Path::new("/sys/bus/pci/devices/0000:03:00.0").join(attribute);
            let found = meaning(&path, Errno::from_raw_os_error(errno));
            let found = found.unwrap_or_else(|| panic!("{attribute} {errno} has no row"));
            assert!(found.cause.contains(word), "{attribute} {errno}: {}", found.cause);
            assert!(!found.next.is_empty());
        }
        assert_eq!(meaning(Path::new("/etc/modules"), Errno::BUSY), None);
        assert_eq!(meaning(Path::new("/sys/x/unbind"), Errno::BUSY), None);
        let log = [
            "igb 0000:03:00.0: reset",
            "vfio-pci 0000:03:00.0: probe with driver vfio-pci failed with error -16",
        ];
        let log = log.map(str::to_owned);
        assert_eq!(of_probe(&log).map(|found| found.errno), Some(Errno::BUSY));
        assert_eq!(of_probe(&log[..1]), None);
    }
}
