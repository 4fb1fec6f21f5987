//! A TCP proxy that does harm when it is told to.
//!
//! ```text
//!  client ═══ FaultProxy ═══ server        each direction by itself: pass, delay on a clock, swallow, cut after n bytes
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use onex_spi::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Which way bytes travel through a proxy.
#[allow(clippy::exhaustive_enums, reason = "a stream has two directions")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

/// How a proxy ends a connection.
#[allow(clippy::exhaustive_enums, reason = "TCP knows these two")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order, with FIN.
    Fin,
    /// With a reset, on both sides.
    Reset,
}

/// What happens to the bytes of one direction.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    #[default]
    Pass,
    /// Each piece that arrives waits this long on the proxy's clock; later pieces wait behind it.
    Delay(Duration),
    /// They are read and dropped.
    Swallow,
    /// They pass until a connection carried this many in this direction, then it ends.
    CutAfter(u64, Ending),
}

/// What a proxy carried; bytes are summed over its connections.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections that were accepted, ever.
    pub connections: u64,
    /// Of these, the ones that live.
    pub open: u64,
    /// Bytes that arrived from clients.
    pub from_clients: u64,
    /// Bytes that were handed to the server.
    pub to_server: u64,
    /// Bytes that arrived from the server.
    pub from_server: u64,
    /// Bytes that were handed to clients.
    pub to_clients: u64,
}

/// Listens at 127.0.0.1 and carries each connection to one server; ends with this handle.
///
/// # Examples
/// ```no_run
/// # async fn example(server: std::net::SocketAddr, clock: std::sync::Arc<dyn onex_spi::Clock>) -> std::io::Result<()> {
/// use onex_testkit::net::{Direction, Ending, FaultProxy, Flow};
///
/// let proxy = FaultProxy::start(server, clock).await?;
/// proxy.set(Direction::ToClient, Flow::CutAfter(100, Ending::Reset));
/// // ... talk to proxy.address() ...
/// proxy.until(|carried| carried.to_clients == 100).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    clock: Arc<dyn Clock>,
    flows: watch::Sender<[Flow; 2]>,
    /// Changes when every connection is to end now.
    cut: watch::Sender<Ending>,
    carried: watch::Sender<Carried>,
}

impl FaultProxy {
    /// Listens at a free port, for connections to `server`.
    ///
    /// # Errors
    /// What listening met.
    pub async fn start(server: SocketAddr, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            clock,
            flows: watch::Sender::default(),
            cut: watch::Sender::new(Ending::Fin),
            carried: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// The address to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes one direction, from the next piece that arrives, on every connection.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.shared.flows.send_modify(|flows| flows[direction as usize] = flow);
    }

    /// Ends the connections that there are.
    pub fn cut(&self, ending: Ending) {
        self.shared.cut.send_modify(|cut| *cut = ending);
    }

    /// What was carried so far.
    #[must_use]
    pub fn carried(&self) -> Carried {
        *self.shared.carried.borrow()
    }

    /// Waits until `reached` holds.
    ///
    /// # Cancellation
    /// Leaves nothing behind.
    pub async fn until(&self, reached: impl Fn(&Carried) -> bool + Send + Sync) {
        // The sender is ours, so the wait cannot end by its loss.
        let _ = self.shared.carried.subscribe().wait_for(|carried| reached(carried)).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let open = Open::new(&shared);
                    connections.spawn(carry(client, open));
                }
                Err(error) => {
                    tracing::error!(%error, "the proxy cannot accept any more");
                    return;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.carried.send_modify(|carried| {
            carried.connections += 1;
            carried.open += 1;
        });
        Self(shared.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.carried.send_modify(|carried| carried.open -= 1);
    }
}

async fn carry(mut client: TcpStream, open: Open) {
    let shared = &*open.0;
    let mut cut = shared.cut.subscribe();
    let mut server = match TcpStream::connect(shared.server).await {
        Ok(server) => server,
        Err(error) => {
            tracing::debug!(%error, "the proxy cannot reach its server");
            end(&[&client], Ending::Reset);
            return;
        }
    };
    for stream in [&client, &server] {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::warn!(%error, "pieces may travel together");
        }
    }
    let ending = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(shared, Direction::ToServer, from_client, to_server);
        let back = pump(shared, Direction::ToClient, from_server, to_client);
        tokio::select! {
            ended = async { tokio::try_join!(there, back) } => ended.err(),
            _ = cut.changed() => Some(*cut.borrow_and_update()),
        }
    };
    end(&[&client, &server], ending.unwrap_or(Ending::Fin));
    // The sockets end before the count falls.
    drop((client, server));
    drop(open);
}

fn end(streams: &[&TcpStream], ending: Ending) {
    if ending == Ending::Fin {
        return;
    }
    for stream in streams {
        if let Err(error) = stream.set_zero_linger() {
            tracing::warn!(%error, "a connection will end without a reset");
        }
    }
}

