//! Numbers in arguments, refused before any work where they make no sense.

/// A count of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| n > 0);
    count.ok_or_else(|| "it must be an integer of at least 1".to_owned())
}

/// More threads than any machine has cores.
const MOST_THREADS: usize = 1024;

/// A number of threads; 0 for one per core.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| n <= MOST_THREADS);
    count.ok_or_else(|| format!("it must be an integer from 0 (one per core) to {MOST_THREADS}"))
}

pub(crate) fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|x| x.is_finite());
    number.ok_or_else(|| "it must be a finite number".to_owned())
}

/// A number to multiply with or to divide by.
pub(crate) fn nonzero(text: &str) -> Result<f64, String> {
    let number = finite(text).ok().filter(|&x| x != 0.0);
    number.ok_or_else(|| "it must be a finite number other than 0".to_owned())
}

/// A share in percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = finite(text).ok().filter(|&x| x > 0.0 && x <= 100.0);
    number.ok_or_else(|| "it must be greater than 0 and at most 100".to_owned())
}

/// `NAME=SIZE`; the name may hold `=` itself.
pub(crate) fn dim(text: &str) -> Result<(String, usize), String> {
    let parts = text.rsplit_once('=').filter(|(name, _)| !name.is_empty());
    let dim = parts.and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
    match dim {
        Some((_, 0)) => Err("a size must be at least 1".to_owned()),
        Some(dim) => Ok(dim),
        None => Err("write NAME=SIZE, as in batch=8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!((positive("3"), positive("0").is_err()), (Ok(3), true));
        assert_eq!((threads("0"), threads("99999").is_err()), (Ok(0), true));
        assert_eq!((nonzero("-2"), nonzero("0").is_err()), (Ok(-2.0), true));
        assert!(finite("nan").is_err() && finite("inf").is_err() && finite("x").is_err());
        assert_eq!((percent("100"), percent("0").is_err()), (Ok(100.0), true));
        assert!(percent("150").is_err());
        assert_eq!(dim("x:1=5"), Ok(("x:1".to_owned(), 5)));
        assert!(dim("batch").is_err() && dim("=5").is_err() && dim("batch=-1").is_err());
        assert!(dim("batch=0").is_err());
    }
}
