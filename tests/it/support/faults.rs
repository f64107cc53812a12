//! `Faulty`: an endpoint that does what no healthy one does, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is done to a connection once its request has been read.
#[derive(Clone)]
pub enum Step {
    Write(Vec<u8>),
    /// The same bytes, that many times.
    Repeat(Vec<u8>, usize),
    /// One byte at a time, with a pause behind each.
    Drip(Vec<u8>, Duration),
    /// Nothing more, with the connection open.
    Hang,
    /// The connection is torn down instead of closed.
    Reset,
}

/// A server that does the same to every connection. Requests are counted.
pub struct Faulty {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Faulty {
    pub fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::on("127.0.0.1:0", steps)
    }

    /// The same on another address.
    pub fn on(address: &str, steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let left = Arc::new(AtomicUsize::new(0));
        let leaving = Arc::clone(&left);
        let steps: Vec<Step> = steps.into_iter().collect();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (steps, counted) = (steps.clone(), Arc::clone(&counted));
                let leaving = Arc::clone(&leaving);
                std::thread::spawn(move || {
                    serve(connection.unwrap(), steps, &counted);
                    leaving.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            requests,
            left,
        }
    }

    /// A server that answers with this head and body, and closes.
    pub fn answering(head: &str, body: impl AsRef<[u8]>) -> Self {
        let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
        Self::start([Step::Write([head.as_bytes(), body.as_ref()].concat())])
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Whether, within a few seconds, a peer has closed a connection that hung.
    pub fn was_left(&self) -> bool {
        (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            self.left.load(Ordering::SeqCst) > 0
        })
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut connection: TcpStream, steps: Vec<Step>, counted: &AtomicUsize) {
    if read_request(&mut connection).is_none() {
        return;
    }
    counted.fetch_add(1, Ordering::SeqCst);
    for step in steps {
        // A peer that has had enough is what many of these wait for.
        let written = match step {
            Step::Write(bytes) => connection.write_all(&bytes),
            Step::Repeat(bytes, times) => (0..times).try_for_each(|_| connection.write_all(&bytes)),
            Step::Drip(bytes, pause) => bytes.iter().try_for_each(|byte| {
                std::thread::sleep(pause);
                connection.write_all(&[*byte])
            }),
            Step::Hang => connection.read(&mut [0]).map(|_| ()),
            Step::Reset => {
                let socket = socket2::SockRef::from(&connection);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// Reads the head and as much of the body as the head says.
fn read_request(connection: &mut TcpStream) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()
}
