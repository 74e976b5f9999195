//! A throwaway PKI for tests.
