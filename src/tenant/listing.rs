//! A tenant's getMeetings as it was last shown: answered again as it is, and patched where meetings have changed.
//!
//! The edition says whether anything has changed at all. Of a new edition only the meetings whose text is another one
//! are made fit for the tenant again; the rest is put together from what is there.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// One tenant's list.
#[derive(Debug, Default)]
pub struct Listing(Mutex<Rendered>);

#[derive(Clone, Debug, Default)]
struct Rendered {
    edition: Option<u64>,
    body: Bytes,
    shown: Arc<HashMap<Place, Shown>>,
}

/// Where a text stands in memory. It names the text as long as somebody holds it, which `Shown` does.
type Place = (usize, usize);

#[derive(Debug)]
struct Shown {
    _source: Bytes,
    text: Bytes,
}

fn place(source: &Bytes) -> Place {
    (source.as_ptr() as usize, source.len())
}

impl Listing {
    /// The whole answer, if this edition is the one at hand.
    pub fn body(&self, edition: u64) -> Option<Bytes> {
        let rendered = self.0.lock();
        (rendered.edition == Some(edition)).then(|| rendered.body.clone())
    }

    /// Makes the answer of an edition from its meetings' texts. `show` makes one fit for the tenant (an empty one
    /// always), `join` makes an answer of all.
    pub fn renew(
        &self,
        edition: u64,
        sources: impl Iterator<Item = Bytes>,
        show: impl Fn(usize) -> Bytes,
        join: impl FnOnce(&[Bytes]) -> Vec<u8>,
    ) -> Bytes {
        let known = self.0.lock().shown.clone();
        let mut shown = HashMap::new();
        let mut texts = Vec::new();
        for (position, source) in sources.enumerate() {
            let known = known.get(&place(&source)).filter(|_| !source.is_empty());
            let text = known.map_or_else(|| show(position), |known| known.text.clone());
            texts.push(text.clone());
            if !source.is_empty() {
                shown.insert(place(&source), Shown { _source: source, text });
            }
        }
        let body = Bytes::from(join(&texts));
        let mut rendered = self.0.lock();
        if rendered.edition.is_none_or(|kept| kept < edition) {
            *rendered = Rendered { edition: Some(edition), body: body.clone(), shown: Arc::new(shown) };
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn only_what_changed_is_shown_anew() {
        let listing = Listing::default();
        let asked = RefCell::new(Vec::new());
        let show = |position: usize| {
            asked.borrow_mut().push(position);
            Bytes::from(format!("<{position}>"))
        };
        let renew = |edition, texts: &[Bytes]| listing.renew(edition, texts.iter().cloned(), show, |all| all.concat());
        let (a, b, c) = (Bytes::from(vec![b'a'; 9]), Bytes::from(vec![b'b'; 9]), Bytes::from(vec![b'c'; 9]));
        assert_eq!(listing.body(0), None);
        assert_eq!(renew(1, &[a.clone(), b.clone(), Bytes::new()]), "<0><1><2>");
        assert_eq!(listing.body(1).as_deref(), Some(&b"<0><1><2>"[..]));
        assert_eq!(listing.body(2), None);
        asked.borrow_mut().clear();
        assert_eq!(renew(2, &[b.clone(), c.clone(), Bytes::new()]), "<1><1><2>");
        assert_eq!(*asked.borrow(), [1, 2]);
        // One that was slower and knows less does not win.
        renew(1, std::slice::from_ref(&a));
        assert_eq!(listing.body(2).as_deref(), Some(&b"<1><1><2>"[..]));
    }
}
