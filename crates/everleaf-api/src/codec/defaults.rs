//! What absent fields mean, filled in. Objects are walked as far as they reach, so a table that
//! holds itself ends.

use crate::schema::{Kind, Message};
use serde_json::Value;

/// Fills in the defaults of a message's fields, and of the messages in it.
pub(crate) fn fill(message: &'static Message, object: &mut Value) {
    let Some(members) = object.as_object_mut() else {
        return;
    };
    for field in message.fields {
        match (members.get_mut(field.member), field.default) {
            (None | Some(Value::Null), Some(number)) => {
                members.insert(field.member.to_owned(), number.into());
            }
            (Some(present), _) => fill_value(&field.kind, present),
            (None, None) => {}
        }
    }
}

fn fill_value(kind: &'static Kind, value: &mut Value) {
    match (kind, value) {
        (Kind::Message(message), value) => fill(message, value),
        (Kind::List(item @ Kind::Message(_), _), Value::Array(items)) => {
            items.iter_mut().for_each(|one| fill_value(item, one));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::types::POD_CERTIFICATE_REQUEST;
    use serde_json::json;

    #[test]
    fn what_is_absent_is_filled_in_and_what_is_there_stays() {
        let filled = |spec: serde_json::Value| {
            let mut object = json!({"spec": spec});
            POD_CERTIFICATE_REQUEST.fill_defaults(&mut object);
            object["spec"]["maxExpirationSeconds"].clone()
        };
        assert_eq!(filled(json!({})), 86_400);
        assert_eq!(filled(json!({"maxExpirationSeconds": null})), 86_400);
        assert_eq!(filled(json!({"maxExpirationSeconds": 0})), 0);
        assert_eq!(filled(json!({"maxExpirationSeconds": 3_600})), 3_600);
        let mut nothing = json!({});
        POD_CERTIFICATE_REQUEST.fill_defaults(&mut nothing);
        assert_eq!(nothing, json!({}), "a message that is absent stays so");
    }
}
