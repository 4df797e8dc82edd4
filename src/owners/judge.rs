//! What comes of what other programs hold: pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Force, Found, Holding, Outcome, OwnerReport, Setting, Wanted};
use crate::boot;
use crate::guard::{Consents, Loss};
use crate::plan::{Because, Consented, LiftedBy, Objection, Reason, Warning};
use crate::types::{DriverName, KernelArg, PciAddress};

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// Every holding, for `status`.
    pub reports: Vec<OwnerReport>,
    /// Functions that are not bound.
    pub drivers: BTreeMap<PciAddress, Objection>,
    /// PFs whose count is not changed.
    pub counts: BTreeMap<PciAddress, Objection>,
    /// Arguments that are not changed.
    pub arguments: BTreeMap<String, Objection>,
    /// What the document allows.
    pub allowed: Vec<Consented>,
    /// What the operator should know.
    pub warnings: Vec<Warning>,
}

/// What of the document a holding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Driver(PciAddress),
    Count(PciAddress),
    Argument(String),
}

impl Item {
    fn resource(&self) -> &'static str {
        match self {
            Self::Driver(_) => "bindings",
            Self::Count(_) => "sriov",
            Self::Argument(_) => "kernel_args",
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Driver(function) | Self::Count(function) => function.to_string(),
            Self::Argument(arg) => arg.clone(),
        }
    }
}

/// How a holding stands to what is wanted.
#[derive(Debug)]
struct Stand {
    item: Item,
    /// What the document says, as a sentence, and where.
    wants: Reason,
    same: bool,
    settled: bool,
}

impl Stand {
    /// Whether a holding of this force stands against what is wanted.
    fn is_against(&self, force: Force) -> bool {
        force == Force::Meddles || !self.same
    }
}

