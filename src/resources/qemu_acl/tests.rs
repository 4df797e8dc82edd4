use proptest::prelude::*;

use super::*;
use crate::engine::Memory;
use crate::host::{EmptyHost, Reach, SimulatedHost};
use crate::engine::devices::{GroupUnknown, Target};
use crate::types::{Entry, Place};

const DEBIAN: &str = "# basics\n#cgroup_device_acl = [\n#    \"/dev/null\", \"/dev/full\", \"/dev/zero\",\n\
                      #    \"/dev/random\", \"/dev/urandom\",\n#    \"/dev/ptmx\", \"/dev/kvm\"\n#]\n#\n# RDMA\n\n\
                      user = \"root\"\n";
const BASE: [&str; 7] =
    ["/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/kvm"];

fn entries(nodes: &[&str]) -> Vec<Entry<String>> {
    let place = |line| Place { file: "host.yaml".into(), line, column: 5 };
    nodes.iter().zip(1..).map(|(node, line)| Entry::new((*node).to_owned(), place(line))).collect()
}

fn present(nodes: &[&str]) -> Spec {
    Spec { acl: DeviceAcl { present: entries(nodes), ..DeviceAcl::default() }, handed: Vec::new() }
}

fn groups(functions: &[(&str, Result<IommuGroup, Blocker>)]) -> Spec {
    let handed = functions.iter().map(|(address, group)| Handed {
        target: Target::Function(address.parse().unwrap()),
        group: group
            .clone()
            .map_err(|on| GroupUnknown { on, why: Reason::new("missing-function", "it is not there") }),
        origin: "vfio_pci.devices".to_owned(),
    });
    Spec { acl: DeviceAcl { vfio_groups: true, ..DeviceAcl::default() }, handed: handed.collect() }
}

fn number(number: u32) -> Result<IommuGroup, Blocker> {
    Ok(IommuGroup::Number(number))
}

fn file(text: &str) -> FileState {
    FileState::File { bytes: text.into(), mode: 0o600, uid: 0, gid: 0, mtime_ns: 0, xattrs: BTreeMap::new() }
}

fn host(text: &str) -> State {
    State {
        configured: true,
        file: file(text),
        version: None,
        owned: BTreeMap::new(),
        in_use: BTreeMap::new(),
    }
}

/// What the one step of these findings writes; `None` where nothing changes.
fn written(findings: &Findings) -> Option<String> {
    let mut steps = findings.items.iter().filter_map(|item| match &item.verdict {
        Verdict::Change(change) => {
            assert!(change.followups.contains(&Followup::LibvirtRestart));
            Some(change.steps.clone())
        }
        _ => None,
    });
    let first = steps.next()?;
    assert!(steps.all(|other| other == first), "all items share one step");
    match first.as_slice() {
        [Step::WriteFile { after, .. }] => Some(String::from_utf8(after.0.to_vec()).unwrap()),
        [Step::RemoveFile { .. }] => Some("(removed)".to_owned()),
        steps => panic!("{steps:?}"),
    }
}

/// Makes the change, as the engine would.
fn apply(spec: &Spec, state: &mut State) -> Findings {
    let findings = QemuAcl::diff(spec, state);
    for item in &findings.items {
        let Verdict::Change(change) = &item.verdict else { continue };
        for owned in &change.owns {
            match &owned.written {
                Some(written) => {
                    let (target, before) = (owned.target.clone(), owned.before.clone());
                    state
                        .owned
                        .insert(owned.item.clone(), Owned { target, before, written: written.clone() });
                }
                None => {
                    state.owned.remove(&owned.item);
                }
            }
        }
    }
    match written(&findings).as_deref() {
        None => {}
        Some("(removed)") => state.file = FileState::Absent,
        Some(text) => state.file = file(text),
    }
    findings
}

fn nodes(state: &State) -> Option<Vec<String>> {
    let conf = VirConf::parse(state.file.bytes().unwrap_or_default()).unwrap();
    let strings = conf.get(SETTING)?.value.strings()?;
    Some(strings.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect())
}

