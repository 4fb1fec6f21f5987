//! The HttpClient policy: retry, breaker, timeouts and interceptors over any HttpTransport.
#![forbid(unsafe_code)]
