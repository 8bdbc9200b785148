//! What the nodes tell each other: resets, wishes for a report, new limits. Not the store's own truth: a message that is missed
//! costs at most the 5 s after which a cached refusal is asked about again. Invariant: it connects again as long as it is wanted.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::link::Address;

/// Pause before another attempt.
const AGAIN: Duration = Duration::from_secs(1);

/// What was said to all nodes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A key (None: every key) was reset.
    Reset(Option<String>),
    /// Somebody wants to know what is spent of a key.
    Report(String),
    /// The limits changed.
    Limits,
}

impl News {
    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "reset" => Some(Self::Reset(None)),
            None if text == "limits" => Some(Self::Limits),
            Some(("reset", key)) => Some(Self::Reset(Some(key.to_owned()))),
            Some(("report", key)) => Some(Self::Report(key.to_owned())),
            None | Some(_) => None,
        }
    }
}

/// Listens until nobody wants the news any more.
pub(super) async fn listen(address: Address, news: mpsc::Sender<News>) {
    while !news.is_closed() {
        if let Ok(channel) = address.listen().await {
            let mut messages = channel.into_on_message();
            while let Some(message) = messages.next().await {
                let text: String = message.get_payload().unwrap_or_default();
                if let Some(read) = News::read(&text)
                    && news.send(read).await.is_err()
                {
                    return;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news() {
        let reset = |key: &str| Some(News::Reset(Some(key.to_owned())));
        let table = [
            ("reset", Some(News::Reset(None))),
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
