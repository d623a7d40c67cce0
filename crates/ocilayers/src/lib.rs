//! OCI and Docker images: sources, digests, decompression, the layer store, whiteouts, flatten.
#![forbid(unsafe_code)]
