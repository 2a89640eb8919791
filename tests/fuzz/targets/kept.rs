//! Calls and answers as a store keeps them: rows of a damaged file, or of another version. Input: the bytes of one.
//!
//! They are read or refused; what is read is written again as something that reads the same.

use penstock::integration::{Answer, Request};

pub fn run(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        let kept = request.encode().unwrap();
        let again = Request::decode(&kept).unwrap();
        assert_eq!(again.encode().unwrap(), kept);
        assert_eq!(
            (request.is_resend(), request.keeps_place(), request.size()),
            (again.is_resend(), again.keeps_place(), again.size())
        );
        let target = request.target().unwrap();
        assert_eq!(again.target().as_ref(), Some(&target));
        assert!(request.batch_limits().records > 0);
        let answer = request.spooled_answer("id").unwrap();
        assert!(answer.is_spooled() && answer.message_id().is_some());
    }
    if let Some(answer) = Answer::decode(data)
        && let Some(kept) = answer.encode()
    {
        let again = Answer::decode(&kept).unwrap();
        assert_eq!(again.encode(), Some(kept));
        assert_eq!(again.message_id(), answer.message_id());
        assert_eq!(again.is_spooled(), answer.is_spooled());
    }
}
