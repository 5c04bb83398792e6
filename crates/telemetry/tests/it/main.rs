//! The crate at its border: what a scrape shows, what a log line says, what reaches the file.

mod exposition;
mod lines;
mod sink;
