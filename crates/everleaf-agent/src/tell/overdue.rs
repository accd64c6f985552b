//! The words for what is overdue: the same in the log and at `/readyz`.

use everleaf_api::meta::format_time;
use everleaf_rotation::overdue::Waiting;
use everleaf_rotation::{CertificateId, Overdue};

/// What is wrong with the certificate, since when, and what to do.
pub(crate) fn words_of(id: &CertificateId, overdue: &Overdue) -> String {
    match overdue {
        Overdue::Ended { at, request: None } => format!(
            "the {id} certificate ended at {}, and no request for another is under way; the log says why",
            format_time(*at)
        ),
        Overdue::Ended {
            at,
            request: Some(request),
        } => format!(
            "the {id} certificate ended at {}, and {}",
            format_time(*at),
            waiting("the request for its successor", request)
        ),
        Overdue::First(request) => {
            let which = format!("the request for the first {id} certificate");
            waiting(&which, request)
        }
        Overdue::Renewal { request, dates } => format!(
            "{}; the certificate ends at {}",
            waiting(
                &format!("the request for the next {id} certificate"),
                request
            ),
            format_time(dates.not_after)
        ),
    }
}

fn waiting(which: &str, request: &Waiting) -> String {
    let Waiting { name, since } = request;
    format!(
        "{which} waits for approval or for its signer since {}: kubectl certificate approve {name}",
        format_time(*since)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_rotation::RequestName;
    use everleaf_rotation::overdue::Dates;
    use jiff::Timestamp;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn each_says_what_since_when_and_what_to_do() {
        let request = || Waiting {
            name: RequestName::new("csr-x"),
            since: at(60),
        };
        let request_waits = "waits for approval or for its signer since 1970-01-01T00:01:00Z: kubectl certificate approve csr-x";
        let dates = Dates {
            deadline: at(50),
            not_after: at(100),
        };
        for (overdue, expected) in [
            (
                Overdue::Ended { at: at(100), request: None },
                "the serving certificate ended at 1970-01-01T00:01:40Z, and no request for another is under way; the log says \
                 why"
                    .to_owned(),
            ),
            (
                Overdue::Ended { at: at(100), request: Some(request()) },
                format!(
                    "the serving certificate ended at 1970-01-01T00:01:40Z, and the request for its successor {request_waits}"
                ),
            ),
            (
                Overdue::First(request()),
                format!("the request for the first serving certificate {request_waits}"),
            ),
            (
                Overdue::Renewal { request: request(), dates },
                format!(
                    "the request for the next serving certificate {request_waits}; the certificate ends at \
                     1970-01-01T00:01:40Z"
                ),
            ),
        ] {
            assert_eq!(words_of(&CertificateId::kubelet_serving(), &overdue), expected);
        }
    }
}
