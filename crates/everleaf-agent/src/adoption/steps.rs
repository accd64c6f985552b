//! What follows from what was found, in which order: decisions only.

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    WriteRecord,
    SwitchOff,
    Import,
    NameCurrent,
    SwitchOn,
    RemoveRecord,
}

/// What there is before an adoption.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// The record says already what will have been changed.
    pub(super) is_recorded: bool,
    /// The kubelet renews.
    pub(super) is_renewing: bool,
    /// The certificate is the store's current one.
    pub(super) is_current: bool,
    /// The kubeconfig names that.
    pub(super) is_named: bool,
}

/// The steps of an adoption. What was changed is on disk before anything is; the kubelet's renewal
/// is off before a credential moves; the kubeconfig names what is there already.
pub(super) fn adoption(before: Before) -> Vec<Step> {
    let steps = [
        (!before.is_recorded, Step::WriteRecord),
        (before.is_renewing, Step::SwitchOff),
        (!before.is_current, Step::Import),
        (!before.is_named, Step::NameCurrent),
    ];
    wanted(&steps)
}

/// What there is before a node is handed back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adopted {
    /// The store has a current certificate.
    pub(super) has_current: bool,
    /// The kubeconfig names that.
    pub(super) is_named: bool,
    /// The kubelet renewed before the adoption, and does not now.
    pub(super) is_switched_off: bool,
}

/// The steps on the way back. The kubelet's renewal is on again when it can find its certificate;
/// the record goes last, so that what is interrupted is found by the next call.
pub(super) fn hand_back(adopted: Adopted) -> Vec<Step> {
    let steps = [
        (adopted.has_current && !adopted.is_named, Step::NameCurrent),
        (adopted.is_switched_off, Step::SwitchOn),
        (true, Step::RemoveRecord),
    ];
    wanted(&steps)
}

fn wanted(steps: &[(bool, Step)]) -> Vec<Step> {
    let wanted = steps.iter().filter(|(is_wanted, _)| *is_wanted);
    wanted.map(|(_, step)| *step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adoption_writes_first_what_it_will_change_and_names_last() {
        let before = |is_recorded, is_renewing, is_current, is_named| Before {
            is_recorded,
            is_renewing,
            is_current,
            is_named,
        };
        let all = adoption(before(false, true, false, false));
        let expected = [
            Step::WriteRecord,
            Step::SwitchOff,
            Step::Import,
            Step::NameCurrent,
        ];
        assert_eq!(all, expected);
        assert_eq!(adoption(before(true, false, true, true)), []);
        // Interrupted anywhere, the rest is left, in the same order.
        assert_eq!(adoption(before(true, true, false, false)), expected[1..]);
        assert_eq!(adoption(before(true, false, false, false)), expected[2..]);
        assert_eq!(adoption(before(true, false, true, false)), expected[3..]);
    }

    #[test]
    fn on_the_way_back_the_record_goes_last() {
        let adopted = |has_current, is_named, is_switched_off| Adopted {
            has_current,
            is_named,
            is_switched_off,
        };
        let all = hand_back(adopted(true, false, true));
        let expected = [Step::NameCurrent, Step::SwitchOn, Step::RemoveRecord];
        assert_eq!(all, expected);
        assert_eq!(hand_back(adopted(true, true, true)), expected[1..]);
        assert_eq!(hand_back(adopted(true, true, false)), expected[2..]);
        // An adoption that ended before there was one: the kubeconfig is as it was.
        assert_eq!(hand_back(adopted(false, false, true)), expected[1..]);
    }
}
