//! A minimal HttpServer on hyper.
#![forbid(unsafe_code)]
