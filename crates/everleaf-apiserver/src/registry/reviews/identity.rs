//! Who am I, and who is behind this token?

use super::{ReviewInput, user_value};
use crate::read;
use everleaf_api::Status;
use serde_json::{Value, json};

/// SelfSubjectReview (`kubectl auth whoami`): the effective user.
pub(super) fn who_am_i(input: &ReviewInput<'_>) -> Value {
    json!({"userInfo": user_value(input.user)})
}

/// The token that a TokenReview is about, and to whom it was shown.
pub(super) fn question(object: &Value) -> (&str, Vec<String>) {
    let audiences = read::texts(object, "/spec/audiences");
    (read::text(object, "/spec/token"), audiences)
}

/// TokenReview: a token nobody knows is an answer, not an error; no token is an error.
pub(super) fn token(object: &Value, input: &ReviewInput<'_>) -> Result<Value, Status> {
    let (token, audiences) = question(object);
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let authenticator = input.authenticator;
    Ok(
        match authenticator.review_token(token, &audiences, input.objects, input.now) {
            Some((user, meant)) => {
                let mut answer = json!({"authenticated": true, "user": user_value(&user)});
                if !meant.is_empty() {
                    answer["audiences"] = meant.into();
                }
                answer
            }
            None => json!({"user": {}, "error": "invalid bearer token"}),
        },
    )
}
