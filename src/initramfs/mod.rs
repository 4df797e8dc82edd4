//! Initramfs generators: one file each behind one small trait.

use crate::engine::Means;
use crate::host::ReadHost;
use crate::plan::Reason;
pub fn rebuild_command(_host: &dyn ReadHost) -> Means {
    Means::Unknown(Reason::new("stub", "stub"))
}
#[derive(Debug, serde::Serialize)]
pub struct Summary {}
impl Summary {
    pub fn of(_: &dyn ReadHost) -> Self {
        Self {}
    }
}
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("?")
    }
}
