//! The applications: a server at each site that says where it is, and a crowd of clients that stay.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::support::Outcome;

/// Serves connections on a free port: whatever byte comes, `answer` goes back.
pub(crate) async fn serve(answer: u8) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tasks.spawn(async move {
                while client.read_u8().await.is_ok() && client.write_u8(answer).await.is_ok() {}
            });
        }
    });
    Ok(port)
}

/// Long connections to one address, each with the answer it got at first.
pub(crate) struct Crowd {
    to: SocketAddr,
    members: Vec<(TcpStream, u8)>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, members: Vec::new() }
    }

    /// Opens that many more, and asks each where it got to.
    pub(crate) async fn grow(&mut self, connections: usize) -> Outcome<()> {
        for _ in 0..connections {
            let mut stream = TcpStream::connect(self.to).await?;
            let answer = ask(&mut stream).await?;
            self.members.push((stream, answer));
        }
        Ok(())
    }

    /// How many there are that got that answer.
    pub(crate) fn count(&self, answer: u8) -> u64 {
        self.members.iter().filter(|(_, of)| *of == answer).count() as u64
    }

    /// Asks those with that answer again: each must give the same.
    pub(crate) async fn ask_again(&mut self, answer: u8) -> Outcome<()> {
        for (stream, expected) in self.members.iter_mut().filter(|(_, of)| *of == answer) {
            if ask(stream).await? != *expected {
                return Err("a connection was moved to another site".into());
            }
        }
        Ok(())
    }

    /// Waits until those with that answer have been ended by the router, and lets them go.
    pub(crate) async fn see_off(&mut self, answer: u8) -> Outcome<()> {
        for (stream, _) in self.members.iter_mut().filter(|(_, of)| *of == answer) {
            match timeout(PATIENCE, stream.read_u8()).await? {
                Ok(_) => return Err("a connection goes on without its server".into()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(format!("not a reset: {error}").into()),
            }
        }
        self.members.retain(|(_, of)| *of != answer);
        Ok(())
    }
}

async fn ask(stream: &mut TcpStream) -> Outcome<u8> {
    stream.write_all(b"?").await?;
    Ok(timeout(PATIENCE, stream.read_u8()).await??)
}

/// How long anything may take; all of it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
