//! What is asked for, by the `kernel_args` section and by others.

use crate::boot::is_meant;
use crate::document::Document;
use crate::engine::Facts;
use crate::engine::devices::refused_ids;
use crate::resources::vfio_ids;
use crate::types::KernelArg;

/// One argument that is asked for or forbidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The argument.
    pub arg: KernelArg,
    /// Where the document says so, or which section contributes it.
    pub origin: String,
    /// The argument and place of another item that says the opposite.
    pub contradicted_by: Option<(KernelArg, String)>,
}

impl Item {
    fn new(arg: KernelArg, origin: impl ToString) -> Self {
        Self { arg, origin: origin.to_string(), contradicted_by: None }
    }

    /// The item's name in reports.
    pub fn name(&self) -> String {
        self.arg.to_string()
    }
}

/// What of ours goes when it is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TakesBack {
    /// Everything: `kernel_args` is in the document.
    #[default]
    Everything,
    /// Only what other sections contribute: they are in the document, `kernel_args` is not.
    Contributions,
}

impl TakesBack {
    /// Whether this argument goes.
    pub fn includes(self, arg: &KernelArg) -> bool {
        self == Self::Everything || arg.is_named(VFIO_PCI_IDS)
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spec {
    /// Must be given, in this order.
    pub present: Vec<Item>,
    /// Must not be given: `name=value` exactly, or `name` with any value.
    pub absent: Vec<Item>,
    /// What of ours goes when it is not asked for.
    pub takes_back: TakesBack,
}

impl Spec {
    /// Both lists.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.present.iter().chain(&self.absent)
    }
}

/// The parameter that other sections contribute.
const VFIO_PCI_IDS: &str = "vfio-pci.ids";

/// Arguments that other sections ask for, with their origin; `None` where no section could ask for one.
///
/// `vfio-pci.ids=` comes from `vfio_pci.ids` where vfio-pci is built into an installed kernel: modprobe.d does not
/// reach it then.
fn contributed(document: &Document, facts: &Facts) -> Option<Vec<(KernelArg, String)>> {
    let ids = document.vfio_pci.as_ref()?.ids.as_ref()?;
    if !facts.kernels.vfio_pci_builtin() {
        return None;
    }
    // Ids that must not take effect are refused by their own section.
    let refused = refused_ids(document, facts);
    let ids: Vec<_> = ids.iter().filter(|entry| !refused.contains_key(&entry.value)).collect();
    let mut values: Vec<String> = Vec::new();
    for id in ids.iter().map(|entry| entry.value.to_string()) {
        if !values.contains(&id) {
            values.push(id);
        }
    }
    let value = values.join(",");
    let origin = ids.first().map(|entry| format!("vfio_pci.ids at {}", entry.place));
    // Too many are refused by the section itself.
    let origin = origin.filter(|_| value.len() <= vfio_ids::LONGEST);
    let arg = KernelArg::new(VFIO_PCI_IDS, Some(value));
    Some(origin.map(|origin| (arg, origin)).into_iter().collect())
}

pub(super) fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
    let contributed = contributed(document, facts);
    let takes_back = match (&document.kernel_args, &contributed) {
        (Some(_), _) => TakesBack::Everything,
        (None, Some(_)) => TakesBack::Contributions,
        (None, None) => return None,
    };
    let contributed = contributed.unwrap_or_default();
    let mut spec = Spec { takes_back, ..Spec::default() };
    let section = document.kernel_args.iter();
    let entries = section.clone().flat_map(|section| &section.present);
    let asked = entries.map(|entry| Item::new(entry.value.clone(), &entry.place));
    let items = asked.chain(contributed.into_iter().map(|(arg, origin)| Item::new(arg, origin)));
    for item in items {
        // The size before a `hugepages=` may come several times; anything else that is said twice is said once.
        let pair = item.arg.is_named("hugepagesz") || item.arg.is_named("hugepages");
        if pair || !spec.present.iter().any(|known| known.arg == item.arg) {
            spec.present.push(item);
        }
    }
    let absent = section.flat_map(|section| &section.absent);
    spec.absent = absent.map(|entry| Item::new(entry.value.clone(), &entry.place)).collect();
    mark_contradictions(&mut spec);
    Some(spec)
}

/// Two values for one single-valued parameter, or an argument that is asked for and forbidden.
fn mark_contradictions(spec: &mut Spec) {
    let wishes = crate::boot::wanted(&spec.present.iter().map(|item| item.arg.clone()).collect::<Vec<_>>());
    let present = spec.present.clone();
    let args: Vec<&KernelArg> = present.iter().map(|item| &item.arg).collect();
    for (item, wanted) in spec.present.iter_mut().zip(&wishes) {
        let conflict = wanted.conflicts(&args).first().and_then(|&at| present.get(at));
        let forbidden = spec.absent.iter().find(|absent| is_meant(&absent.arg, &item.arg));
        item.contradicted_by = conflict.or(forbidden).map(|other| (other.arg.clone(), other.origin.clone()));
    }
    for item in &mut spec.absent {
        let wanted = present.iter().find(|wanted| is_meant(&item.arg, &wanted.arg));
        item.contradicted_by = wanted.map(|wanted| (wanted.arg.clone(), wanted.origin.clone()));
    }
}
