//! Whether the firmware started this kernel under Secure Boot.

use std::path::Path;

use super::{Check, Judgement};
use crate::host::{HostError, Kernels, ReadHost};

const EFI: &str = "/sys/firmware/efi";
/// Of the global variables' vendor (UEFI specification, 3.3): four bytes of attributes, then one of value.
const VARIABLE: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What the firmware says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureBoot {
    has_efi: bool,
    /// The variable's value; `None` where it is not shown.
    value: Option<u8>,
}

impl Check for SecureBoot {
    const NAME: &'static str = "secure-boot";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        let variable = host.read(Path::new(VARIABLE))?;
        let value = variable.and_then(|bytes| bytes.get(4).copied());
        Ok(Self { has_efi: host.exists(Path::new(EFI))?, value })
    }

    fn judge(&self) -> Judgement {
        match (self.has_efi, self.value) {
            (_, Some(1)) => Judgement::note("secure-boot", "on: the kernel may load signed modules only", VARIABLE)
                .remedy("sign modules that are built here (DKMS) with an enrolled key"),
            (_, Some(_)) => Judgement::good("secure-boot", "off", VARIABLE),
            (true, None) => Judgement::unknown("the firmware does not tell", VARIABLE),
            (false, None) => Judgement::good("secure-boot", "there is none: not booted by EFI", EFI),
        }
    }
}
