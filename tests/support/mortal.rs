//! A service that dies and comes back on the same port, as a process does that is restarted. Not scripted: it answers every request
//! with the same 200. Invariant: once `die` has returned, its port refuses and all its connections have ended.

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use super::reader::Reader;
use super::{OK, until};

#[derive(Default)]
struct State {
    alive: bool,
    connections: Vec<TcpStream>,
    served: usize,
}

/// The service; clones speak of the same one.
#[derive(Clone)]
pub struct Mortal {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// Starts one.
pub fn mortal() -> Mortal {
    let mortal = Mortal {
        port: super::gateway::free_port(),
        state: Arc::default(),
    };
    mortal.rise();
    mortal
}

impl Mortal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests answered so far, health probes not among them.
    pub fn served(&self) -> usize {
        self.state().served
    }

    /// Listens (again).
    pub fn rise(&self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("its own port");
        self.state().alive = true;
        let mortal = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = mortal.state();
                if !state.alive {
                    return;
                }
                state
                    .connections
                    .push(stream.try_clone().expect("a descriptor"));
                drop(state);
                let mortal = mortal.clone();
                std::thread::spawn(move || mortal.serve(Reader::new(stream)));
            }
        });
    }

    /// Stops listening and ends every connection, whatever is under way on it.
    pub fn die(&self) {
        self.state().alive = false;
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        until("the port to refuse", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err()
        });
        for connection in self.state().connections.drain(..) {
            // One that has ended already is no trouble.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut reader: Reader) {
        while let Ok((head, _)) = reader.head() {
            if !reader.send(OK) {
                return;
            }
            if !head.first.starts_with("GET /health ") {
                self.state().served += 1;
            }
        }
    }
}