/// Carries one direction; an error is the order to end the connection.
async fn pump(
    shared: &Shared,
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> Result<(), Ending> {
    let mut buffer = vec![0; 16 << 10];
    let mut passed = 0_u64;
    loop {
        // A reset of one side is handed on as such.
        let count = from.read(&mut buffer).await.map_err(|_| Ending::Reset)?;
        if count == 0 {
            // The other direction may go on.
            let _ = to.shutdown().await;
            return Ok(());
        }
        shared.carried.send_modify(|carried| match direction {
            Direction::ToServer => carried.from_clients += count as u64,
            Direction::ToClient => carried.from_server += count as u64,
        });
        let flow = shared.flows.borrow()[direction as usize];
        let piece = match flow {
            Flow::Pass => &buffer[..count],
            Flow::Swallow => continue,
            Flow::Delay(time) => {
                if let Some(until) = shared.clock.now().checked_add(time) {
                    shared.clock.sleep_until(until).await;
                }
                &buffer[..count]
            }
            Flow::CutAfter(most, _) => {
                let left = usize::try_from(most.saturating_sub(passed)).unwrap_or(usize::MAX);
                &buffer[..count.min(left)]
            }
        };
        to.write_all(piece).await.map_err(|_| Ending::Reset)?;
        passed += piece.len() as u64;
        shared.carried.send_modify(|carried| match direction {
            Direction::ToServer => carried.to_server += piece.len() as u64,
            Direction::ToClient => carried.to_clients += piece.len() as u64,
        });
        if let Flow::CutAfter(most, ending) = flow
            && passed >= most
        {
            return Err(ending);
        }
    }
}

#[cfg(test)]
mod tests {
    use onex_spi::TokioClock;

    use super::*;
    use crate::clock::ManualClock;
    use crate::net::{RawConnection, Script, ScriptedServer};

    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    async fn server() -> ScriptedServer {
        ScriptedServer::start(Script::new().send(ANSWER)).await.expect("a server")
    }

    #[tokio::test]
    async fn bytes_pass_and_are_counted() {
        let server = server().await;
        let proxy = FaultProxy::start(server.address(), Arc::new(TokioClock::new())).await.expect("a proxy");
        let mut client = RawConnection::open(proxy.address()).await.expect("connected");
        client.send(REQUEST).await.expect("sent");
        assert_eq!(client.response("GET").await.expect("a response").body, "ok");
        let carried = proxy.carried();
        assert_eq!((carried.connections, carried.open), (1, 1));
        assert_eq!((carried.to_server, carried.to_clients), (REQUEST.len() as u64, ANSWER.len() as u64));
        drop(client);
        proxy.until(|carried| carried.open == 0).await;
        server.until_closed(0).await;
    }

    #[tokio::test]
    async fn a_delay_runs_on_the_given_clock() {
        let (server, clock) = (server().await, ManualClock::new());
        let proxy = FaultProxy::start(server.address(), Arc::new(clock.clone())).await.expect("a proxy");
        proxy.set(Direction::ToServer, Flow::Delay(Duration::from_secs(3600)));
        let mut client = RawConnection::open(proxy.address()).await.expect("connected");
        client.send(REQUEST).await.expect("sent");
        clock.until_waiting(1).await;
        assert_eq!((proxy.carried().to_server, server.requests().len()), (0, 0));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(client.response("GET").await.expect("a response").body, "ok");
    }

    #[tokio::test]
    async fn what_is_swallowed_never_arrives() {
        let server = server().await;
        let proxy = FaultProxy::start(server.address(), Arc::new(TokioClock::new())).await.expect("a proxy");
        proxy.set(Direction::ToClient, Flow::Swallow);
        let mut client = RawConnection::open(proxy.address()).await.expect("connected");
        client.send(REQUEST).await.expect("sent");
        proxy.until(|carried| carried.from_server == ANSWER.len() as u64).await;
        assert_eq!(proxy.carried().to_clients, 0);
        proxy.cut(Ending::Fin);
        assert!(client.ended_cleanly().await);
    }

    #[tokio::test]
    async fn a_cut_comes_after_the_exact_byte_in_its_own_way() {
        let server = server().await;
        let proxy = FaultProxy::start(server.address(), Arc::new(TokioClock::new())).await.expect("a proxy");
        let most = ANSWER.len() as u64 - 1;
        for (ending, due) in
            [(Ending::Fin, io::ErrorKind::UnexpectedEof), (Ending::Reset, io::ErrorKind::ConnectionReset)]
        {
            proxy.set(Direction::ToClient, Flow::CutAfter(most, ending));
            let before = proxy.carried().to_clients;
            let mut client = RawConnection::open(proxy.address()).await.expect("connected");
            client.send(REQUEST).await.expect("sent");
            let error = client.response("GET").await.expect_err("a byte is missing");
            assert_eq!(error.kind(), due, "{ending:?}");
            assert_eq!(proxy.carried().to_clients - before, most);
        }
    }
}
