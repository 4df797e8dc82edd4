use super::*;
use crate::host::{EmptyHost, SimulatedHost};

const EMPTY: EmptyHost = EmptyHost(Reach::Machine);

#[test]
fn the_configuration_is_read_in_dracuts_order() {
    let mut host = SimulatedHost::new(&EMPTY);
    host.put_file("/etc/dracut.conf", "# hostonly=no\nhostonly=\"yes\"\nadd_drivers+=\" a-b \"\n");
    host.put_file("/usr/lib/dracut/dracut.conf.d/01-dist.conf", "hostonly=\"yes\"\n");
    host.put_file("/etc/dracut.conf.d/01-dist.conf", "hostonly='no' # masks the distribution's\n");
    host.put_file("/etc/dracut.conf.d/50-x.conf", "add_drivers+=\" c \"\n  omit_drivers+=\" nouveau \"\n");
    host.put_file("/etc/dracut.conf.d/ignored", "hostonly=yes\n");
    let settings = Settings::read(&host).unwrap();
    assert!(!settings.is_hostonly(), "{settings:?}");
    assert_eq!(settings.words("add_drivers").collect::<Vec<_>>(), ["a-b", "c"]);
    assert!(settings.lists("add_drivers", &"a_b".parse().unwrap()));
    assert!(settings.lists("omit_drivers", &"nouveau".parse().unwrap()));
}

#[test]
fn the_drop_in_names_what_is_needed() {
    let file = |vfio_pci, files| {
        let Told::Files(files) = Dracut.told(&EMPTY, Needs { vfio_pci, files }).unwrap() else {
            panic!("refused")
        };
        files.into_iter().map(|file| file.content).collect::<String>()
    };
    assert_eq!(file(false, false), "");
    let with = file(true, true);
    assert!(with.ends_with("force_drivers+=\" vfio_pci \"\n") && with.starts_with(HEADER), "{with}");
    assert!(with.contains(" /etc/modprobe.d/*.conf /etc/udev/rules.d/10-reconcile-vfio.rules "), "{with}");
    assert!(!file(false, true).contains("force_drivers"));
}
