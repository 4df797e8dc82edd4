//! What the unit at boot does about functions that come late.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reconcile::document::Document;
use reconcile::engine::generations::Entry;
use reconcile::engine::{Engine, Memory, Outcome, Scope, Selection, Silent};
use reconcile::host::{FileKind, Host, HostError, Reach, ReadHost, SimulatedHost, StepError};
use reconcile::plan::{FileState, Step};

use crate::world::*;

/// A machine on which a function appears when it has been asked for some time, and on which every write takes long.
struct Late {
    host: SimulatedHost<'static>,
    absent: PathBuf,
    hidden_until: Cell<Option<Instant>>,
    write_takes: Duration,
}

impl Late {
    fn hides(&self, path: &Path) -> bool {
        path.starts_with(&self.absent) && self.hidden_until.get().is_some_and(|until| Instant::now() < until)
    }

    fn or_none<T>(
        &self,
        path: &Path,
        read: impl Fn(&SimulatedHost<'static>) -> Result<Option<T>, HostError>,
    ) -> Result<Option<T>, HostError> {
        if self.hides(path) { Ok(None) } else { read(&self.host) }
    }
}

impl ReadHost for Late {
    fn reach(&self) -> Reach {
        self.host.reach()
    }
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        self.or_none(path, |host| host.read(path))
    }
    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        self.host.file_state(path)
    }
    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        self.or_none(path, |host| host.kind(path))
    }
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        self.or_none(path, |host| host.read_link(path))
    }
    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        let names = self.or_none(path, |host| host.list(path))?;
        let shown = |name: &String| !self.hides(&path.join(name));
        Ok(names.map(|names| names.into_iter().filter(shown).collect()))
    }
}

impl Host for Late {
    fn execute(&mut self, step: &Step) -> Result<(), StepError> {
        std::thread::sleep(self.write_takes);
        self.host.execute(step)
    }
    fn remember(&mut self, memory: &Memory) -> Result<(), StepError> {
        self.host.remember(memory)
    }
    fn record(&mut self, entry: &Entry) -> Result<(), StepError> {
        self.host.record(entry)
    }
    fn as_read(&self) -> &dyn ReadHost {
        self
    }
}

/// A boot at which `absent` appears after `comes_after`.
fn boot(document: &Document, absent: &str, comes_after: Duration, write_takes: Duration) -> (Late, Outcome) {
    let hidden_until = Cell::new(Some(Instant::now() + comes_after));
    let absent = Path::new("/sys/bus/pci/devices").join(absent);
    let mut host = Late { host: machine(), absent, hidden_until, write_takes };
    let mut memory = Memory::default();
    let selection = Selection { scope: Scope::Boot, ..Selection::default() };
    let (progress, wait) = (&mut Silent, Duration::from_millis(600));
    let mut engine = Engine {
        document,
        selection: &selection,
        memory: &mut memory,
        progress,
        wait,
        known: None,
        saved: None,
    };
    let outcome = engine.run(&mut host).unwrap();
    (host, outcome)
}

fn driver(host: &Late, address: &str) -> Option<String> {
    host.host.link_name(&attribute(address, "driver")).unwrap()
}

#[test]
fn a_slow_write_does_not_use_up_the_time_of_those_that_come_late() {
    let document = both(devices(&[device(GPU)]), sriov(&[(PF, 2, None)]));
    let (host, outcome) = boot(&document, GPU, Duration::from_millis(1100), Duration::from_millis(800));
    assert_eq!(driver(&host, GPU).as_deref(), Some("vfio-pci"), "{:#?}", outcome.last);
}

#[test]
fn a_function_that_a_filter_selects_is_waited_for_as_well() {
    let document = devices(&[device("10de:0e0a")]);
    let (host, outcome) = boot(&document, AUDIO, Duration::from_millis(250), Duration::ZERO);
    assert_eq!(driver(&host, AUDIO).as_deref(), Some("vfio-pci"), "{:#?}", outcome.last);
}

#[test]
fn what_never_comes_is_waited_for_once_and_named() {
    let document = devices(&[device("10de:0e0a"), device("0000:77:00.0"), device(GPU)]);
    let begun = Instant::now();
    let (host, outcome) = boot(&document, AUDIO, Duration::from_secs(3600), Duration::ZERO);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(driver(&host, GPU).as_deref(), Some("vfio-pci"), "what is present is done");
    let blocked: Vec<String> = outcome
        .last
        .items()
        .filter(|(_, item)| shown(&item.verdict).contains("missing-function"))
        .map(|(_, item)| item.item.clone())
        .collect();
    assert_eq!(blocked.len(), 2, "{blocked:?}");
}
