//! The ground under the workers on both drivers: panics, the two directions of one task, deadlines, clients that leave. Not
//! protocol. Invariant: what is shown for io_uring is shown for epoll.

#![allow(clippy::expect_used, reason = "a test may fail loudly")]

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;

use super::{
    Bell, Broken, Buf, Driver, Reader, Signal, Stream, Sweep, Sweeping, Tcp, TcpBell, TcpReader,
    TcpWriter, Writer, catch_panic, clock, detect, race, run, sleep_ms, spawn, told_within,
};

/// Runs the same on a thread of its own for each driver, with a sweep that ticks.
pub(super) fn on_both<F: Future<Output = ()> + 'static>(
    main: impl Fn() -> F + Clone + Send + 'static,
) {
    for driver in [detect(), Driver::Epoll] {
        let main = main.clone();
        let ran = std::thread::spawn(move || {
            run(driver, || async move {
                spawn(async {
                    loop {
                        Sweep::of_thread().tick(clock::now_ms());
                        sleep_ms(5).await;
                    }
                });
                Sweep::of_thread().tick(clock::now_ms());
                main().await;
            })
            .expect("a runtime");
        });
        assert!(ran.join().is_ok(), "{driver:?}");
    }
}

/// A connection under the sweep and its other end.
async fn pair() -> ((TcpReader, TcpWriter), TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let ours = Tcp::connect(address, 1_000).await.expect("a connection");
    (ours, listener.accept().expect("a connection").0)
}

pub(super) fn soon(ms: u64) -> u64 {
    clock::now_ms() + ms
}

#[test]
fn a_panic_is_contained_and_the_runtime_goes_on() {
    on_both(|| async {
        let told = Rc::new(Cell::new(0));
        let (ours, mut theirs) = pair().await;
        let seen = Rc::clone(&told);
        spawn(async move {
            let caught = catch_panic(async move {
                let _held = ours;
                sleep_ms(1).await;
                assert!(std::hint::black_box(false), "on purpose");
            });
            seen.set(if caught.await.is_none() { 1 } else { 2 });
        });
        while told.get() == 0 {
            sleep_ms(1).await;
        }
        assert_eq!(told.get(), 1);
        assert_eq!(theirs.read(&mut [0]).ok(), Some(0), "its connection ends");
        assert_eq!(Sweep::of_thread().connections(), 0, "and is not watched");
        assert_eq!(catch_panic(async { 7 }).await, Some(7));
    });
}

#[test]
fn a_race_ends_with_its_main_side_and_keeps_what_the_other_said() {
    on_both(|| async {
        let slow = async {
            sleep_ms(20).await;
            1
        };
        assert_eq!(race(pin!(slow), pin!(async { 2 })).await, (1, Some(2)));
        let never = std::future::pending::<u8>();
        assert_eq!(race(pin!(async { 1 }), pin!(never)).await, (1, None));
        // What the main side tells is heard by the other in the same turn, and so is the other way round.
        let (there, back) = (Cell::new(false), Cell::new(false));
        let main = async {
            there.set(true);
            assert!(told_within(&back, sleep_ms(5_000)).await);
        };
        let side = async {
            let told = told_within(&there, sleep_ms(5_000)).await;
            back.set(true);
            told
        };
        assert_eq!(race(pin!(main), pin!(side)).await, ((), Some(true)));
        assert!(!told_within(&Cell::new(false), sleep_ms(5)).await);
    });
}

#[test]
fn a_late_read_times_out_and_leaves_the_other_direction_open() {
    on_both(|| async {
        let ((mut reader, mut writer), mut theirs) = pair().await;
        let (read, buf) = reader.read(Buf::with_capacity(10), soon(20)).await;
        assert_eq!(read, Err(Broken::TimedOut));
        let (again, mut buf) = reader.read(buf, u64::MAX).await;
        assert_eq!(again, Err(Broken::TimedOut), "and stays so");
        buf.out().extend_from_slice(b"bye");
        let (written, _) = writer.write(buf, 3, soon(1_000)).await;
        assert_eq!(written, Ok(()));
        let mut told = [0; 3];
        assert!(theirs.read_exact(&mut told).is_ok() && &told == b"bye");
    });
}

#[test]
fn a_read_without_a_deadline_gets_one_from_the_other_half() {
    on_both(|| async {
        let ((mut reader, writer), _theirs) = pair().await;
        let waiting = reader.read(Buf::with_capacity(10), u64::MAX);
        let side = async { writer.answer_by(soon(20)) };
        let ((read, _), _) = race(pin!(waiting), pin!(side)).await;
        assert_eq!(read, Err(Broken::TimedOut));
    });
}

