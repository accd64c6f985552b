//! The walk of one request (engine: CRUD, patch, list, watch, discovery, reviews, health).
