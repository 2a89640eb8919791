//! The JSON Schema of a route file: what the types say, widened to what the loader takes from a file.

use serde_json::{Value, json};

use super::Config;

/// What a text with something to substitute looks like.
const SUBSTITUTED: &str = r"\$\{";

/// The schema as the types say it: what each value means. The reference is written from it.
pub fn described() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "Penstock route file".into());
    }
    schema
}

/// The JSON Schema of a route file, as `penstock schema` prints it and `config/schema.json` holds it. A number, a
/// boolean or a closed set of words also takes a text with `${…}`, and a text also takes a bare number or boolean. It
/// allows a little more than the loader, which checks what a schema cannot, and never less.
pub fn schema() -> Value {
    let mut schema = described();
    widen(&mut schema, true);
    schema
}

/// Widens `schema` and what is below it. `booleans`: whether a boolean is a text here, not a switch.
fn widen(schema: &mut Value, booleans: bool) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for names in ["$defs", "properties", "patternProperties"] {
        if let Some(named) = object.get_mut(names).and_then(Value::as_object_mut) {
            named.values_mut().for_each(|schema| widen(schema, true));
        }
    }
    for one in ["items", "additionalProperties"] {
        if let Some(schema) = object.get_mut(one) {
            widen(schema, true);
        }
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(forms) = object.get_mut(several).and_then(Value::as_array_mut) {
            let switch = forms.iter().any(is_switch);
            forms.iter_mut().for_each(|form| widen(form, !switch));
            if forms.iter().all(is_word) || switch {
                forms.push(json!({ "type": "string", "pattern": SUBSTITUTED }));
            }
        }
    }
    if is_word(&Value::Object(object.clone())) {
        return;
    }
    let mut types: Vec<Value> = match object.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
        None => return,
    };
    let has = |types: &[Value], name: &str| types.iter().any(|one| one == name);
    let pattern = object.get("pattern").and_then(Value::as_str);
    if has(&types, "string") {
        if let Some(pattern) = pattern {
            let pattern = format!("{pattern}|{SUBSTITUTED}");
            object.insert("pattern".to_owned(), pattern.into());
            // the pattern counts, and a reference may be longer than the name that it stands for
            object.remove("maxLength");
        }
        if !has(&types, "number") && !has(&types, "integer") {
            types.push("number".into());
        }
        if booleans && !has(&types, "boolean") && !has(&types, "integer") {
            types.push("boolean".into());
        }
    } else if ["integer", "number", "boolean"]
        .iter()
        .any(|name| has(&types, name))
    {
        types.push("string".into());
        object.insert("pattern".to_owned(), SUBSTITUTED.into());
    } else {
        return;
    }
    object.insert("type".to_owned(), types.into());
}

/// One word of a closed set, or several.
fn is_word(form: &Value) -> bool {
    form.get("const").is_some() || form.get("enum").is_some()
}

/// A form that is `false`.
fn is_switch(form: &Value) -> bool {
    let off = Value::Bool(false);
    let words = form.get("enum").and_then(Value::as_array);
    form.get("const") == Some(&off) || words.is_some_and(|words| words.contains(&off))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Value {
        let schema = schema();
        let found = schema.pointer(path).cloned();
        found.unwrap_or_else(|| panic!("{path} is not in the schema"))
    }

    #[test]
    fn numbers_booleans_and_words_may_come_from_outside() {
        let rate = at("/$defs/Throttle/properties/rate");
        assert_eq!(rate["type"], json!(["number", "string"]));
        assert_eq!(
            (&rate["pattern"], &rate["minimum"]),
            (&json!(SUBSTITUTED), &json!(0))
        );
        let in_flight = at("/$defs/Limits/properties/in_flight/type");
        assert_eq!(in_flight, json!(["integer", "null", "string"]));
        let lifo = at("/$defs/Queue/properties/lifo/type");
        assert_eq!(lifo, json!(["boolean", "string"]));
        let words = at("/$defs/Dialect/oneOf");
        let last = words.as_array().unwrap().last().unwrap();
        assert_eq!(last["pattern"], SUBSTITUTED);
        let size = at("/$defs/ByteSize/pattern");
        assert!(size.as_str().unwrap().ends_with(r"$|\$\{"), "{size}");
    }

    #[test]
    fn a_text_may_be_a_bare_number_or_boolean() {
        let text = json!(["string", "number", "boolean"]);
        assert_eq!(at("/$defs/StageName/type"), text);
        assert_eq!(
            at("/properties/stage_variables/additionalProperties/type"),
            text
        );
        let path = at("/$defs/AccessLog/properties/path/type");
        assert_eq!(path, json!(["string", "null", "number", "boolean"]));
    }

    #[test]
    fn a_part_that_can_be_off_is_not_switched_on_by_true() {
        for path in [
            "/properties/throttle",
            "/properties/cors",
            "/properties/access_log",
            "/$defs/Route/properties/throttle",
            "/$defs/OneOrMany/anyOf/0",
        ] {
            let switch = at(path).to_string();
            assert!(
                !switch.contains("boolean") && !switch.contains("true"),
                "{switch}"
            );
        }
    }
}