fn codes(findings: &Findings) -> Vec<(&str, &str)> {
    let code = |item: &ItemVerdict| match &item.verdict {
        Verdict::InSync => "in-sync",
        Verdict::Change(_) => "change",
        Verdict::Blocked { .. } => "blocked",
        Verdict::Refused(_) => "refused",
        Verdict::PendingReboot { .. } | Verdict::Stuck { .. } => "reboot",
    };
    findings.items.iter().map(|item| (item.item.as_str(), code(item))).collect()
}

/// The code of the only refusal, and where it lies.
fn refusal(findings: &Findings) -> (String, Option<String>) {
    let objections = findings.items.iter().filter_map(|item| match &item.verdict {
        Verdict::Refused(objection) => objection.chain.first(),
        _ => None,
    });
    let reasons: Vec<&Reason> = objections.collect();
    assert_eq!(reasons.len(), 1, "{findings:?}");
    (reasons[0].code.to_string(), reasons[0].at.clone())
}

#[test]
fn a_new_setting_starts_from_libvirts_own_list_and_goes_without_a_trace() {
    let mut state = host(DEBIAN);
    let findings = apply(&present(&["/dev/infiniband/rdma_cm"]), &mut state);
    assert_eq!(codes(&findings), [("/dev/infiniband/rdma_cm", "change"), (SETTING, "change")]);
    let mut wanted = BASE.to_vec();
    wanted.push("/dev/infiniband/rdma_cm");
    assert_eq!(nodes(&state).unwrap(), wanted);
    let again = apply(&present(&["/dev/infiniband/rdma_cm"]), &mut state);
    assert_eq!(codes(&again), [("/dev/infiniband/rdma_cm", "in-sync")]);
    apply(&present(&[]), &mut state);
    assert_eq!(state.file, file(DEBIAN));
    assert!(state.owned.is_empty());
}

#[test]
fn what_libvirt_allows_anyway_needs_no_setting() {
    let findings = QemuAcl::diff(&present(&["/dev/kvm"]), &host(DEBIAN));
    assert_eq!(codes(&findings), [("/dev/kvm", "in-sync")]);
    assert!(QemuAcl::diff(&present(&[]), &host("")).items.is_empty());
}

#[test]
fn a_list_that_was_there_is_the_base_and_only_our_additions_go() {
    let text = "cgroup_device_acl = [\n\"/dev/null\", \"/dev/kqemu\",\n\"/dev/vfio/45\"\n\n]\n";
    let mut state = host(text);
    apply(&present(&["/dev/null", "/dev/a"]), &mut state);
    assert_eq!(nodes(&state).unwrap(), ["/dev/null", "/dev/kqemu", "/dev/vfio/45", "/dev/a"]);
    assert_eq!(state.owned.keys().collect::<Vec<_>>(), ["/dev/a"]);
    let findings = apply(&present(&["/dev/null"]), &mut state);
    assert_eq!(codes(&findings), [("/dev/null", "in-sync"), ("/dev/a", "change")]);
    assert_eq!(state.file, file(text));
}

#[test]
fn state_lost_means_that_nothing_there_is_ours() {
    let mut state = host(DEBIAN);
    apply(&present(&["/dev/a"]), &mut state);
    state.owned.clear();
    assert_eq!(written(&QemuAcl::diff(&present(&[]), &state)), None);
}

#[test]
fn the_groups_of_functions_handed_over_are_in_the_list_and_stale_ones_go() {
    let mut state = host("cgroup_device_acl = [ \"/dev/null\", \"/dev/vfio/45\", \"/dev/vfio/9\" ]\n");
    let spec =
        groups(&[("0000:04:00.0", number(45)), ("0000:84:00.0", number(58)), ("0000:85:00.0", number(58))]);
    let findings = apply(&spec, &mut state);
    assert_eq!(
        codes(&findings),
        [
            (VFIO, "change"),
            ("/dev/vfio/45", "in-sync"),
            ("/dev/vfio/58", "change"),
            ("/dev/vfio/9", "change")
        ]
    );
    assert_eq!(nodes(&state).unwrap(), ["/dev/null", "/dev/vfio/45", VFIO, "/dev/vfio/58"]);
    let needs = &findings.items[2].needs;
    assert_eq!(needs.len(), 2, "both functions of the group: {needs:?}");
    assert_eq!(written(&QemuAcl::diff(&spec, &state)), None);
}