/// Judges what `owners` hold.
pub fn judge(wanted: &Wanted, owners: &[(&'static str, Found)], consents: &Consents) -> Judged {
    let mut judged = Judged::default();
    let mut contested: BTreeMap<Item, Vec<(&'static str, &Holding, Stand)>> = BTreeMap::new();
    for (owner, found) in owners {
        let note = |reason: &Reason| Warning {
            resource: Cow::Borrowed("owners"),
            subject: (*owner).to_owned(),
            reason: reason.clone(),
        };
        judged.warnings.extend(found.notes.iter().map(note));
        for holding in &found.holdings {
            for stand in stands(wanted, holding) {
                if stand.is_against(holding.force) && holding.force != Force::Weak {
                    contested.entry(stand.item.clone()).or_default().push((owner, holding, stand));
                } else {
                    judged.warn(owner, holding, &stand);
                }
            }
        }
    }
    for (item, contesting) in contested {
        judged.contest(&item, &contesting, consents);
    }
    judged.reports.sort();
    judged
}

impl Judged {
    fn report(&mut self, owner: &'static str, item: &Item, holding: &Holding, outcome: Outcome) {
        let (item, reason, wins) = (item.name(), reason(holding, holding.text.clone()), holding.wins);
        self.reports.push(OwnerReport { owner, item, outcome, reason, wins });
    }

    fn warn(&mut self, owner: &'static str, holding: &Holding, stand: &Stand) {
        let (outcome, text) = if !stand.is_against(holding.force) {
            (Outcome::Same, format!("{}, as this document does", holding.text))
        } else {
            (Outcome::Warned, format!("{}, and {}; {}", holding.text, stand.wants.text, holding.wins))
        };
        self.report(owner, &stand.item, holding, outcome);
        self.warnings.push(Warning {
            resource: Cow::Borrowed(stand.item.resource()),
            subject: stand.item.name(),
            reason: reason(holding, text),
        });
    }

    /// Consent lifts it, and nothing is said any more; what is as it should be stays; else it is refused.
    fn contest(&mut self, item: &Item, contesting: &[(&'static str, &Holding, Stand)], consents: &Consents) {
        let Some((.., Stand { wants, settled, .. })) = contesting.first() else { return };
        let chain = |holding: &Holding| {
            vec![reason(holding, holding.text.clone()), Reason::new("who-wins", holding.wins)]
        };
        let holdings = || contesting.iter().map(|(_, holding, _)| *holding);
        let weighed = match item {
            Item::Driver(function) | Item::Count(function) => {
                let loss = |holding: &Holding| Loss {
                    function: *function,
                    because: Because::OtherOwner,
                    chain: chain(holding),
                };
                let losses: Vec<Loss> = holdings().map(loss).collect();
                consents.weigh(item.name(), vec![wants.clone()], &losses)
            }
            Item::Argument(arg) => {
                let reasons = holdings().flat_map(chain);
                let chain = std::iter::once(wants.clone()).chain(reasons).collect();
                let remedies: Vec<&str> = holdings().map(|holding| holding.remedy.as_str()).collect();
                let lifted_by = LiftedBy::Operator(remedies.join("; "));
                let because = [Because::OtherOwner].into();
                Err(Box::new(Objection { because, ..Objection::new(arg, chain, lifted_by) }))
            }
        };
        let outcome = match weighed {
            Ok(_) => Outcome::Allowed,
            Err(_) if *settled => {
                for (owner, holding, stand) in contesting {
                    self.warn(owner, holding, stand);
                }
                return;
            }
            Err(_) => Outcome::Refused,
        };
        for (owner, holding, _) in contesting {
            self.report(owner, item, holding, outcome);
        }
        match (weighed, item) {
            (Ok(allowed), _) => self.allowed.extend(allowed),
            (Err(objection), Item::Driver(function)) => drop(self.drivers.insert(*function, *objection)),
            (Err(objection), Item::Count(pf)) => drop(self.counts.insert(*pf, *objection)),
            (Err(objection), Item::Argument(arg)) => drop(self.arguments.insert(arg.clone(), *objection)),
        }
    }
}

fn reason(holding: &Holding, text: String) -> Reason {
    Reason::new("other-owner", text).at(&holding.at).remedy(&holding.remedy)
}

/// Everything in the document that a holding is about.
fn stands(wanted: &Wanted, holding: &Holding) -> Vec<Stand> {
    match &holding.setting {
        Setting::Driver(function, driver) => driver_stands(wanted, *function, driver.as_deref()),
        Setting::VfCount(pf, count) => {
            let stand = wanted.counts.get(pf).map(|desired| Stand {
                item: Item::Count(*pf),
                wants: wants_count(*pf, desired.value).at(&desired.origin),
                same: *count == Some(desired.value),
                settled: desired.settled,
            });
            stand.into_iter().collect()
        }
        Setting::Argument(arg) => argument_stands(wanted, arg),
    }
}

fn driver_stands(wanted: &Wanted, function: PciAddress, driver: Option<&str>) -> Vec<Stand> {
    let driver: Option<DriverName> = driver.and_then(|driver| driver.parse().ok());
    let is_vfio = driver.as_ref().is_some_and(DriverName::is_vfio);
    let mut stands = Vec::new();
    if let Some(desired) = wanted.drivers.get(&function) {
        let text = format!("this document gives {function} to {}", desired.value);
        stands.push(Stand {
            item: Item::Driver(function),
            wants: Reason::new("wants-driver", text).at(&desired.origin),
            // libvirt and users choose variants; to the host one vfio driver is as good as another.
            same: driver.as_ref() == Some(&desired.value) || (is_vfio && desired.value.is_vfio()),
            settled: desired.settled,
        });
    }
    // A PF makes VFs through its own driver alone.
    if let Some(desired) = wanted.counts.get(&function).filter(|desired| desired.value > 0 && is_vfio) {
        stands.push(Stand {
            item: Item::Count(function),
            wants: wants_count(function, desired.value).at(&desired.origin),
            same: false,
            settled: desired.settled,
        });
    }
    stands
}

fn wants_count(pf: PciAddress, count: u16) -> Reason {
    Reason::new("wants-vfs", format!("this document gives {pf} the VF count {count}"))
}

fn argument_stands(wanted: &Wanted, arg: &KernelArg) -> Vec<Stand> {
    let mut stands = Vec::new();
    for desired in wanted.present.iter().filter(|desired| desired.value.same_name(arg)) {
        let one = boot::wanted(std::slice::from_ref(&desired.value));
        let same = one.iter().all(|one| one.given_by(&[arg]));
        let conflicts = one.iter().any(|one| !one.conflicts(&[arg]).is_empty());
        // Of a parameter that adds up, another value is somebody else's.
        if same || conflicts {
            stands.push(Stand {
                item: Item::Argument(desired.value.to_string()),
                wants: Reason::new("wants-argument", format!("this document asks for {}", desired.value))
                    .at(&desired.origin),
                same,
                settled: desired.settled,
            });
        }
    }
    for desired in wanted.absent.iter().filter(|desired| boot::is_meant(&desired.value, arg)) {
        stands.push(Stand {
            item: Item::Argument(desired.value.to_string()),
            wants: Reason::new("wants-no-argument", format!("this document takes {} away", desired.value))
                .at(&desired.origin),
            same: false,
            settled: desired.settled,
        });
    }
    stands
}
