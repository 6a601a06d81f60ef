//! The page and the ids that a caller of a recording call asks for (bbb-api.md section 6.4).
//!
//! The servers themselves apply the other filters. Pages are cut from the merged list; unlike BBB's they count
//! recordings, not formats.

use crate::bbb::params::Params;

/// The most recordings on one page.
const MAX_LIMIT: i64 = 100;

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub offset: usize,
    /// 1 to 100.
    pub limit: usize,
}

impl Page {
    /// Reads `offset` and `limit`. Without a valid limit there is no page and the offset counts for nothing; limits are
    /// clamped to 1..=100, a negative or unreadable offset is 0.
    pub fn from_params(params: &Params) -> Option<Page> {
        let limit: i64 = params.get("limit")?.parse().ok()?;
        let limit = usize::try_from(limit.clamp(1, MAX_LIMIT)).ok()?;
        let offset = params.get("offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
        Some(Page { offset, limit })
    }
}

/// The entries of a comma list, without empty ones (`recordID`, `meetingID`, `state`).
pub fn id_list(params: &Params, name: &str) -> Vec<String> {
    let text = params.get(name).unwrap_or_default();
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_need_a_valid_limit() {
        let cases = [
            ("", None),
            ("offset=5", None),
            ("limit=&offset=5", None),
            ("limit=x", None),
            ("limit=10", Some((0, 10))),
            ("limit=0", Some((0, 1))),
            ("limit=-3&offset=-3", Some((0, 1))),
            ("limit=500&offset=7", Some((7, 100))),
            ("limit=5&offset=x", Some((0, 5))),
        ];
        for (query, expected) in cases {
            let page = Page::from_params(&Params::parse(query.as_bytes(), 100).unwrap());
            assert_eq!(page, expected.map(|(offset, limit)| Page { offset, limit }), "{query}");
        }
    }
}
