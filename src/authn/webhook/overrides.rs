//! A preset with what is written beside it: single keys of the one take the place of the other's.

use super::written::{Event, KeyForm, Timestamp, Verify};

impl Verify {
    /// These keys, and the preset's where there are none.
    pub(super) fn over(self, preset: Verify) -> Verify {
        let own_carrier = self.header.is_some() || self.within.is_some();
        // Where signatures are is one question with several keys; an answer to it replaces the preset's.
        let (header, within) = if own_carrier {
            (self.header, self.within)
        } else {
            (preset.header, preset.within)
        };
        Verify {
            scheme: self.scheme.or(preset.scheme),
            header,
            within,
            split: self.split.or(preset.split),
            prefix: self.prefix.or(preset.prefix),
            encoding: self.encoding.or(preset.encoding),
            signed: self.signed.or(preset.signed),
            partial: self.partial.or(preset.partial),
            timestamp: merged(self.timestamp, preset.timestamp, Timestamp::over),
            key: merged(self.key, preset.key, KeyForm::over),
            require: self.require.or(preset.require),
            each: self.each.or(preset.each),
            field: self.field.or(preset.field),
            algs: self.algs.or(preset.algs),
            keys: self.keys.or(preset.keys),
            iss: self.iss.or(preset.iss),
            aud: self.aud.or(preset.aud),
            claims: {
                let mut claims = preset.claims;
                claims.extend(self.claims);
                claims
            },
            max_age: self.max_age.or(preset.max_age),
            leeway: self.leeway.or(preset.leeway),
            body_hash: self.body_hash.or(preset.body_hash),
        }
    }
}

impl Timestamp {
    fn over(self, preset: Timestamp) -> Timestamp {
        let own_place = self.places() > 0;
        let (header, param, json, form) = if own_place {
            (self.header, self.param, self.json, self.form)
        } else {
            (preset.header, preset.param, preset.json, preset.form)
        };
        Timestamp {
            header,
            param,
            json,
            form,
            format: self.format.or(preset.format),
            tolerance: self.tolerance.or(preset.tolerance),
            ahead: self.ahead.or(preset.ahead),
        }
    }

    /// How many places are written; one is right.
    pub(super) fn places(&self) -> usize {
        [&self.header, &self.param, &self.json, &self.form]
            .into_iter()
            .filter(|place| place.is_some())
            .count()
    }
}

impl KeyForm {
    fn over(self, preset: KeyForm) -> KeyForm {
        KeyForm {
            strip: self.strip.or(preset.strip),
            encoding: self.encoding.or(preset.encoding),
        }
    }
}

impl Event {
    /// These keys, and the preset's where there are none.
    pub(super) fn over(self, preset: Event) -> Event {
        Event {
            id: self.id.or(preset.id),
            id_unless: self.id_unless.or(preset.id_unless),
            kind: self.kind.or(preset.kind),
        }
    }
}

fn merged<T>(own: Option<T>, preset: Option<T>, over: fn(T, T) -> T) -> Option<T> {
    match (own, preset) {
        (Some(own), Some(preset)) => Some(over(own, preset)),
        (own, preset) => own.or(preset),
    }
}
