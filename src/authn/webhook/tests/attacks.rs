//! What attackers and careless senders do.
