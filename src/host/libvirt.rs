//! What is known about the installed libvirt, from files alone: its version, its built-in device list, its units.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{HostError, ReadHost};

/// The daemons that run libvirt's QEMU driver: the modular one and the monolithic one.
const UNITS: [&str; 2] = ["virtqemud.service", "libvirtd.service"];

/// Where systemd looks for units, first wins (systemd.unit(5)).
const UNIT_DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The Debian packages that carry libvirt's version, the driver itself first.
const PACKAGES: [&str; 4] =
    ["libvirt-daemon-driver-qemu", "libvirt-daemon", "libvirt0", "libvirt-daemon-system"];

/// A libvirt release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LibvirtVersion {
    /// As in **9**.0.0.
    pub major: u32,
    /// As in 9.**0**.0.
    pub minor: u32,
    /// As in 9.0.**0**.
    pub patch: u32,
}

impl fmt::Display for LibvirtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl LibvirtVersion {
    /// From the library's file name: `libvirt.so.0.9000.0` is 9.0.0, `libvirt.so.0.10001.2` is 10.1.2 (libtool's
    /// age is `1000 * major + minor`, its revision the patch level).
    fn from_library(name: &str) -> Option<Self> {
        let (age, revision) = name.strip_prefix("libvirt.so.0.")?.split_once('.')?;
        let age: u32 = age.parse().ok()?;
        Some(Self { major: age / 1000, minor: age % 1000, patch: revision.parse().ok()? })
    }

    /// From a package's version: `1:9.0.0-4+deb12u2` is 9.0.0.
    fn from_package(version: &str) -> Option<Self> {
        let upstream = version.split_once(':').map_or(version, |(_epoch, rest)| rest);
        let number = |text: Option<&str>| -> Option<u32> {
            let digits = text?.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        let mut parts = upstream.splitn(3, '.');
        Some(Self {
            major: number(parts.next())?,
            minor: number(parts.next())?,
            patch: number(parts.next())?,
        })
    }

    /// The nodes that this release allows to every guest where `cgroup_device_acl` is not set (`defaultDeviceACL` in
    /// libvirt's `src/qemu/qemu_cgroup.c`); `None` for releases whose list is not known for certain.
    pub fn built_in_acl(self) -> Option<Vec<&'static str>> {
        let mut nodes =
            vec!["/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/ptmx"];
        nodes.extend_from_slice(match (self.major, self.minor) {
            (3..=5, _) => &["/dev/kvm", "/dev/kqemu", "/dev/rtc", "/dev/hpet"],
            (6, 2..) | (7..=9, _) | (10, 0) => &["/dev/kvm"],
            (10, 1..) | (11, 0..=3) => &["/dev/kvm", "/dev/userfaultfd"],
            (12, 8) => &["/dev/userfaultfd"],
            _ => return None,
        });
        Some(nodes)
    }
}

/// The installed libvirt, by the library's file name, else by dpkg's database.
///
/// # Errors
/// When a directory or the database exists and cannot be read.
pub fn installed_version(host: &dyn ReadHost) -> Result<Option<LibvirtVersion>, HostError> {
    match by_library(host)? {
        Some(version) => Ok(Some(version)),
        None => by_package(host),
    }
}

