//! What systemd starts at boot, from its files alone.

use std::path::Path;

use super::{HostError, ReadHost};

/// Where `systemctl enable` makes its links.
const UNITS: &str = "/etc/systemd/system";

/// Whether a unit is started at boot: `systemctl enable` makes a link in a `.wants` directory.
///
/// # Errors
/// When a directory cannot be read.
pub fn is_enabled(host: &dyn ReadHost, unit: &str) -> Result<bool, HostError> {
    let units = Path::new(UNITS);
    for name in host.list(units)?.unwrap_or_default() {
        if name.ends_with(".wants") && host.exists(&units.join(name).join(unit))? {
            return Ok(true);
        }
    }
    Ok(false)
}
