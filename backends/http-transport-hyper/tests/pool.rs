//! The pool's inside: reuse, expiry, cap, queue, cancellation, close.

mod peer;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use onex_http_transport_hyper::Config;
use onex_spi::http::{HttpPhase, HttpReason, HttpRequest, HttpResponse, HttpTransport};
use onex_spi::{Effect, ErrorKind, Result};
use peer::{OK, Peer, now, reason, transport, until};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

fn cap(most: usize) -> Config {
    Config::default().with_max_connections_per_origin(NonZeroUsize::new(most).expect("not zero"))
}

#[tokio::test]
async fn a_connection_is_reused_and_counted() {
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        let first = talk.head().await;
        talk.send(OK).await;
        talk.head().await;
        talk.send(OK).await;
        (talk, first)
    };
    let call = async {
        for _ in 0..2 {
            let response = transport.exchange(peer.get("/a?b=c")).await.expect("answered");
            assert_eq!(
                response.body.as_bytes().map(|bytes| &bytes[..]),
                Some(&b"hi"[..]),
                "whole at the head"
            );
        }
    };
    let ((_talk, head), ()) = tokio::join!(serve, call);
    assert_eq!(head, format!("GET /a?b=c HTTP/1.1\r\nhost: {}\r\n\r\n", peer.address));
    let stats = transport.pool_stats();
    assert_eq!(now(&stats), (1, 0, 1));
    assert_eq!(
        (stats.opened, stats.closed, stats.reused, stats.dial_errors),
        (Some(1), Some(0), Some(1), Some(0))
    );
}