#[test]
fn a_stale_group_in_use_is_kept_with_a_warning() {
    let mut state = host("cgroup_device_acl = [ \"/dev/vfio/vfio\", \"/dev/vfio/9\" ]\n");
    state.in_use.insert("/dev/vfio/9".to_owned(), vec!["0000:09:00.0".parse().unwrap()]);
    let findings = QemuAcl::diff(&groups(&[]), &state);
    assert_eq!(written(&findings), None);
    assert_eq!(findings.warnings[0].reason.code, "foreign-group-in-use");
}

#[test]
fn a_function_to_come_blocks_itself_and_not_the_rest() {
    let sriov = Blocker::Resource("sriov".into());
    let mut state = host("cgroup_device_acl = [ \"/dev/vfio/60\" ]\n");
    let spec = groups(&[("0000:03:00.1", Err(sriov)), ("0000:04:00.0", number(45))]);
    let findings = apply(&spec, &mut state);
    assert_eq!(
        codes(&findings),
        [("/dev/vfio/<group of 0000:03:00.1>", "blocked"), (VFIO, "change"), ("/dev/vfio/45", "change")]
    );
    // 60 may be the group to come.
    assert_eq!(nodes(&state).unwrap(), ["/dev/vfio/60", VFIO, "/dev/vfio/45"]);
    // A function that no change brings keeps nothing back.
    let spec = groups(&[("0000:03:00.1", Err(Blocker::Host)), ("0000:04:00.0", number(45))]);
    apply(&spec, &mut state);
    assert_eq!(nodes(&state).unwrap(), [VFIO, "/dev/vfio/45"]);
    // In a dry run the group has a name before it has a number.
    let unknown = Ok(IommuGroup::Of("0000:03:00.1".parse().unwrap()));
    let findings = apply(&groups(&[("0000:03:00.1", unknown), ("0000:04:00.0", number(45))]), &mut state);
    assert!(written(&findings).unwrap().contains("\"/dev/vfio/<group of 0000:03:00.1>\""));
}

#[test]
fn an_exact_list_is_exactly_that() {
    let six = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"];
    let exact = |nodes: &[&str]| {
        let mut spec = present(nodes);
        spec.acl.exact = true;
        spec
    };
    assert_eq!(refusal(&QemuAcl::diff(&exact(&six[1..]), &host(DEBIAN))).0, "exact-list-incomplete");
    let mut state = host(DEBIAN);
    apply(&exact(&six), &mut state);
    assert_eq!(nodes(&state).unwrap().len(), 6);
    apply(&present(&[]), &mut state);
    assert_eq!(state.file, file(DEBIAN));
    // libvirt's own list written out is still a list that we keep.
    let mut state = host(DEBIAN);
    apply(&exact(&BASE), &mut state);
    assert_eq!(nodes(&state).unwrap(), BASE);
    assert_eq!(written(&QemuAcl::diff(&exact(&BASE), &state)), None);
}

#[test]
fn absent_nodes_go_whoever_put_them_there() {
    let spec = Spec {
        acl: DeviceAcl { absent: entries(&["/dev/kvm", "/dev/none"]), ..DeviceAcl::default() },
        handed: Vec::new(),
    };
    let mut state = host(DEBIAN);
    let findings = apply(&spec, &mut state);
    assert_eq!(codes(&findings), [("/dev/kvm", "change"), (SETTING, "change")]);
    assert_eq!(nodes(&state).unwrap(), BASE[..6]);
    assert_eq!(written(&QemuAcl::diff(&spec, &state)), None);
    let mut theirs = host("cgroup_device_acl = [\"/dev/kvm\", \"/dev/null\"]");
    apply(&spec, &mut theirs);
    assert_eq!(theirs.file, file("cgroup_device_acl = [\"/dev/null\"]"));
}

