//! Value parsers for options that need more than clap's own types.
//!
//! An optional property is cleared with the word `none`: an empty argument is too easily the result of an unset shell
//! variable.

use std::str::FromStr;

use super::name::parse_tag;
use crate::bbb::Algorithm;

/// A property that `set` changes to a value or clears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    To(T),
    Clear,
}

impl<T: Clone> Change<T> {
    pub fn value(&self) -> Option<T> {
        match self {
            Self::To(value) => Some(value.clone()),
            Self::Clear => None,
        }
    }
}

/// A positive number, or `none`.
pub fn parse_cap(text: &str) -> Result<Change<u32>, String> {
    if text == "none" {
        return Ok(Change::Clear);
    }
    match text.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Change::To(number)),
        _ => Err(format!("`{text}` is neither a number above 0 nor `none`")),
    }
}

/// A BBB version such as `3.0.19`, or `none`.
pub fn parse_version(text: &str) -> Result<Change<String>, String> {
    if text == "none" {
        return Ok(Change::Clear);
    }
    let numbers: Vec<&str> = text.split(['.', '-']).take(2).collect();
    let good = numbers.len() == 2 && numbers.iter().all(|part| part.parse::<u16>().is_ok()) && text.len() <= 32;
    if good {
        Ok(Change::To(text.to_string()))
    } else {
        Err(format!("`{text}` is not a BBB version; write it like 3.0.19"))
    }
}

/// A finite number above 0.
pub fn parse_weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 && weight <= 1000.0 => Ok(weight),
        _ => Err(format!("`{text}` is not a weight; 1 is the usual one, a server twice as fast per core has 2")),
    }
}

/// A region, spelled like a tag, or `none`.
pub fn parse_region(text: &str) -> Result<Change<String>, String> {
    if text == "none" { Ok(Change::Clear) } else { parse_tag(text).map(Change::To) }
}

/// `sha1`, `sha256`, `sha384` or `sha512`, also written like `SHA-256`.
pub fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    let spelled = text.to_ascii_lowercase().replace('-', "");
    Algorithm::from_str(&spelled)
        .map_err(|_| format!("`{text}` is not a checksum algorithm; choose sha1, sha256, sha384 or sha512"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_positive_or_none() {
        assert_eq!(parse_cap("12"), Ok(Change::To(12)));
        assert_eq!(parse_cap("none"), Ok(Change::Clear));
        for bad in ["0", "-1", "", "many"] {
            assert!(parse_cap(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn weights_are_positive_and_finite() {
        assert_eq!(parse_weight("1.5"), Ok(1.5));
        for bad in ["0", "-1", "NaN", "inf", "1e9", "x"] {
            assert!(parse_weight(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_look_like_versions() {
        for good in ["3.0", "2.7.8", "4.0.0-beta.3"] {
            assert_eq!(parse_version(good), Ok(Change::To(good.into())));
        }
        for bad in ["3", "latest", "v3.0", ""] {
            assert!(parse_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn algorithm_names_go_both_ways() {
        for name in ["sha1", "sha256", "sha384", "sha512"] {
            assert_eq!(parse_algorithm(name).map(Algorithm::name), Ok(name));
        }
        assert_eq!(parse_algorithm("SHA-256"), Ok(Algorithm::Sha256));
        assert!(parse_algorithm("md5").is_err());
    }
}
