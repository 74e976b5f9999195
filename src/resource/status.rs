//! The status of a Link, in Skupper's own words.