#[test]
fn a_read_that_stands_back_keeps_the_deadline_of_the_other_half() {
    on_both(|| async {
        let ((mut reader, mut writer), _theirs) = pair().await;
        // On epoll these complete at once, and the next operation lets others run first.
        for _ in 0..64 {
            let mut buf = Buf::with_capacity(1);
            buf.out().push(b'a');
            assert_eq!(writer.write(buf, 1, u64::MAX).await.0, Ok(()));
        }
        let told = Cell::new(false);
        let both = async {
            let waiting = reader.read(Buf::with_capacity(10), u64::MAX);
            let side = async { writer.answer_by(soon(20)) };
            let ((read, _), _) = race(pin!(waiting), pin!(side)).await;
            assert_eq!(read, Err(Broken::TimedOut));
            told.set(true);
        };
        let (ended, _) = race(pin!(told_within(&told, sleep_ms(5_000))), pin!(both)).await;
        assert!(ended, "the deadline was lost");
    });
}

#[test]
fn a_write_to_a_peer_that_does_not_read_times_out() {
    on_both(|| async {
        let ((_reader, mut writer), _theirs) = pair().await;
        let mut buf = Buf::with_capacity(64 << 20);
        buf.out().resize(64 << 20, b'a');
        let (written, _) = writer.write(buf, 64 << 20, soon(50)).await;
        assert_eq!(written, Err(Broken::TimedOut));
    });
}

#[test]
fn a_client_that_leaves_breaks_its_upstream_off_and_no_other() {
    on_both(|| async {
        let ((_client_reader, client), theirs) = pair().await;
        let ((mut upstream, _upstream_writer), _service) = pair().await;
        let ((mut other, _other_writer), mut other_service) = pair().await;
        client.tie(&other);
        client.untie();
        client.tie(&upstream);
        drop(theirs);
        let (read, _) = upstream.read(Buf::with_capacity(10), soon(5_000)).await;
        assert_eq!(read, Err(Broken::Gone));
        assert!(other_service.write_all(b"x").is_ok());
        let (read, _) = other.read(Buf::with_capacity(10), soon(5_000)).await;
        assert_eq!(read, Ok(1));
    });
}

#[test]
fn idle_connections_are_ended_by_a_drain_and_the_oldest_by_want() {
    on_both(|| async {
        let ((mut old, _a), _b) = pair().await;
        let ((mut young, _c), _d) = pair().await;
        old.idle(true);
        sleep_ms(20).await;
        young.idle(true);
        let sweep = Sweep::of_thread();
        assert!(sweep.evict_oldest_idle());
        let (read, _) = old.read(Buf::with_capacity(10), soon(5_000)).await;
        assert_eq!(read, Err(Broken::Evicted));
        sweep.end_idle();
        let (read, _) = young.read(Buf::with_capacity(10), soon(5_000)).await;
        assert_eq!(read, Err(Broken::Draining));
        young.idle(false);
        assert!(!sweep.evict_oldest_idle(), "none is left");
    });
}

#[test]
fn a_connection_that_is_lost_while_its_end_means_something_resets() {
    on_both(|| async {
        for on in [true, false] {
            let ((reader, writer), mut theirs) = pair().await;
            writer.reset_when_lost(true);
            writer.reset_when_lost(on);
            drop((reader, writer));
            assert_eq!(theirs.read(&mut [0]).is_err(), on);
        }
    });
}

#[test]
fn a_parked_connection_rings_when_something_comes_and_wakes_whole() {
    on_both(|| async {
        let bell = TcpBell::new().expect("an epoll instance");
        let (one, mut first) = pair().await;
        let (two, second) = pair().await;
        let (three, _third) = pair().await;
        let halves = [one, two, three];
        let parked: Vec<_> = halves
            .map(|(reader, writer)| Tcp::park(reader, writer).expect("nothing is in flight"))
            .into();
        assert_eq!(Sweep::of_thread().connections(), 0, "none is watched");
        for (tag, parked) in (0..).zip(&parked) {
            assert_eq!(TcpBell::signal(parked), Signal::Quiet);
            bell.watch(parked, tag).expect("room in the kernel");
        }
        assert!(first.write_all(b"hello").is_ok());
        drop(second);
        let mut rung = Vec::new();
        while rung.len() < 2 {
            bell.rung(&mut rung).await;
        }
        rung.sort_unstable_by_key(|(tag, _)| *tag);
        let told = [(0, Some(Signal::Bytes)), (1, None)];
        assert_eq!(rung, told, "each once, the third is quiet");
        let signals: Vec<Signal> = parked.iter().map(TcpBell::signal).collect();
        assert_eq!(signals, [Signal::Bytes, Signal::End, Signal::Quiet]);
        let awake = parked.into_iter().next().map(Tcp::wake);
        let (mut reader, writer) = awake.expect("three").expect("an open socket");
        let (read, buf) = reader.read(Buf::with_capacity(10), soon(1_000)).await;
        assert_eq!((read, buf.filled()), (Ok(5), &b"hello"[..]));
        assert_eq!(Sweep::of_thread().connections(), 1);

        // Again, under another tag; what has come before rings as well.
        let again = Tcp::park(reader, writer).expect("nothing is in flight");
        assert!(first.write_all(b"again").is_ok());
        for tag in [7, 8] {
            bell.watch(&again, tag).expect("it hangs there already");
            rung.clear();
            bell.rung(&mut rung).await;
            assert_eq!(rung, [(tag, Some(Signal::Bytes))]);
        }
    });
}