#[tokio::test]
async fn an_idle_connection_expires_on_the_clock_and_no_task_stays() {
    // STARK-POOL-HTTP-01
    let (transport, clock) = transport(Config::default());
    let peer = Peer::new().await;
    let (mut talk, _) = tokio::join!(
        async {
            let mut talk = peer.accept().await;
            talk.head().await;
            talk.send(OK).await;
            talk
        },
        async { transport.exchange(peer.get("/")).await.expect("answered") }
    );
    clock.until_waiting(1).await;
    clock.advance(Duration::from_millis(89_999));
    tokio::task::yield_now().await;
    assert_eq!(now(&transport.pool_stats()), (1, 0, 1));
    clock.advance(Duration::from_millis(1));
    talk.until_closed().await;
    until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
    assert_eq!(transport.pool_stats().closed, Some(1));
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn dropping_the_transport_ends_every_task() {
    let (transport, clock) = transport(Config::default());
    let peer = Peer::new().await;
    let (mut talk, _) = tokio::join!(
        async {
            let mut talk = peer.accept().await;
            talk.head().await;
            talk.send(OK).await;
            talk
        },
        async { transport.exchange(peer.get("/")).await.expect("answered") }
    );
    clock.until_waiting(1).await;
    drop(transport);
    talk.until_closed().await;
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
    assert_eq!(clock.waiting(), 0);
}

#[tokio::test]
async fn the_cap_holds_and_the_queue_keeps_its_order() {
    let (transport, _) = transport(cap(1));
    let peer = Peer::new().await;
    let serve = async {
        let mut talk = peer.accept().await;
        let mut paths = Vec::new();
        for _ in 0..3 {
            let head = talk.head().await;
            assert_eq!(transport.pool_stats().open, Some(1));
            paths.push(head.split(' ').nth(1).expect("a path").to_owned());
            talk.send(OK).await;
        }
        paths
    };
    let calls = async {
        let call = |path| transport.exchange(peer.get(path));
        tokio::join!(biased; call("/1"), call("/2"), call("/3"))
    };
    let (paths, (one, two, three)) = tokio::join!(serve, calls);
    one.and(two).and(three).expect("all answered");
    assert_eq!(paths, ["/1", "/2", "/3"]);
    let stats = transport.pool_stats();
    assert_eq!((stats.opened, stats.reused), (Some(1), Some(2)));
}

#[tokio::test]
async fn a_place_that_is_left_goes_to_the_next_in_the_queue() {
    let (transport, _) = transport(cap(1));
    let peer = Peer::new().await;
    let serve = async {
        let mut first = peer.accept().await;
        first.head().await;
        first.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        first.until_closed().await;
        drop(first);
        let mut second = peer.accept().await;
        second.head().await;
        second.send(OK).await;
    };
    let call = |path| transport.exchange(peer.get(path));
    let ((), one, two) = tokio::join!(serve, call("/1"), call("/2"));
    one.and(two).expect("both answered");
    assert_eq!(transport.pool_stats().opened, Some(2));
}

#[tokio::test]
async fn a_cancelled_waiter_loses_nothing() {
    // STARK-POOL-GEN-03
    let (transport, _) = transport(cap(1));
    let peer = Peer::new().await;
    let one = spawn(&transport, peer.get("/1"));
    let mut talk = peer.accept().await;
    talk.head().await;
    let mut two = transport.exchange(peer.get("/2"));
    let mut three = transport.exchange(peer.get("/3"));
    assert!(poll(&mut two).await.is_none() && poll(&mut three).await.is_none());
    talk.send(OK).await;
    one.await.expect("no panic").expect("answered");
    // The connection was handed to the second call, which is dropped before it is polled again.
    drop(two);
    let (head, _) = tokio::join!(
        async {
            let head = talk.head().await;
            talk.send(OK).await;
            head
        },
        three
    );
    assert!(head.starts_with("GET /3 "), "{head}");
    assert_eq!(now(&transport.pool_stats()), (1, 0, 1));
}

fn spawn(transport: &Arc<dyn HttpTransport>, request: HttpRequest) -> JoinHandle<Result<HttpResponse>> {
    let transport = transport.clone();
    tokio::spawn(async move { transport.exchange(request).await })
}

async fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_full_queue_refuses_and_dropped_calls_leave_it() {
    // STARK-ERR-49
    let (transport, _) = transport(cap(1).with_max_waiting_per_origin(1));
    let peer = Peer::new().await;
    let mut running = transport.exchange(peer.get("/"));
    let mut waiting = transport.exchange(peer.get("/"));
    assert!(poll(&mut running).await.is_none() && poll(&mut waiting).await.is_none());
    let error = transport.exchange(peer.get("/")).await.expect_err("the queue is full");
    assert_eq!((error.kind(), error.effect()), (ErrorKind::ResourceExhausted, Effect::NotApplied));
    assert_eq!(reason(&error), Some(HttpReason::PoolExhausted));
    drop(waiting);
    let mut waiting = transport.exchange(peer.get("/"));
    assert!(poll(&mut waiting).await.is_none(), "a place in the queue is free again");
}

#[tokio::test]
async fn the_oldest_idle_connection_makes_room() {
    // STARK-POOL-HTTP-01
    let (transport, _) = transport(Config::default().with_max_idle_per_origin(2));
    let peer = Peer::new().await;
    let serve = async {
        let mut talks = Vec::new();
        for _ in 0..3 {
            let mut talk = peer.accept().await;
            talk.head().await;
            talks.push(talk);
        }
        assert_eq!(now(&transport.pool_stats()), (3, 3, 0));
        for talk in &mut talks {
            talk.send(OK).await;
        }
        talks
    };
    let call = || async { transport.exchange(peer.get("/")).await.expect("answered") };
    let (_talks, ..) = tokio::join!(serve, call(), call(), call());
    until(|| now(&transport.pool_stats()) == (2, 0, 2)).await;
    assert_eq!(transport.pool_stats().closed, Some(1));
}

#[tokio::test]
async fn a_dropped_call_and_a_dropped_body_close_their_connection() {
    // HTTP-24
    let (transport, _) = transport(Config::default());
    let peer = Peer::new().await;
    let call = spawn(&transport, peer.get("/"));
    let mut talk = peer.accept().await;
    talk.head().await;
    call.abort();
    assert!(call.await.expect_err("cancelled").is_cancelled());
    assert_eq!(now(&transport.pool_stats()).1, 0, "nothing is in use any more");
    talk.until_closed().await;
    let (mut talk, response) = tokio::join!(
        async {
            let mut talk = peer.accept().await;
            talk.head().await;
            talk.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789").await;
            talk
        },
        transport.exchange(peer.get("/"))
    );
    let mut response = response.expect("a head");
    let frame = response.body.frame().await.expect("some").expect("data");
    assert_eq!(frame.into_data().expect("data"), "0123456789");
    drop(response);
    talk.until_closed().await;
    until(|| now(&transport.pool_stats()) == (0, 0, 0)).await;
    until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn the_connect_timeout_is_the_requests_own() {
    let config = Config::default().with_connect_timeout(Duration::from_secs(5));
    let (transport, clock) = peer::stuck(config);
    for (own, due) in [(None, 5), (Some(2), 2)] {
        let peer = Peer::new().await;
        let mut request = peer.get("/");
        request.timeouts.connect = own.map(Duration::from_secs);
        let advance = async {
            clock.until_waiting(1).await;
            assert_eq!(clock.next_deadline(), Some(onex_spi::Clock::now(&clock) + Duration::from_secs(due)));
            clock.advance(Duration::from_secs(due));
        };
        let (ended, ()) = tokio::join!(transport.exchange(request), advance);
        let error = ended.expect_err("never connects");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::TimedOut, Effect::NotApplied));
        assert_eq!(error.http().and_then(|fault| fault.phase), Some(HttpPhase::Connect));
    }
    assert_eq!(now(&transport.pool_stats()), (0, 0, 0));
}

