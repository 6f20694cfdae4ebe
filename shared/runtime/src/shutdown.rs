//! The signal to stop: triggered once, seen by everybody who holds a clone.

use tokio::sync::watch;

/// A stop signal. Clones share it; a child signal also fires when its parent does.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: std::sync::Arc<watch::Sender<bool>>,
    parent: Option<Box<Shutdown>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { sender: std::sync::Arc::new(watch::Sender::new(false)), parent: None }
    }
}

impl Shutdown {
    /// A signal that nobody has triggered yet.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// A signal of its own that also fires when this one does.
    pub fn child(&self) -> Shutdown {
        Shutdown { parent: Some(Box::new(self.clone())), ..Shutdown::default() }
    }

    /// Whether it is time to stop.
    pub fn is_triggered(&self) -> bool {
        *self.sender.borrow() || self.parent.as_ref().is_some_and(|parent| parent.is_triggered())
    }

    /// Asks everybody who holds a clone, or a child of it, to stop.
    pub fn trigger(&self) {
        self.sender.send_replace(true);
    }

    /// Returns when it is time to stop.
    pub async fn triggered(&self) {
        let mut own = self.sender.subscribe();
        // wait_for fails only when the sender is gone, and this value holds it.
        let own = async move { own.wait_for(|stop| *stop).await.is_ok() };
        match &self.parent {
            None => {
                own.await;
            }
            Some(parent) => {
                let parent = Box::pin(parent.triggered());
                tokio::select! { _ = own => {}, () = parent => {} }
            }
        }
    }

    /// Waits for `duration`; `false` when the wait was cut short by the signal.
    pub async fn sleep(&self, duration: std::time::Duration) -> bool {
        tokio::select! { () = tokio::time::sleep(duration) => true, () = self.triggered() => false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_with_its_parent_but_not_the_other_way() {
        let parent = Shutdown::new();
        let (a, b) = (parent.child(), parent.child());
        a.trigger();
        a.triggered().await;
        assert!(a.is_triggered() && !b.is_triggered() && !parent.is_triggered());
        parent.trigger();
        b.triggered().await;
        assert!(b.is_triggered());
    }
}
