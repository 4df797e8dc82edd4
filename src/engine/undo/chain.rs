//! Following one thing back through what was done to it.

/// What a generation did to one thing.
#[derive(Debug, Clone)]
pub(super) struct Touch<T> {
    /// The generation's number.
    pub(super) generation: u32,
    /// What stood there before.
    pub(super) before: T,
    /// What it left.
    pub(super) left: T,
    /// Whether it is known to have been made; what is not may be there or not.
    pub(super) certain: bool,
}

/// What `now` was before all of `touches` (in the order in which they were made): the state before the first of them.
///
/// # Errors
/// The touch that did not leave what was found afterwards, and what that was: somebody else changed it.
pub(super) fn first_state<'t, T>(
    touches: &'t [Touch<T>],
    now: &'t T,
    same: impl Fn(&T, &T) -> bool,
    is_left: impl Fn(&T, &Touch<T>) -> bool,
) -> Result<&'t T, (&'t Touch<T>, &'t T)> {
    let Some(first) = touches.first() else { return Ok(now) };
    // Whoever has put it back already has done what is asked for.
    if same(now, &first.before) {
        return Ok(&first.before);
    }
    let mut stood = now;
    for touch in touches.iter().rev() {
        let was_not_made = || !touch.certain && same(stood, &touch.before);
        if !is_left(stood, touch) && !was_not_made() {
            return Err((touch, stood));
        }
        stood = &touch.before;
    }
    Ok(stood)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(generation: u32, before: u8, left: u8, certain: bool) -> Touch<u8> {
        Touch { generation, before, left, certain }
    }

    fn first(touches: &[Touch<u8>], now: u8) -> Result<u8, (u32, u8)> {
        let found = first_state(touches, &now, |a, b| a == b, |stood, touch| *stood == touch.left);
        found.copied().map_err(|(touch, stood)| (touch.generation, *stood))
    }

    #[test]
    fn an_unbroken_chain_leads_to_its_begin() {
        let touches = [touch(1, 0, 1, true), touch(2, 1, 2, true), touch(4, 2, 3, true)];
        assert_eq!(first(&touches, 3), Ok(0));
        assert_eq!(first(&touches, 0), Ok(0), "somebody has put it back already");
        assert_eq!(first(&touches, 2), Err((4, 2)));
        assert_eq!(first(&[], 7), Ok(7));
    }

    #[test]
    fn a_change_between_two_generations_breaks_it() {
        assert_eq!(first(&[touch(1, 0, 1, true), touch(2, 9, 2, true)], 2), Err((1, 9)));
    }

    #[test]
    fn what_may_not_have_been_made_fits_both_ways() {
        let touches = [touch(1, 0, 1, true), touch(2, 1, 2, false), touch(3, 1, 3, true)];
        assert_eq!(first(&touches, 3), Ok(0), "the second was not made");
        let touches = [touch(1, 0, 1, true), touch(2, 1, 2, false)];
        assert_eq!((first(&touches, 1), first(&touches, 2), first(&touches, 9)), (Ok(0), Ok(0), Err((2, 9))));
    }
}
