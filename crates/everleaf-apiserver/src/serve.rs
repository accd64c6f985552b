//! Shell: TLS listener, limits, graceful stop.
