//! What a scope is from its making to its end.

use std::{fs, sync::Arc, time::Duration};

use cert_agent::workload::{CgroupError, Program, Scopes};
use daemon::SystemClock;
use policy::reason::Reason;

use super::node::{Node, config, null, output, within};

#[tokio::test(flavor = "multi_thread")]
async fn program_runs_as_its_user_with_nothing_of_ours() {
    let node = Node::new();
    let (running, mut lines) = node.launch(&["hold"]).await;
    assert_eq!(within(lines.next_line()).await.unwrap().unwrap(), "holding");
    let proc = |name: &str| {
        fs::read_to_string(format!("/proc/{}/{name}", running.pid().unwrap())).unwrap()
    };
    let status = proc("status");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    let uid = node.uid;
    assert_eq!(field("Uid:"), format!("{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(field("Gid:"), format!("{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(
        (field("Groups:"), field("NoNewPrivs:")),
        (String::new(), "1".to_owned())
    );
    assert_eq!(
        (field("CapPrm:"), field("CapEff:")),
        ("0000000000000000".to_owned(), "0000000000000000".to_owned())
    );
    let ignored = u64::from_str_radix(&field("SigIgn:"), 16).unwrap();
    assert_eq!(ignored & 0x7fff_ffff, 0, "a signal is ignored: {ignored:x}");
    assert_eq!(proc("environ"), "PATH=/usr/bin:/bin\0");
    assert_eq!(
        proc("cmdline"),
        format!("{}\0hold\0", node.attackers.program.display())
    );
    let open = fs::read_dir(format!("/proc/{}/fd", running.pid().unwrap())).unwrap();
    let mut open: Vec<_> = open
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_the_file_that_was_hashed() {
    let node = Node::new();
    let spec = node.spec(&["hold"]).await;
    fs::rename(&node.attackers.program, node.path("moved")).unwrap();
    fs::copy("/bin/false", &node.attackers.program).unwrap();
    let (running, mut lines) = node.launch_spec(spec).await.unwrap();
    assert_eq!(within(lines.next_line()).await.unwrap().unwrap(), "holding");
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_written_between_hash_and_start_is_killed() {
    let node = Node::new();
    let spec = node.spec(&["hold"]).await;
    // A byte more at its end changes nothing of what it does. Another process writes it: one that is forked here meanwhile must not hold it open.
    let append = ["-c", "printf x >> \"$1\"", "sh"];
    let mut shell = std::process::Command::new("sh");
    let written = shell.args(append).arg(&node.attackers.program).status();
    assert!(written.unwrap().success());
    let refused = node.launch_spec(spec).await.unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadModified);
    within(node.scopes.removed()).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_and_signals_pass_through() {
    let node = Node::new();
    let (mut running, _lines) = node.launch(&["nonsense"]).await;
    assert_eq!(within(running.wait()).await, 97);
    assert_eq!(within(running.wait()).await, 97);
    drop(running);
    let (mut running, _lines) = node.launch(&["hold"]).await;
    running.signal(15).unwrap();
    assert_eq!(within(running.wait()).await, 128 + 15);
    assert!(running.signal(15).is_err());
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_end_with_their_program() {
    let node = Node::new();
    let (mut running, asking) = node.launch_asking("helper", &["/bin/sleep", "100"]).await;
    let workload = Arc::clone(running.workload());
    let scope = node.scopes.directory().join(&workload.id);
    assert_eq!(
        fs::read_to_string(scope.join("cgroup.procs"))
            .unwrap()
            .lines()
            .count(),
        2
    );
    running.signal(9).unwrap();
    assert_eq!(within(running.wait()).await, 128 + 9);
    assert!(!scope.exists());
    within(node.scopes.gone(&workload)).await;
    assert_eq!(
        node.scopes.check(&workload, None).await.unwrap_err().reason,
        Reason::WorkloadGone
    );
    assert_eq!(
        node.judge(&asking).await.unwrap_err().reason,
        Reason::WorkloadGone
    );
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_program_is_killed_and_its_scope_removed() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("ask", &[]).await;
    let workload = Arc::clone(running.workload());
    let gone = node.scopes.gone(&workload);
    drop(running);
    within(gone).await;
    within(asking.peer.exited()).await;
    within(node.scopes.removed()).await;
    assert!(node.scopes.workloads().is_empty());
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_in_which_nothing_runs_yet_is_checked_and_removed() {
    let node = Node::new();
    let prepared = node.scopes.prepare(node.spec(&["hold"]).await).unwrap();
    let workload = Arc::clone(prepared.workload());
    node.scopes.check(&workload, None).await.unwrap();
    assert_eq!(workload.id, "payments-1");
    drop(prepared);
    within(node.scopes.gone(&workload)).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_leaves_the_scope_running() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("helper", &["/bin/sleep", "100"]).await;
    for _ in 0..3 {
        assert!(node.judge(&asking).await.is_err());
        let scope = node.scopes.directory().join(&running.workload().id);
        assert_eq!(
            fs::read_to_string(scope.join("cgroup.freeze")).unwrap(),
            "0\n"
        );
        assert!(
            fs::read_to_string(scope.join("cgroup.events"))
                .unwrap()
                .contains("frozen 0")
        );
    }
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_at_the_same_time_all_pass() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("ask", &[]).await;
    let mut checks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (scopes, workload, peer) = (
            node.scopes.clone(),
            Arc::clone(running.workload()),
            asking.peer.clone(),
        );
        checks.spawn(async move { scopes.check(&workload, Some(&peer)).await });
    }
    for checked in within(checks.join_all()).await {
        checked.unwrap();
    }
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_of_one_scope_is_not_in_another() {
    let node = Node::new();
    let (first, asking) = node.launch_asking("ask", &[]).await;
    let (second, _lines) = node.launch(&["hold"]).await;
    let refused = node
        .scopes
        .check(second.workload(), Some(&asking.peer))
        .await
        .unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    node.scopes
        .check(first.workload(), Some(&asking.peer))
        .await
        .unwrap();
    drop((first, second));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_do_not_share_a_user_and_root_has_none() {
    let node = Node::new();
    let (running, _lines) = node.launch(&["hold"]).await;
    let mut other = node.spec(&["hold"]).await;
    other.grant = "billing".to_owned();
    let refused = node.scopes.prepare(other).unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    assert!(refused.detail.contains("payments"), "{}", refused.detail);
    let mut root = node.spec(&["hold"]).await;
    root.uid = 0;
    assert_eq!(
        node.scopes.prepare(root).unwrap_err().reason,
        Reason::WorkloadNotIsolated
    );
    let (second, _lines) = node.launch(&["hold"]).await;
    assert_ne!(running.workload().id, second.workload().id);
    drop((running, second));
    within(node.scopes.removed()).await;
    let mut other = node.spec(&["hold"]).await;
    other.grant = "billing".to_owned();
    drop(node.scopes.prepare(other).expect("the user is free again"));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_cannot_start_is_refused() {
    let node = Node::new();
    let mut bytes = fs::read(&node.attackers.program).unwrap();
    bytes[18] = 0xf3; // e_machine: another processor's
    fs::write(node.path("foreign"), bytes).unwrap();
    std::os::unix::fs::chown(node.path("foreign"), Some(0), Some(0)).unwrap();
    fs::set_permissions(
        node.path("foreign"),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    let mut spec = node.spec(&["hold"]).await;
    spec.program = Program::open(&node.path("foreign")).await.unwrap();
    let refused = node.launch_spec(spec).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AttestorFailed);
    assert!(
        refused.detail.contains("cannot execute the program"),
        "{}",
        refused.detail
    );
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_agent_cannot_have_the_first_ones_scopes() {
    let node = Node::new();
    let name = node
        .scopes
        .directory()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert!(matches!(
        Scopes::open(config(&name), SystemClock::shared()),
        Err(CgroupError::Held { .. })
    ));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_of_an_earlier_run_are_ended() {
    let node = Node::new();
    let leftover = node.scopes.directory().with_extension("earlier");
    fs::create_dir_all(leftover.join("payments-1/below")).unwrap();
    let mut child = std::process::Command::new("/bin/sleep")
        .arg("100")
        .spawn()
        .unwrap();
    fs::write(
        leftover.join("payments-1/cgroup.procs"),
        child.id().to_string(),
    )
    .unwrap();
    let name = leftover.file_name().unwrap().to_str().unwrap();
    let scopes = Scopes::open(config(name), SystemClock::shared()).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!leftover.join("payments-1").exists());
    drop(scopes);
    assert!(!leftover.exists());
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn launcher_that_ends_early_is_told() {
    let node = Node::new();
    let name = format!(
        "{}-false",
        node.scopes
            .directory()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
    );
    let mut config = config(&name);
    config.launcher = "/bin/false".into();
    let scopes = Scopes::open(config, SystemClock::shared()).unwrap();
    let (output, _lines) = output();
    let prepared = scopes.prepare(node.spec(&["hold"]).await).unwrap();
    let refused = tokio::time::timeout(
        Duration::from_secs(5),
        prepared.start([null(), output, null()]),
    )
    .await
    .unwrap()
    .unwrap_err();
    assert_eq!(refused.reason, Reason::AttestorFailed);
    assert!(
        refused.detail.contains("ended without a word"),
        "{}",
        refused.detail
    );
    within(scopes.removed()).await;
    node.close().await;
}