fn by_library(host: &dyn ReadHost) -> Result<Option<LibvirtVersion>, HostError> {
    let lib = Path::new("/usr/lib");
    let multiarch = host.list(lib)?.unwrap_or_default().into_iter().filter(|name| name.contains("-linux-"));
    let directories = multiarch.map(|name| lib.join(name)).chain(["/usr/lib64".into(), lib.to_owned()]);
    for directory in directories {
        // The link that programs load is what counts when an old library was left behind.
        let linked = host.link_name(&directory.join("libvirt.so.0"))?;
        if let Some(version) = linked.as_deref().and_then(LibvirtVersion::from_library) {
            return Ok(Some(version));
        }
        let names = host.list(&directory)?.unwrap_or_default();
        if let Some(version) = names.iter().filter_map(|name| LibvirtVersion::from_library(name)).max() {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

fn by_package(host: &dyn ReadHost) -> Result<Option<LibvirtVersion>, HostError> {
    let Some(database) = host.text(Path::new("/var/lib/dpkg/status"))? else { return Ok(None) };
    let field = |stanza: &str, name: &str| {
        stanza
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|v| v.trim().to_owned()))
    };
    let version_of = |package: &str| {
        database.split("\n\n").find_map(|stanza| {
            let installed = field(stanza, "Package").is_some_and(|name| name == package)
                && field(stanza, "Status").is_some_and(|status| status.ends_with(" installed"));
            let version = if installed { field(stanza, "Version") } else { None };
            LibvirtVersion::from_package(&version?)
        })
    };
    Ok(PACKAGES.iter().find_map(|package| version_of(package)))
}

/// The command that restarts libvirt's QEMU daemon if it runs; `None` where no such unit is installed.
///
/// A reload does not do: libvirt reads `qemu.conf` only when it starts. Guests go on running meanwhile
/// (`KillMode=process` in its units). `blocking: false` only queues the job, as a unit ordered before libvirt has to.
///
/// # Errors
/// When a unit directory cannot be looked into.
pub fn libvirt_restart(host: &dyn ReadHost, blocking: bool) -> Result<Option<Vec<String>>, HostError> {
    let mut units = Vec::new();
    for unit in UNITS {
        if is_installed(host, unit)? {
            units.push(unit);
        }
    }
    if units.is_empty() {
        return Ok(None);
    }
    let no_block = if blocking { None } else { Some("--no-block") };
    let words = ["systemctl"].into_iter().chain(no_block).chain(["try-restart"]).chain(units);
    Ok(Some(words.map(str::to_owned).collect()))
}

/// Whether a unit exists and is not masked: `try-restart` of a masked unit fails.
fn is_installed(host: &dyn ReadHost, unit: &str) -> Result<bool, HostError> {
    for directory in UNIT_DIRECTORIES {
        let path = PathBuf::from(directory).join(unit);
        if host.exists(&path)? {
            return Ok(host.read_link(&path)?.as_deref() != Some(Path::new("/dev/null")));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EmptyHost, Reach, SimulatedHost};

    const EMPTY: EmptyHost = EmptyHost(Reach::Machine);

    fn version(host: &SimulatedHost<'_>) -> Option<String> {
        installed_version(host).unwrap().map(|version| version.to_string())
    }

    #[test]
    fn the_library_that_programs_load_tells_the_version() {
        let mut host = SimulatedHost::new(&EMPTY);
        assert_eq!(version(&host), None);
        host.put_file("/usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0", "");
        host.put_file("/usr/lib/x86_64-linux-gnu/libvirt-qemu.so.0.11000.0", "");
        assert_eq!(version(&host).as_deref(), Some("9.0.0"));
        host.put_file("/usr/lib/x86_64-linux-gnu/libvirt.so.0.10001.0", "");
        assert_eq!(version(&host).as_deref(), Some("10.1.0"));
        host.put_link("/usr/lib/x86_64-linux-gnu/libvirt.so.0", "libvirt.so.0.9000.0");
        assert_eq!(version(&host).as_deref(), Some("9.0.0"));
        let mut other = SimulatedHost::new(&EMPTY);
        other.put_file("/usr/lib64/libvirt.so.0.11003.0", "");
        assert_eq!(version(&other).as_deref(), Some("11.3.0"));
    }

    #[test]
    fn the_package_database_is_asked_next() {
        let stanza = |package: &str, status: &str, version: &str| {
            format!("Package: {package}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\n\n")
        };
        let mut host = SimulatedHost::new(&EMPTY);
        let removed = stanza("libvirt-daemon-driver-qemu", "deinstall ok config-files", "8.0.0-1");
        host.put_file("/var/lib/dpkg/status", removed.clone());
        assert_eq!(version(&host), None);
        let other = stanza("libvirt0-dbg", "install ok installed", "7.0.0-1");
        let installed = stanza("libvirt0", "install ok installed", "9.0.0-4+deb12u2");
        host.put_file("/var/lib/dpkg/status", format!("{removed}{other}{installed}"));
        assert_eq!(version(&host).as_deref(), Some("9.0.0"));
    }

    #[test]
    fn only_installed_units_are_restarted() {
        let restart = |host: &SimulatedHost<'_>, blocking| {
            libvirt_restart(host, blocking).unwrap().map(|words| words.join(" "))
        };
        let mut host = SimulatedHost::new(&EMPTY);
        assert_eq!(restart(&host, true), None);
        host.put_file("/lib/systemd/system/libvirtd.service", "");
        assert_eq!(restart(&host, true).as_deref(), Some("systemctl try-restart libvirtd.service"));
        host.put_file("/usr/lib/systemd/system/virtqemud.service", "");
        let both = "systemctl --no-block try-restart virtqemud.service libvirtd.service";
        assert_eq!(restart(&host, false).as_deref(), Some(both));
        host.put_link("/etc/systemd/system/libvirtd.service", "/dev/null");
        assert_eq!(restart(&host, true).as_deref(), Some("systemctl try-restart virtqemud.service"));
    }

    #[test]
    fn versions_from_names() {
        let shown = |version: Option<LibvirtVersion>| version.map(|version| version.to_string());
        for (name, version) in [
            ("libvirt.so.0.9000.0", Some("9.0.0")),
            ("libvirt.so.0.10001.2", Some("10.1.2")),
            ("libvirt.so.0.1002.9", Some("1.2.9")),
            ("libvirt.so.0.11003.0", Some("11.3.0")),
            ("libvirt.so.0", None),
            ("libvirt-qemu.so.0.9000.0", None),
            ("libvirt.so.0.9000", None),
        ] {
            assert_eq!(shown(LibvirtVersion::from_library(name)).as_deref(), version, "{name}");
        }
        for (package, version) in [
            ("9.0.0-4+deb12u2", Some("9.0.0")),
            ("1:10.1.0~rc1-1", Some("10.1.0")),
            ("11.3.0+dfsg-1", Some("11.3.0")),
            ("nonsense", None),
        ] {
            assert_eq!(shown(LibvirtVersion::from_package(package)).as_deref(), version, "{package}");
        }
    }

    #[test]
    fn the_built_in_list_is_only_given_where_it_is_certain() {
        let last = |text: &str| {
            let nodes = LibvirtVersion::from_package(text)?.built_in_acl()?;
            nodes.last().copied()
        };
        assert_eq!(last("5.0.0"), Some("/dev/hpet"));
        assert_eq!(last("7.0.0"), Some("/dev/kvm"));
        assert_eq!(last("9.0.0"), Some("/dev/kvm"));
        assert_eq!(last("10.0.0"), Some("/dev/kvm"));
        assert_eq!(last("10.1.0"), Some("/dev/userfaultfd"));
        assert_eq!(last("11.3.0"), Some("/dev/userfaultfd"));
        assert_eq!(last("1.0.0"), None);
        assert_eq!(last("13.0.0"), None);
    }
}