#[test]
fn the_base_follows_the_installed_libvirt() {
    let mut state = host("user = \"root\"\n");
    state.version = Some(LibvirtVersion { major: 9, minor: 0, patch: 0 });
    apply(&present(&["/dev/a"]), &mut state);
    assert_eq!(nodes(&state).unwrap().len(), 8);
    state.version = Some(LibvirtVersion { major: 12, minor: 8, patch: 0 });
    let findings = apply(&present(&["/dev/a"]), &mut state);
    assert_eq!(codes(&findings), [("/dev/a", "in-sync"), ("/dev/kvm", "change"), (SETTING, "change")]);
    let list = nodes(&state).unwrap();
    assert!(
        list.contains(&"/dev/userfaultfd".to_owned()) && !list.contains(&"/dev/kvm".to_owned()),
        "{list:?}"
    );
    state.version = None;
    assert_eq!(refusal(&QemuAcl::diff(&present(&["/dev/b"]), &state)).0, "unknown-built-in-list");
    apply(&present(&[]), &mut state);
    assert_eq!(state.file, file("user = \"root\"\n"), "taking back needs no built-in list");
}

#[test]
fn what_others_add_to_our_setting_stays() {
    let mut state = host(DEBIAN);
    apply(&present(&["/dev/a"]), &mut state);
    let text = String::from_utf8(state.file.bytes().unwrap().to_vec()).unwrap();
    state.file = file(&text.replace("\"/dev/a\"", "\"/dev/a\", \"/dev/theirs\""));
    apply(&present(&[]), &mut state);
    let mut wanted = BASE.to_vec();
    wanted.push("/dev/theirs");
    assert_eq!(nodes(&state).unwrap(), wanted);
}

#[test]
fn a_commented_list_that_is_not_the_packaged_default_is_no_base() {
    let mut state = host("#cgroup_device_acl = [ \"/dev/null\", \"/dev/vfio/45\" ]\n");
    assert_eq!(refusal(&QemuAcl::diff(&present(&["/dev/a"]), &state)).0, "unknown-built-in-list");
    state.version = Some(LibvirtVersion { major: 9, minor: 0, patch: 0 });
    apply(&present(&["/dev/a"]), &mut state);
    assert_eq!(nodes(&state).unwrap().len(), 8);
    let mut newer = host(DEBIAN);
    newer.version = Some(LibvirtVersion { major: 10, minor: 1, patch: 0 });
    let findings = QemuAcl::diff(&present(&["/dev/a"]), &newer);
    assert_eq!(findings.warnings[0].reason.code, "built-in-list-differs");
}

#[test]
fn a_file_that_libvirt_rejects_is_refused_with_its_line() {
    for (text, line) in [
        ("a = 1\ncgroup_device_acl = [\n  \"/dev/null\", # null\n]\n", 3),
        ("a = 1\n\nb = yes\n", 3),
        ("cgroup_device_acl = \"/dev/null\"\n", 1),
        ("\n", 2),
    ] {
        assert!(QemuAcl::diff(&present(&[]), &host(text)).items.is_empty(), "nothing asked, nothing refused");
        let (code, at) = refusal(&QemuAcl::diff(&present(&["/dev/a"]), &host(text)));
        assert_eq!(code, "malformed-qemu-conf");
        assert_eq!(at.unwrap(), format!("/etc/libvirt/qemu.conf:{line}"));
    }
}

#[test]
fn without_a_file_one_is_made_and_removed_again() {
    let mut state = host("");
    state.file = FileState::Absent;
    state.version = Some(LibvirtVersion { major: 9, minor: 0, patch: 0 });
    let findings = apply(&present(&["/dev/a"]), &mut state);
    assert!(written(&findings).unwrap().starts_with(CREATED));
    assert_eq!(nodes(&state).unwrap().len(), 8);
    apply(&present(&[]), &mut state);
    assert_eq!(state.file, FileState::Absent);
    state.configured = false;
    assert_eq!(codes(&QemuAcl::diff(&present(&["/dev/a"]), &state)), [("/dev/a", "blocked")]);
}

#[test]
fn lint_names_what_will_not_last() {
    let findings = QemuAcl::diff(&present(&["/dev/hpet", "/dev/vfio/vfio"]), &host(DEBIAN));
    let codes: Vec<&str> = findings.warnings.iter().map(|warning| warning.reason.code.as_ref()).collect();
    assert_eq!(codes, ["obsolete-node"]);
}

