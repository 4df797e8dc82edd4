//! Whether a parameter has a value, as the kernel prints it (`kernel/params.c`).

/// Whether a parameter that reads `shown` has the value that was asked for; `None` is a bare name.
pub(super) fn is_same(wanted: Option<&str>, shown: &str) -> bool {
    let shown = shown.trim();
    let Some(wanted) = wanted else { return matches!(shown, "Y" | "1") };
    if wanted == shown {
        return true;
    }
    match shown {
        // `param_get_bool` prints Y or N; `kstrtobool` reads more.
        "Y" | "N" => boolean(wanted) == Some(shown == "Y"),
        // Arrays are printed as far as they were set.
        _ if shown.contains(',') || wanted.contains(',') => {
            let (wanted, shown): (Vec<&str>, Vec<&str>) =
                (wanted.split(',').collect(), shown.split(',').collect());
            wanted.len() <= shown.len() && wanted.iter().zip(&shown).all(|(w, s)| is_same(Some(w), s))
        }
        _ => integer(wanted).is_some_and(|wanted| integer(shown) == Some(wanted)),
    }
}

/// `kstrtobool`.
fn boolean(text: &str) -> Option<bool> {
    let mut chars = text.chars();
    match (chars.next()?, chars.next()) {
        ('y' | 'Y' | 't' | 'T' | '1', _) | ('o' | 'O', Some('n' | 'N')) => Some(true),
        ('n' | 'N' | 'f' | 'F' | '0', _) | ('o' | 'O', Some('f' | 'F')) => Some(false),
        _ => None,
    }
}

/// An integer as `kstrtol` with base 0 reads it, in the 32 bits that most parameters have where it fits there:
/// -1 and 4294967295 are the same.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hex {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None if digits.len() > 1 && digits.starts_with('0') => {
            i128::from(u64::from_str_radix(digits, 8).ok()?)
        }
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    let value = if negative { -value } else { value };
    let wrapped = if (-(1 << 31)..0).contains(&value) { value + (1 << 32) } else { value };
    Some(wrapped)
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn values_compare_as_the_kernel_prints_them() {
        for (wanted, shown) in [
            (Some("1"), "Y"),
            (Some("on"), "Y"),
            (Some("off"), "N"),
            (Some("0"), "N"),
            (Some("y"), "Y"),
            (None, "Y"),
            (Some("0x10"), "16"),
            (Some("16"), "0x10"),
            (Some("-1"), "4294967295"),
            (Some("010"), "8"),
            (Some("1,2"), "1,2,0"),
            (Some("auto"), "auto"),
            (Some("-1"), "-1"),
            (Some("0"), "0"),
        ] {
            assert!(is_same(wanted, shown), "{wanted:?} {shown}");
        }
        for (wanted, shown) in [
            (Some("1"), "N"),
            (Some("0"), "-1"),
            (Some("x"), "Y"),
            (Some("1,2,3"), "1,2"),
            (None, "N"),
            (Some("a"), "(null)"),
            (Some(""), "0"),
        ] {
            assert!(!is_same(wanted, shown), "{wanted:?} {shown}");
        }
    }
}
