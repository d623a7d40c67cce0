//! Whose request it is, and whether there are too many of them.

use std::num::NonZeroU32;

use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use templates::ApiKey;

use crate::App;
use crate::error::ApiError;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Owners that are counted before those that were quiet are forgotten.
const OWNERS_COUNTED: usize = 10_000;

/// Requests of each owner.
#[derive(Debug)]
pub(crate) struct Rate {
    limiter: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default() }
    }

    /// Counts a request; the seconds to wait where there are too many.
    fn count(&self, owner: &str) -> Result<(), u64> {
        if self.limiter.len() > OWNERS_COUNTED {
            self.limiter.retain_recent();
        }
        let counted = self.limiter.check_key(&owner.to_owned());
        counted.map_err(|until| until.wait_time_from(self.clock.now()).as_secs() + 1)
    }
}

/// Lets a request with a key of this service through, with its owner.
pub(crate) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(API_KEY).and_then(|key| key.to_str().ok());
    let refused = |message: &str| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response();
    let Some(given) = given else { return refused("the header X-Api-Key is missing; the operator gives keys") };
    let owner = match given.parse::<ApiKey>() {
        Ok(key) => app.call(move |templates| templates.authenticate(&key)).await,
        Err(_) => Ok(None),
    };
    match owner {
        Ok(Some(owner)) => {
            if let Err(seconds) = app.rate.count(owner.as_str()) {
                let message = "too many requests; wait as long as Retry-After says";
                let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
                return error.retry_after(seconds).into_response();
            }
            request.extensions_mut().insert(owner);
            next.run(request).await
        }
        Ok(None) => refused("this API key is not known, or it was revoked; ask the operator for another"),
        Err(error) => error.into_response(),
    }
}
