//! A log as a stream of lines: what is there, then what comes, until the build ends, the server closes or the reader goes.
//!
//! A reader holds one piece (at most 64 KiB) in memory; one that does not read is not read for.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use templates::{Error, Follower, Piece};
use tokio::sync::watch;

use crate::wire::FinalFrame;

/// Silence after which a line of nothing shows that the stream lives: proxies cut quiet ones.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a reader lets lines gather: many readers of one busy log cost less, and nobody sees it.
const GATHER: Duration = Duration::from_millis(20);

/// A log under way to its reader.
struct Reading {
    follower: Follower,
    follow: bool,
    closing: watch::Receiver<bool>,
}

/// What a reader without lines waits for.
enum Awaited {
    Change,
    Silence,
    Closing,
}

/// The rest of a log as a body.
pub(crate) fn body(follower: Follower, follow: bool, closing: watch::Receiver<bool>) -> Body {
    let reading = Reading { follower, follow, closing };
    Body::from_stream(stream::unfold(Some(reading), |reading| async {
        let (bytes, reading) = next(reading?).await?;
        Some((Ok::<_, Infallible>(bytes), reading))
    }))
}

/// The next bytes, and what comes after them.
async fn next(mut reading: Reading) -> Option<(Bytes, Option<Reading>)> {
    loop {
        let (piece, follower) = read(reading.follower).await?;
        reading.follower = follower;
        match piece {
            Ok(Piece::Lines(lines)) => return Some((lines.into(), Some(reading))),
            Ok(Piece::End(end)) => return Some((line(&FinalFrame::from(*end)), None)),
            Ok(Piece::Idle) if !reading.follow => return None,
            Ok(Piece::Idle) => {}
            Err(error) => {
                tracing::error!(error = %drydock::explain(&error), "a log can't be read");
                return Some((restart(&reading.follower, "log_unavailable"), None));
            }
        }
        let awaited = tokio::select! {
            () = reading.follower.changed() => Awaited::Change,
            () = tokio::time::sleep(HEARTBEAT) => Awaited::Silence,
            _ = reading.closing.wait_for(|closing| *closing) => Awaited::Closing,
        };
        match awaited {
            Awaited::Change => tokio::time::sleep(GATHER).await,
            Awaited::Silence => return Some((line(&json!({ "stream": "" })), Some(reading))),
            Awaited::Closing => return Some((restart(&reading.follower, "server_restart"), None)),
        }
    }
}

/// Asks a follower from a thread that may wait.
async fn read(mut follower: Follower) -> Option<(Result<Piece, Error>, Follower)> {
    tokio::task::spawn_blocking(move || (follower.next_piece(), follower)).await.ok()
}

/// The frame that says where to go on with `since`.
fn restart(follower: &Follower, reason: &str) -> Bytes {
    line(&json!({ "final": false, "reason": reason, "next": follower.end().next_seq, "stream": "" }))
}

fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).expect("frames have string keys");
    bytes.push(b'\n');
    bytes.into()
}
