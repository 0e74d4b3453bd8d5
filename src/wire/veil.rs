//! What a client may not see of a document.

/// What is hidden in the frames of one group.
///
/// Paths are dotted and mean what MongoDB means by them in a projection: they go through arrays of documents. The
/// default shows all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Veil {
    /// Paths of the document that are left out.
    pub hidden_paths: Vec<String>,
    /// If given, only these paths of the document are shown (less those hidden).
    pub shown_paths: Option<Vec<String>>,
    /// Whether `updateDescription` is shown at all. What it names of the document is under the veil like the document.
    pub update_description: bool,
}

impl Default for Veil {
    fn default() -> Self {
        Self {
            hidden_paths: Vec::new(),
            shown_paths: None,
            update_description: true,
        }
    }
}

impl Veil {
    /// Whether no path is hidden.
    pub fn is_clear(&self) -> bool {
        self.hidden_paths.is_empty() && self.shown_paths.is_none()
    }

    /// Returns the veil at the root of the document.
    pub(super) fn shade(&self) -> Shade<'_> {
        Shade {
            hidden: self.hidden_paths.iter().map(String::as_str).collect(),
            shown: self
                .shown_paths
                .as_ref()
                .map(|paths| paths.iter().map(String::as_str).collect()),
        }
    }
}

/// The veil at one place inside a document: the rests of the paths that lead through it.
#[derive(Clone, Debug)]
pub(super) struct Shade<'a> {
    hidden: Vec<&'a str>,
    shown: Option<Vec<&'a str>>,
}

/// How much of a field is seen.
pub(super) enum Sight<'a> {
    /// Nothing: the field is left out.
    Hidden,
    /// All of it.
    Whole,
    /// What the veil inside it leaves.
    Part(Shade<'a>),
}

impl<'a> Shade<'a> {
    /// Whether a value that is no document (nor an array) is seen here. Under an inclusive projection of something
    /// inside, MongoDB shows no scalar.
    pub(super) fn shows_scalars(&self) -> bool {
        self.shown.is_none()
    }

    /// Returns how the field `name` is seen.
    pub(super) fn field(&self, name: &str) -> Sight<'a> {
        let mut hidden = Vec::new();
        for path in &self.hidden {
            match step(path, name) {
                Step::Ends => return Sight::Hidden,
                Step::Goes(rest) => hidden.push(rest),
                Step::Misses => (),
            }
        }
        let mut shown = None;
        if let Some(paths) = &self.shown {
            let mut inside = Vec::new();
            let mut whole = false;
            for path in paths {
                match step(path, name) {
                    Step::Ends => whole = true,
                    Step::Goes(rest) => inside.push(rest),
                    Step::Misses => (),
                }
            }
            if !whole && inside.is_empty() {
                return Sight::Hidden;
            }
            shown = (!whole).then_some(inside);
        }
        if hidden.is_empty() && shown.is_none() {
            Sight::Whole
        } else {
            Sight::Part(Shade { hidden, shown })
        }
    }

    /// Returns how what stands at the dotted `path` is seen: a key of `updatedFields` or a name in `removedFields`.
    ///
    /// Segments of digits may be places in an array, over which projections pass, or names; what is hidden under
    /// either reading is hidden.
    pub(super) fn path(&self, path: &str) -> Sight<'a> {
        let mut here = self.clone();
        let mut whole = false;
        for segment in path.split('.') {
            let is_index = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
            match here.field(segment) {
                Sight::Hidden if is_index && here.shown.is_some() && !here.hides(segment) => (),
                Sight::Hidden => return Sight::Hidden,
                Sight::Whole if is_index => (),
                Sight::Whole => {
                    whole = true;
                    break;
                }
                Sight::Part(inside) if is_index => here.hidden.extend(inside.hidden),
                Sight::Part(inside) => here = inside,
            }
        }
        if whole || (here.hidden.is_empty() && here.shown.is_none()) {
            Sight::Whole
        } else {
            Sight::Part(here)
        }
    }

    fn hides(&self, name: &str) -> bool {
        self.hidden
            .iter()
            .any(|path| matches!(step(path, name), Step::Ends))
    }
}

enum Step<'a> {
    Misses,
    Ends,
    Goes(&'a str),
}

fn step<'a>(path: &'a str, name: &str) -> Step<'a> {
    match path.strip_prefix(name) {
        Some("") => Step::Ends,
        Some(rest) => rest.strip_prefix('.').map_or(Step::Misses, Step::Goes),
        None => Step::Misses,
    }
}
