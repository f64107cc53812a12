//! A certificate authority of the tests, and a server that shows what it issued.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, for those who shall trust it.
    pub pem: String,
}

/// A certificate and its key.
pub struct Issued {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for `host` that is good until then.
    pub fn issue(&self, host: &str, until: time::OffsetDateTime) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = until - time::Duration::days(7);
        params.not_after = until;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.der().clone(),
            key,
        }
    }
}

/// Answers each connection's first request over TLS; returns the port.
pub fn tls_server(issued: Issued, head: &str, body: &str) -> u16 {
    let key = PrivateKeyDer::try_from(issued.key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, connection.unwrap());
            // A client that does not believe the certificate leaves here.
            if stream.read(&mut [0; 65536]).is_ok() {
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    port
}

/// Answers one hello with the version that was dropped in 2021, TLS 1.0; returns the port.
pub fn tls_1_0_server() -> u16 {
    // RFC 2246 §7.4.1.3: version, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    let hello = [&[3, 1][..], &[0x11; 32], &[0, 0x00, 0x2f, 0]].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let handshake = [&[2, 0, 0, length][..], &hello].concat();
    let record = [&[22, 3, 1, 0, length + 4][..], &handshake].concat();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 65536]);
        let _ = connection.write_all(&record);
        // The client's alert, so that the connection is closed and not reset.
        let _ = connection.read(&mut [0; 64]);
    });
    port
}
