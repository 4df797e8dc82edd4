//! The one struct that text and JSON render.
