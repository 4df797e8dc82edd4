//! Losses, and the consent to them: narrow, by function and by reason, in the document.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::Allowed;
use crate::plan::{Because, Consented, LiftedBy, Objection, Reason};
use crate::types::{Entry, PciAddress, Place};

/// What of the host would go with a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The function.
    pub function: PciAddress,
    /// What would be lost.
    pub because: Because,
    /// From the function to the thing that uses it; never empty.
    pub chain: Vec<Reason>,
}

/// What the document allows, by function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consents(BTreeMap<PciAddress, BTreeMap<Because, Place>>);

impl Consents {
    /// Takes in an entry of `allow` that means `function`.
    pub(crate) fn add(&mut self, function: PciAddress, entry: &Entry<Allowed>) {
        let known = self.0.entry(function).or_default();
        for because in &entry.value.because {
            known.entry(because.value).or_insert_with(|| because.place.clone());
        }
    }

    /// Whether the document allows nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn to(&self, loss: &Loss) -> Option<Consented> {
        let place = self.0.get(&loss.function)?.get(&loss.because)?;
        loss.because.can_be_allowed().then(|| Consented {
            function: loss.function,
            because: loss.because,
            at: place.to_string(),
            chain: loss.chain.clone(),
        })
    }

    /// What is allowed of `losses`, if all of them are. `link` leads from the change to what is lost.
    ///
    /// # Errors
    /// The objection, where one of them is not allowed: it has the whole chain of each that is not.
    pub fn weigh(
        &self,
        subject: impl Into<String>,
        link: Vec<Reason>,
        losses: &[Loss],
    ) -> Result<Vec<Consented>, Box<Objection>> {
        let (allowed, refused): (Vec<_>, Vec<_>) =
            losses.iter().map(|loss| (loss, self.to(loss))).partition(|(_, to)| to.is_some());
        let refused: Vec<&Loss> = refused.into_iter().map(|(loss, _)| loss).collect();
        if refused.is_empty() {
            return Ok(allowed.into_iter().filter_map(|(_, to)| to).collect());
        }
        let because: BTreeSet<Because> = refused.iter().map(|loss| loss.because).collect();
        let mut chain = link;
        for reason in refused.iter().flat_map(|loss| &loss.chain) {
            // Losses of one function have links in common.
            if !chain.contains(reason) {
                chain.push(reason.clone());
            }
        }
        let lifted_by = lifted_by(&refused);
        Err(Box::new(Objection { because, ..Objection::new(subject, chain, lifted_by) }))
    }
}

/// The `allow` line to paste; where there is no consent, what the operator can do.
fn lifted_by(refused: &[&Loss]) -> LiftedBy {
    if refused.iter().any(|loss| !loss.because.can_be_allowed()) {
        return LiftedBy::Operator("booting from another disk: no document allows this loss".to_owned());
    }
    let mut by_function: BTreeMap<PciAddress, BTreeSet<Because>> = BTreeMap::new();
    for loss in refused {
        by_function.entry(loss.function).or_default().insert(loss.because);
    }
    let entries = by_function.into_iter().map(|(function, because)| {
        let words: Vec<&str> = because.into_iter().map(Because::as_str).collect();
        let words = match words.as_slice() {
            [word] => (*word).to_owned(),
            several => format!("[{}]", several.join(", ")),
        };
        format!("{{device: \"{function}\", because: {words}}}")
    });
    LiftedBy::Document(format!("allow: [{}]", entries.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(function: &str, because: Because) -> Loss {
        let reason = Reason::new("test", format!("{because} is on {function}")).remedy("move it");
        Loss { function: function.parse().unwrap(), because, chain: vec![reason] }
    }

    fn consents(entries: &[(&str, &[Because])]) -> Consents {
        let mut consents = Consents::default();
        for (line, (function, because)) in (1..).zip(entries) {
            let place = Place { file: "host.yaml".into(), line, column: 1 };
            let because = because.iter().map(|because| Entry::new(*because, place.clone())).collect();
            let device = crate::types::PinnedDevice {
                device: crate::types::DeviceRef::Function(function.parse().unwrap()),
                pin: crate::types::Pin::default(),
            };
            consents.add(function.parse().unwrap(), &Entry::new(Allowed { device, because }, place.clone()));
        }
        consents
    }

    const PF: &str = "0000:03:00.0";
    const VF: &str = "0000:03:10.0";

    #[test]
    fn every_loss_of_every_function_has_to_be_allowed() {
        let losses = [loss(PF, Because::DefaultRoute), loss(PF, Because::Address), loss(VF, Because::Guest)];
        let lifted_by = |allowed: &[(&str, &[Because])]| {
            consents(allowed)
                .weigh(PF, Vec::new(), &losses)
                .map(|consented| consented.len())
                .map_err(|o| o.lifted_by)
        };
        let paste = |text: &str| Err(LiftedBy::Document(text.to_owned()));
        assert_eq!(
            lifted_by(&[]),
            paste(
                "allow: [{device: \"0000:03:00.0\", because: [default-route, address]}, {device: \"0000:03:10.0\", because: guest}]"
            )
        );
        let rest = paste("allow: [{device: \"0000:03:00.0\", because: address}]");
        assert_eq!(lifted_by(&[(PF, &[Because::DefaultRoute]), (VF, &[Because::Guest])]), rest);
        let all: &[_] = &[(PF, &[Because::DefaultRoute, Because::Address][..]), (VF, &[Because::Guest])];
        assert_eq!(lifted_by(all), Ok(3));
        assert!(lifted_by(&[(VF, &[Because::DefaultRoute, Because::Address])]).is_err());
    }

    #[test]
    fn the_root_disk_is_never_allowed() {
        let losses = [loss(PF, Because::RootDisk), loss(PF, Because::Swap)];
        let objection = consents(&[(PF, &Because::ALL)]).weigh(PF, Vec::new(), &losses).unwrap_err();
        assert_eq!(objection.because, [Because::RootDisk].into());
        assert!(matches!(&objection.lifted_by, LiftedBy::Operator(_)), "{objection:?}");
    }
}
