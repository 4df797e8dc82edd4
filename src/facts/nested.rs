//! Whether guests can run guests of their own.

use std::path::Path;

use super::{Check, Judgement};
use crate::host::{HostError, Kernels, ReadHost};

const PARAMETERS: [&str; 2] =
    ["/sys/module/kvm_intel/parameters/nested", "/sys/module/kvm_amd/parameters/nested"];

/// The parameter's path and value, where one of the modules is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested(Option<(&'static str, String)>);

impl Check for Nested {
    const NAME: &'static str = "nested";

    fn read(host: &dyn ReadHost, _: &Kernels) -> Result<Self, HostError> {
        for path in PARAMETERS {
            if let Some(value) = host.text(Path::new(path))? {
                return Ok(Self(Some((path, value))));
            }
        }
        Ok(Self(None))
    }

    fn judge(&self) -> Judgement {
        let Some((path, value)) = &self.0 else {
            return Judgement::unknown("neither kvm_intel nor kvm_amd shows it", "/sys/module");
        };
        let text = match value.as_str() {
            "Y" | "1" => "on: guests can run guests",
            _ => "off: guests cannot run guests",
        };
        Judgement::good("nested", text, path)
    }
}
