//! Path templates: `/{collection}/_streams/{name}`, `/public/*`.

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// `*` at the end: one more segment at least.
    takes_the_rest: bool,
    /// A slash at the end must be in the request too; without it the request may have one.
    ends_in_slash: bool,
}

#[derive(Debug)]
enum Segment {
    Exactly(String),
    Named(String),
}

impl Template {
    /// Parses a template; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let (path, ends_in_slash) = path
            .strip_suffix('/')
            .map_or((path, false), |path| (path, true));
        let mut parts: Vec<&str> = path.split('/').collect();
        let takes_the_rest = parts.last() == Some(&"*");
        if takes_the_rest {
            parts.pop();
        }
        let segments = parts.into_iter().map(segment).collect::<Result<_, _>>()?;
        Ok(Self {
            segments,
            takes_the_rest,
            ends_in_slash,
        })
    }

    /// Matches a whole path; the names and what they stand for.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let path = path.strip_prefix('/')?;
        let path = match (path.strip_suffix('/'), self.ends_in_slash) {
            (Some(shorter), _) => shorter,
            (None, true) => return None,
            (None, false) => path,
        };
        let mut given = path.split('/');
        let mut bound = Vec::new();
        for segment in &self.segments {
            let found = given.next()?;
            match segment {
                Segment::Exactly(text) if text == found => (),
                Segment::Named(name) if !found.is_empty() => {
                    bound.push((name.clone(), found.to_owned()))
                }
                Segment::Exactly(_) | Segment::Named(_) => return None,
            }
        }
        let rest: Vec<&str> = given.collect();
        if rest.is_empty() == self.takes_the_rest {
            return None;
        }
        if self.takes_the_rest {
            bound.push(("*".to_owned(), rest.join("/")));
        }
        Some(bound)
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    match text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
    {
        Some("") => Err("a {} in the template has no name".to_owned()),
        Some(name) if !name.contains(['{', '}']) => Ok(Segment::Named(name.to_owned())),
        None if !text.contains(['{', '}', '*']) => Ok(Segment::Exactly(text.to_owned())),
        Some(_) | None => Err(format!(
            "the segment {text:?} of the template is neither text nor one {{name}}"
        )),
    }
}
