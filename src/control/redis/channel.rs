//! What the nodes tell each other: resets, wishes for a report, new limits. Not the store's own truth: what is missed here is found out
//! otherwise, limits and resets of all keys with the next heartbeat, the reset of one key within 5 s (`limit::Exchange`).
//! Invariants: it connects again as long as it is wanted; a connection that has died without a word is noticed within `PING_MAX` + 1 s.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use tokio::sync::mpsc;

use super::address::Address;
use super::reason::Reason;

/// Pause before another attempt, and between two pings. A NAT that has forgotten a connection says nothing.
const AGAIN: Duration = Duration::from_secs(1);
/// A ping is answered within this, or the connection is given up.
const PING_MAX: Duration = Duration::from_secs(1);

/// What was said to all nodes, and how well it can be heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A key was reset.
    Reset(String),
    /// Every key was.
    ResetAll,
    /// Somebody wants to know what is spent of a key.
    Report(String),
    /// The limits changed.
    Limits,
    /// The channel can be heard from now on.
    Listening,
    /// Redis does not let this user listen.
    Refused(Reason),
}

impl News {
    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "reset" => Some(Self::ResetAll),
            None if text == "limits" => Some(Self::Limits),
            Some(("reset", key)) => Some(Self::Reset(key.to_owned())),
            Some(("report", key)) => Some(Self::Report(key.to_owned())),
            None | Some(_) => None,
        }
    }
}

/// Listens until nobody wants the news any more.
pub(super) async fn listen(address: Address, news: mpsc::Sender<News>) {
    while !news.is_closed() {
        match address.listen().await {
            Ok(channel) => {
                if news.send(News::Listening).await.is_err() || hear(channel, &news).await.is_err()
                {
                    return;
                }
            }
            Err(failure) if failure.is_forbidden() => {
                if news.send(News::Refused(failure.why)).await.is_err() {
                    return;
                }
            }
            // The other connection says why Redis is away.
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Hands on what is said until the connection is lost. An error: nobody wants it any more.
async fn hear(channel: PubSub, news: &mpsc::Sender<News>) -> Result<(), ()> {
    let (mut pings, mut messages) = channel.split();
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                let text: String = message.get_payload().unwrap_or_default();
                if let Some(read) = News::read(&text) {
                    news.send(read).await.map_err(|_| ())?;
                }
            }
            () = tokio::time::sleep(AGAIN) => {
                // A refusal is an answer, too.
                let ping = tokio::time::timeout(PING_MAX, pings.ping::<redis::Value>());
                let lost = match ping.await {
                    Ok(answered) => answered.is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error()),
                    Err(_) => true,
                };
                if lost {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news() {
        let reset = |key: &str| Some(News::Reset(key.to_owned()));
        let table = [
            ("reset", Some(News::ResetAll)),
            ("reset rl:{o:1}", reset("rl:{o:1}")),
            ("reset rl:{o:a b}", reset("rl:{o:a b}")),
            (
                "report rl:{i:::1}",
                Some(News::Report("rl:{i:::1}".to_owned())),
            ),
            ("limits", Some(News::Limits)),
            ("", None),
            ("resets", None),
            ("limits now", None),
        ];
        for (text, expected) in table {
            assert_eq!(News::read(text), expected, "{text}");
        }
    }
}
