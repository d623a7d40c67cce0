//! A blob on its way: resumed where it was cut (RFC 9110, 14.2, "Range").

use std::io::{self, Read};
use std::sync::Arc;

use super::Hosts;
use super::client::{Failure, Request, Response, explain, pause};
use crate::error::Error;

/// Getting on by so many bytes makes up for failures before.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob.
#[derive(Debug)]
pub(super) struct Download {
    hosts: Arc<Hosts>,
    path: String,
    accept: &'static [&'static str],
    /// `None` between two connections.
    response: Option<Response>,
    /// How much has come.
    at: u64,
    len: u64,
    failures: u32,
    /// Where failures began to count.
    counted_from: u64,
}

impl Download {
    pub(super) fn new(
        hosts: Arc<Hosts>,
        path: String,
        accept: &'static [&'static str],
        response: Response,
        len: u64,
    ) -> Self {
        Self { hosts, path, accept, response: Some(response), at: 0, len, failures: 0, counted_from: 0 }
    }

    /// Notes a failure and waits; an error once there were too many.
    fn failed(&mut self, why: &str) -> io::Result<()> {
        self.response = None;
        if self.at - self.counted_from >= PROGRESS {
            (self.failures, self.counted_from) = (0, self.at);
        }
        self.failures += 1;
        if self.failures > self.hosts.options.retries {
            return Err(self.refused(format!(
                "it broke off {} times, the last time at byte {} of {}: {why}; try again later",
                self.failures, self.at, self.len
            )));
        }
        tracing::warn!(path = self.path, at = self.at, why, "a download broke off and is resumed");
        pause(self.failures, None, &self.hosts.options).map_err(|failure| match failure {
            Failure::Cancelled => io::Error::other(Error::Cancelled),
            Failure::Refused(why) => self.refused(why),
        })
    }

    /// The error of the registry as one of reading; [`Error::reading`] takes it out again.
    fn refused(&self, why: String) -> io::Error {
        io::Error::other(Error::Registry { place: self.hosts.place(&self.path), why })
    }

    /// Asks for the rest.
    fn resume(&mut self) -> io::Result<()> {
        let request = Request { path: &self.path, accept: self.accept, from: self.at, document: false };
        let mut response = self.hosts.get(&request).map_err(io::Error::other)?;
        if response.status == 206 {
            let range = response.header("content-range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {}-", self.at)) {
                return self.failed(&format!("the registry resumed with '{}'", range.escape_debug()));
            }
        } else {
            // Who knows no ranges begins anew.
            match io::copy(&mut (&mut response.body).take(self.at), &mut io::sink()) {
                Ok(len) if len == self.at => {}
                Ok(_) => return self.failed("the registry knows no ranges, and its second answer is shorter"),
                Err(error) => return self.failed(&explain(&error, &self.hosts.options)),
            }
        }
        self.response = Some(response);
        Ok(())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.hosts.options.is_cancelled() {
                return Err(io::Error::other(Error::Cancelled));
            }
            let Some(response) = &mut self.response else {
                self.resume()?;
                continue;
            };
            match response.body.read(buffer) {
                Ok(0) if self.at < self.len && !buffer.is_empty() => self.failed("the connection ended early")?,
                Ok(len) => {
                    self.at += u64::try_from(len).expect("usize fits in u64");
                    return Ok(len);
                }
                Err(error) => self.failed(&explain(&error, &self.hosts.options))?,
            }
        }
    }
}
