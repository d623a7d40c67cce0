//! Signals of `STOPSIGNAL`: by number, or by name with or without `SIG`.

/// The names of signal(7), without `SIG`; the real-time ones are counted from their ends.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether `text` names a signal as Docker sees it: any number but 0 (even ones that no system has), or a name in any case.
#[must_use]
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = crate::goformat::to_upper(text);
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    NAMES.contains(&name) || is_real_time(name)
}

/// `RTMIN+1` to `RTMIN+15` and `RTMAX-1` to `RTMAX-14`.
fn is_real_time(name: &str) -> bool {
    let (offset, max) = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(offset), _) => (offset, 15),
        (_, Some(offset)) => (offset, 14),
        _ => return false,
    };
    !offset.starts_with(['0', '+']) && offset.parse::<u32>().is_ok_and(|offset| (1..=max).contains(&offset))
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals() {
        for good in ["9", "-1", "999", "+9", "SIGTERM", "term", "SigRtMin+15", "RTMAX-14", "CLD", "rtmin"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in
            ["0", "-0", "", "SIG", "SIGSIGTERM", "RTMIN+16", "RTMAX-15", "RTMIN+01", "TERM ", "99999999999999999999"]
        {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
