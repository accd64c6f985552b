//! What one body may cost in memory once it is a tree, whatever its size on the wire.

/// Most objects (maps) in one decoded body: an empty `{}` of three bytes becomes several hundred in
/// memory.
const OBJECTS_MAX: u32 = 50_000;
/// Most values of any sort in one decoded body.
const VALUES_MAX: u32 = 1_000_000;

/// Most items of one decoded list; each has a budget of its own.
pub(crate) const LIST_ITEMS_MAX: usize = 100_000;

/// Counts down while a body is read.
#[derive(Debug)]
pub(crate) struct Budget {
    objects: u32,
    values: u32,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            objects: OBJECTS_MAX,
            values: VALUES_MAX,
        }
    }

    /// One more value; Err with the reason when there are too many.
    pub(crate) fn value(&mut self) -> Result<(), String> {
        self.values = self.values.checked_sub(1).ok_or_else(|| {
            format!("the body holds more than {VALUES_MAX} values: split it into several objects")
        })?;
        Ok(())
    }

    /// One more object; Err with the reason when there are too many.
    pub(crate) fn object(&mut self) -> Result<(), String> {
        self.objects = self.objects.checked_sub(1).ok_or_else(|| {
            format!("the body nests more than {OBJECTS_MAX} objects: split it into several objects")
        })?;
        self.value()
    }
}