#[test]
fn observing_finds_who_uses_the_groups_in_the_list() {
    let empty = EmptyHost(Reach::Machine);
    let mut host = SimulatedHost::new(&empty);
    host.put_file(QEMU_CONF, "cgroup_device_acl = [\"/dev/vfio/7\", \"/dev/vfio/8\", \"/dev/vfio/9\"]\n");
    for (group, function, driver) in
        [("7", "0000:07:00.0", "vfio-pci"), ("8", "0000:08:00.0", "nvme"), ("9", "0000:09:00.0", "mlx5_vfio_pci")]
    {
        let device = format!("/sys/devices/pci0000:00/{function}");
        host.put_link(format!("/sys/kernel/iommu_groups/{group}/devices/{function}"), &device);
        host.put_link(format!("/sys/bus/pci/devices/{function}"), &device);
        host.put_link(format!("{device}/driver"), format!("/sys/bus/pci/drivers/{driver}"));
    }
    let facts = Facts::gather(&Document::default(), &host, None).unwrap();
    let memory = Memory::default();
    let observer = Observer { host: &host, memory: &memory, facts: &facts };
    let state = QemuAcl::observe(&groups(&[]), &observer).unwrap();
    assert!(state.configured);
    assert_eq!(state.in_use.keys().collect::<Vec<_>>(), ["/dev/vfio/7", "/dev/vfio/9"]);
    // A file that libvirt rejects is a finding, not a failed observation.
    host.put_file(QEMU_CONF, "cgroup_device_acl = [");
    let observer = Observer { host: &host, memory: &memory, facts: &facts };
    assert!(QemuAcl::observe(&groups(&[]), &observer).unwrap().in_use.is_empty());
}

#[test]
fn a_document_without_the_section_manages_nothing() {
    let facts = Facts::gather(&Document::default(), &EmptyHost(Reach::Tree), None).unwrap();
    assert!(QemuAcl::derive(&Document::default(), &facts).is_none());
    let qemu = Some(crate::document::Qemu { cgroup_device_acl: Some(DeviceAcl::default()) });
    assert!(QemuAcl::derive(&Document { qemu, ..Document::default() }, &facts).unwrap().is_empty());
}

/// What an operator may ask for, one document after the other.
fn asked() -> impl Strategy<Value = Spec> {
    let nodes = ["/dev/a", "/dev/b c", "/dev/q\"", "/dev/null", "/dev/kvm", "/dev/theirs"];
    let present_nodes = prop::sample::subsequence(nodes.to_vec(), 0..nodes.len());
    let functions = [("0000:03:00.0", 3), ("0000:04:00.0", 45), ("0000:04:00.1", 45), ("0000:05:00.0", 100)];
    let handed = prop::option::of(prop::sample::subsequence(functions.to_vec(), 0..functions.len()));
    (present_nodes, handed).prop_map(|(nodes, handed)| {
        let mut spec = present(&nodes);
        if let Some(handed) = handed {
            let with: Vec<_> = handed.into_iter().map(|(address, group)| (address, number(group))).collect();
            spec = Spec { acl: DeviceAcl { vfio_groups: true, ..spec.acl }, ..groups(&with) };
        }
        spec
    })
}

/// What may stand there before us.
fn before_us() -> impl Strategy<Value = FileState> {
    let theirs = "cgroup_device_acl = [\n\t\"/dev/null\", '/dev/theirs',\n]";
    let texts = [
        DEBIAN.to_owned(),
        DEBIAN.replace('\n', "\r\n"),
        DEBIAN.trim_end().to_owned(),
        String::new(),
        "a=1;b=2".to_owned(),
        theirs.to_owned(),
        format!("a = 1\n{theirs} # theirs\nb = 2\n"),
        format!("{theirs}; b = 2\n"),
        "cgroup_device_acl = []\n".to_owned(),
        "cgroup_device_acl = [ \"/dev/null\" ]\ncgroup_device_acl = [ \"/dev/kvm\" ]\n".to_owned(),
    ];
    let mut states: Vec<FileState> = texts.iter().map(|text| file(text)).collect();
    states.push(FileState::Absent);
    prop::sample::select(states)
}

