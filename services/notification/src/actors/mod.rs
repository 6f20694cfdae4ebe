//! One actor a file.

pub(crate) mod mailer;