#[tokio::test]
async fn close_drains_then_cuts_and_later_calls_are_refused() {
    // HTTP-41
    for drains in [true, false] {
        let (transport, clock) = transport(Config::default());
        let peer = Peer::new().await;
        let serve = async {
            let mut talk = peer.accept().await;
            talk.head().await;
            until(|| clock.waiting() == 1).await;
            let late = transport.exchange(peer.get("/late")).await.expect_err("closing");
            assert_eq!((late.kind(), late.effect()), (ErrorKind::Closed, Effect::NotApplied));
            if drains {
                talk.send(OK).await;
            } else {
                clock.advance(Duration::from_secs(3));
            }
            talk.until_closed().await;
        };
        let close = async {
            until(|| now(&transport.pool_stats()).1 == 1).await;
            transport.close(Duration::from_secs(3)).await
        };
        let (ended, closed, ()) = tokio::join!(transport.exchange(peer.get("/")), close, serve);
        if drains {
            ended.expect("answered within its time");
            closed.expect("drained");
        } else {
            let error = ended.expect_err("cut");
            assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::Unknown));
            assert_eq!(closed.expect_err("cut").kind(), ErrorKind::TimedOut);
        }
        assert_eq!(now(&transport.pool_stats()), (0, 0, 0));
        transport.close(Duration::ZERO).await.expect("closing again is fine");
        until(|| Handle::current().metrics().num_alive_tasks() == 0).await;
    }
}

#[tokio::test]
async fn close_ends_dials_and_the_queue() {
    // STARK-ERR-51
    let (transport, clock) = peer::stuck(cap(1));
    let peer = Peer::new().await;
    let close = async {
        until(|| clock.waiting() == 1).await;
        transport.close(Duration::ZERO).await
    };
    let (dialling, waiting, closed) =
        tokio::join!(transport.exchange(peer.get("/")), transport.exchange(peer.get("/")), close);
    for ended in [dialling, waiting] {
        let error = ended.expect_err("closed");
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Closed, Effect::NotApplied));
    }
    assert_eq!(closed.expect_err("something was cut").kind(), ErrorKind::TimedOut);
}

/// Exchanges on all threads, every third given up after a few turns: nobody starves and the numbers add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_numbers_add_up_after_a_storm() {
    // STARK-POOL-GEN-04
    const CALLERS: usize = 24;
    const CALLS: usize = 60;
    let (transport, _) = transport(cap(5).with_max_idle_per_origin(3));
    let peer = Arc::new(Peer::new().await);
    let server = peer.clone();
    let serving = tokio::spawn(async move {
        loop {
            let mut talk = server.accept().await;
            tokio::spawn(async move {
                while talk.try_head().await.is_some() && talk.try_send(OK).await.is_ok() {}
            });
        }
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (transport, peer) = (transport.clone(), peer.clone());
            tokio::spawn(async move {
                for call in 0..CALLS {
                    let mut exchange = transport.exchange(peer.get("/"));
                    if (caller + call) % 3 > 0 {
                        let response = exchange.await.expect("answered");
                        assert_eq!(response.into_body().bytes(9).await.expect("read"), "hi");
                        continue;
                    }
                    for _ in 0..(caller * call) % 7 {
                        if poll(&mut exchange).await.is_some() {
                            break;
                        }
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    until(|| {
        let stats = transport.pool_stats();
        let (open, in_use, idle) = now(&stats);
        in_use == 0 && open == idle && idle <= 3 && stats.opened == stats.closed.map(|closed| closed + open)
    })
    .await;
    transport.close(Duration::from_secs(1)).await.expect("nothing runs");
    assert_eq!(now(&transport.pool_stats()), (0, 0, 0));
    serving.abort();
}