proptest! {
    #[test]
    fn every_wish_is_met_at_once_and_taking_all_back_restores_every_byte(
        before in before_us(), wishes in prop::collection::vec(asked(), 1..5)
    ) {
        let mut state = host("");
        state.version = Some(LibvirtVersion { major: 9, minor: 0, patch: 0 });
        state.file = before.clone();
        for wish in &wishes {
            apply(wish, &mut state);
            let listed = nodes(&state);
            for wanted in wish.wanted() {
                let allowed = match &listed {
                    Some(listed) => listed.contains(&wanted.node),
                    None => BASE.contains(&wanted.node.as_str()),
                };
                prop_assert!(allowed, "{} is not in {listed:?}", wanted.node);
            }
            prop_assert_eq!(written(&QemuAcl::diff(wish, &state)), None, "a second run changes nothing");
        }
        apply(&present(&[]), &mut state);
        let (was, is) = (before.bytes().map(<[u8]>::to_vec), state.file.bytes().map(<[u8]>::to_vec));
        prop_assert_eq!(is, was);
        prop_assert!(state.owned.is_empty(), "{:?}", state.owned);
    }
}

/// Everything that a document can say.
fn anything() -> impl Strategy<Value = Spec> {
    let absent = prop::sample::subsequence(vec!["/dev/kvm", "/dev/theirs", "/dev/none", "/dev/vfio/9"], 0..4);
    let to_come = prop::sample::subsequence(
        vec![
            ("0000:06:00.1", Ok(IommuGroup::Of("0000:06:00.1".parse().unwrap()))),
            ("0000:06:00.2", Err(Blocker::Resource("sriov".into()))),
            ("0000:06:00.3", Err(Blocker::Host)),
        ],
        0..3,
    );
    (asked(), absent, any::<bool>(), to_come).prop_map(|(mut spec, absent, exact, to_come)| {
        let here: Vec<&str> = spec.acl.present.iter().map(|entry| entry.value.as_str()).collect();
        let absent: Vec<&str> = absent.into_iter().filter(|node| !here.contains(node)).collect();
        spec.acl.absent = entries(&absent);
        if exact {
            spec.acl.exact = true;
            let more = INDISPENSABLE.iter().filter(|node| !here.contains(node)).copied().collect::<Vec<_>>();
            spec.acl.present.extend(entries(&more));
        }
        if spec.acl.vfio_groups {
            spec.handed.extend(groups(&to_come).handed);
        }
        spec
    })
}

proptest! {
    #[test]
    fn whatever_was_there_a_second_run_changes_nothing(
        before in before_us(), stale in any::<bool>(), used in any::<bool>(),
        wishes in prop::collection::vec(anything(), 1..5)
    ) {
        let mut state = host("");
        state.version = Some(LibvirtVersion { major: 9, minor: 0, patch: 0 });
        state.file = before;
        if stale {
            state.file = file("cgroup_device_acl = [ \"/dev/vfio/9\", \"/dev/null\", \"/dev/vfio/10\", ]");
        }
        if used {
            state.in_use.insert("/dev/vfio/10".to_owned(), vec!["0000:0a:00.0".parse().unwrap()]);
        }
        for wish in &wishes {
            apply(wish, &mut state);
            let again = QemuAcl::diff(wish, &state);
            prop_assert_eq!(written(&again), None);
            let done = |item: &ItemVerdict| matches!(item.verdict, Verdict::InSync | Verdict::Blocked { .. });
            prop_assert!(again.items.iter().all(done), "{:?}", again.items);
            let listed = nodes(&state);
            let listed: Vec<&str> = listed.iter().flatten().map(String::as_str).collect();
            prop_assert!(wish.acl.absent.iter().all(|entry| !listed.contains(&entry.value.as_str())), "{listed:?}");
            if stale && used && wishes.iter().all(|wish| wish.acl.vfio_groups) {
                prop_assert!(listed.contains(&"/dev/vfio/10"), "{listed:?}");
            }
        }
    }
}
