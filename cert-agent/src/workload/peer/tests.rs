use super::{credentials::open_pidfd, *};

fn own() -> Credentials {
    let pid = i32::try_from(std::process::id()).unwrap();
    Credentials {
        pid,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    }
}

fn pinned_by_pidfd_open(credentials: Credentials) -> Result<Peer, Refused> {
    Peer::pin(
        credentials,
        open_pidfd(credentials.pid)?,
        Identification::PidfdOpen,
    )
}

#[tokio::test]
async fn peer_of_a_pair_is_this_process() {
    let (stream, _other) = UnixStream::pair().unwrap();
    let peer = Peer::of(&stream).unwrap();
    assert_eq!((peer.pid(), peer.uid()), (std::process::id(), own().uid));
    assert_eq!(
        peer.selectors().first().unwrap().as_str(),
        format!("unix:uid:{}", own().uid)
    );
    assert!(peer.check_lives().is_ok());
}

#[tokio::test]
async fn peer_is_pinned_without_so_peerpidfd_too() {
    let (stream, _other) = UnixStream::pair().unwrap();
    let (by_socket, by_id) = (
        Peer::of(&stream).unwrap(),
        pinned_by_pidfd_open(own()).unwrap(),
    );
    assert_eq!(by_id.identification(), Identification::PidfdOpen);
    assert_eq!(
        (by_socket.pid(), by_socket.start_time()),
        (by_id.pid(), by_id.start_time())
    );
    assert_eq!(by_socket.executable().id(), by_id.executable().id());
}

#[tokio::test]
async fn process_that_took_over_the_id_is_not_the_peer() {
    let refused = pinned_by_pidfd_open(Credentials {
        uid: own().uid.wrapping_add(1),
        ..own()
    })
    .unwrap_err();
    assert_eq!(refused.reason, Reason::AttestorFailed);
}

#[tokio::test]
async fn process_that_cannot_be_seen_fails_the_attestor() {
    let refused = pinned_by_pidfd_open(Credentials { pid: 0, ..own() }).unwrap_err();
    assert_eq!(refused.reason, Reason::AttestorFailed);
}

#[tokio::test]
async fn ended_process_is_gone_before_and_after_it_is_reaped() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let credentials = Credentials {
        pid: i32::try_from(child.id()).unwrap(),
        ..own()
    };
    let pidfd = open_pidfd(credentials.pid).unwrap();
    while !has_exited(pidfd.as_fd()).unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        Peer::pin(
            credentials,
            pidfd.try_clone().unwrap(),
            Identification::PeerPidfd
        )
        .unwrap_err()
        .reason,
        Reason::WorkloadGone
    );
    child.wait().unwrap();
    assert_eq!(
        Peer::pin(credentials, pidfd, Identification::PeerPidfd)
            .unwrap_err()
            .reason,
        Reason::WorkloadGone
    );
    assert_eq!(
        pinned_by_pidfd_open(credentials).unwrap_err().reason,
        Reason::WorkloadGone
    );
}
