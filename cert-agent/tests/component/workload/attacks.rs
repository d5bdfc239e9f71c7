//! What an attacker with the grant's own user can do on the host. Each attack fails for a reason of its own; the signed program by the same path gets in.

use std::{fs, process::Command};

use cert_agent::workload::{Refused, Scopes};
use evidence::digest::Digest;
use policy::reason::Reason;

use super::node::{Asking, Node, within};

async fn refusal(node: &Node, asking: &Asking) -> Refused {
    node.judge(asking)
        .await
        .expect_err("an attacker got an identity")
}

/// The signed program, by the same socket and as the same user.
async fn signed_program_gets_in(node: &Node) {
    let (running, asking) = node.launch_asking("ask", &[]).await;
    let workload = node.judge(&asking).await.unwrap();
    assert_eq!(&workload, running.workload());
    assert_eq!(
        workload.program,
        Digest::sha256_of(&fs::read(&node.attackers.program).unwrap())
    );
    node.scopes
        .check(&workload, Some(&asking.peer))
        .await
        .unwrap();
}

fn digest_of(program: &std::path::Path) -> Vec<Digest> {
    vec![Digest::sha256_of(&fs::read(program).unwrap())]
}

#[tokio::test(flavor = "multi_thread")]
async fn forked_child_that_kept_the_socket_is_gone() {
    let node = Node::new();
    let mut attacker = node.attack("fork", &[]);
    let asking = node.accept().await;
    within(asking.peer.exited()).await;
    assert_eq!(refusal(&node, &asking).await.reason, Reason::WorkloadGone);
    asking.refuse().await;
    assert_eq!(attacker.line().await, "nothing");
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attacker_that_became_the_signed_program_is_changed() {
    let node = Node::new();
    let program = node.attackers.program.clone();
    let mut attacker = node.attack("exec", &[program.to_str().unwrap(), "hold"]);
    let asking = node.accept().await;
    assert_eq!(attacker.line().await, "holding");
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadChanged);
    assert_eq!(refused.digests, digest_of(&node.attackers.attacker));
    asking.refuse().await;
    assert_eq!(attacker.line().await, "nothing");
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_that_passed_its_socket_on_is_not_isolated() {
    let node = Node::new();
    let mut attacker = node.attack("pass", &[]);
    let asking = node.accept().await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    assert_eq!(refused.digests, digest_of(&node.attackers.attacker));
    assert_eq!(refused.workload, format!("pid {}", attacker.pid()));
    assert_eq!(refused.selectors, asking.peer.selectors());
    asking.refuse().await;
    assert_eq!(attacker.line().await, "nothing");
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_exe_link_from_a_user_namespace_fails_the_attestor() {
    let node = Node::new();
    let copy = node.readable_copy();
    let mut attacker = node.attack("forge", &[copy.to_str().unwrap()]);
    let asking = node.accept().await;
    assert_eq!(
        fs::read_link(format!("/proc/{}/exe", attacker.pid())).unwrap(),
        copy,
        "the attack itself must work"
    );
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::AttestorFailed);
    assert!(
        refused.detail.contains("user namespace"),
        "{}",
        refused.detail
    );
    asking.refuse().await;
    assert_eq!(attacker.line().await, "nothing");
    signed_program_gets_in(&node).await;
    node.close().await;
}

/// The child that forges has the namespace; its parent, which asks, has only the forged link. So the link proves nothing outside a scope.
#[tokio::test(flavor = "multi_thread")]
async fn exe_link_forged_through_shared_memory_is_not_isolated() {
    let node = Node::new();
    let copy = node.readable_copy();
    let mut attacker = node.attack("forge-shared", &[copy.to_str().unwrap()]);
    let asking = node.accept().await;
    assert_eq!(
        fs::read_link(format!("/proc/{}/exe", attacker.pid())).unwrap(),
        copy,
        "the attack itself must work"
    );
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    assert_eq!(
        refused.digests,
        digest_of(&node.attackers.program),
        "its digest is that of the signed program, and helps it nothing"
    );
    asking.refuse().await;
    assert_eq!(attacker.line().await, "nothing");
    signed_program_gets_in(&node).await;
    node.close().await;
}

/// Not even a file to point the link at: the program's user cannot open it.
#[tokio::test(flavor = "multi_thread")]
async fn exe_link_cannot_be_pointed_at_a_program_of_0711() {
    let node = Node::new();
    let program = node.attackers.program.clone();
    let mut attacker = node.attack("forge", &[program.to_str().unwrap()]);
    assert_eq!(attacker.line().await, "failed: open: Permission denied");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_program_started_by_hand_is_not_isolated() {
    let node = Node::new();
    let socket = node.socket();
    let by_hand = node.run(&node.attackers.program, &["ask", socket.to_str().unwrap()]);
    let asking = node.accept().await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    assert_eq!(refused.digests, digest_of(&node.attackers.program));
    drop(by_hand);
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_program_in_a_cgroup_made_by_hand_is_not_isolated() {
    let node = Node::new();
    let by_hand = HandMade::beside(&node.scopes);
    let socket = node.socket();
    let script = format!(
        "echo 0 > {0}/cgroup.procs; exec setpriv --reuid {1} --regid {1} --clear-groups {2} ask {3}",
        by_hand.0.display(),
        node.uid,
        node.attackers.program.display(),
        socket.display()
    );
    let mut shell = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .spawn()
        .unwrap();
    let asking = node.accept().await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadNotIsolated);
    assert!(
        refused.detail.contains(&by_hand.name()),
        "{}",
        refused.detail
    );
    shell.kill().unwrap();
    shell.wait().unwrap();
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helper_that_nobody_signed_modifies_the_workload() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("helper", &["/bin/sleep", "100"]).await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadModified);
    assert!(refused.detail.contains("sleep"), "{}", refused.detail);
    drop(running);
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_started_with_a_preloaded_library_modifies_the_workload() {
    let node = Node::new();
    let library = node.attackers.library.clone();
    let (running, asking) = node
        .launch_asking("preload", &[library.to_str().unwrap()])
        .await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadModified);
    assert!(refused.detail.contains("LD_PRELOAD"), "{}", refused.detail);
    drop(running);
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loader_variable_is_not_passed_to_a_program() {
    let node = Node::new();
    let mut spec = node.spec(&["hold"]).await;
    spec.environment
        .push(("LD_PRELOAD".into(), node.attackers.library.clone().into()));
    let refused = node.launch_spec(spec).await.unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadModified);
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn library_that_others_can_change_modifies_the_workload() {
    let node = Node::new();
    let library = node.path("mine.so");
    fs::copy(&node.attackers.library, &library).unwrap();
    std::os::unix::fs::chown(&library, Some(node.uid), None).unwrap();
    let (running, asking) = node
        .launch_asking("load", &[library.to_str().unwrap()])
        .await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::WorkloadModified);
    assert!(refused.detail.contains("mine.so"), "{}", refused.detail);
    drop(running);
    let (running, asking) = node
        .launch_asking("load", &[node.attackers.library.to_str().unwrap()])
        .await;
    node.judge(&asking)
        .await
        .expect("a library of root's is as good as the system's own");
    drop(running);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_became_another_in_its_scope_is_changed() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("become", &["/bin/sleep", "100"]).await;
    assert_eq!(
        refusal(&node, &asking).await.reason,
        Reason::WorkloadChanged
    );
    drop(running);
    signed_program_gets_in(&node).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_with_a_capability_to_forge_fails_the_attestor() {
    let node = Node::new();
    let socket = node.socket();
    let (uid, program) = (
        node.uid.to_string(),
        node.attackers.program.to_str().unwrap(),
    );
    let mut privileged = Command::new("setpriv")
        .args([
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
            "--inh-caps",
            "+checkpoint_restore",
            "--ambient-caps",
            "+checkpoint_restore",
        ])
        .args([program, "ask", socket.to_str().unwrap()])
        .spawn()
        .unwrap();
    let asking = node.accept().await;
    let refused = refusal(&node, &asking).await;
    assert_eq!(refused.reason, Reason::AttestorFailed);
    assert!(
        refused.detail.contains("CAP_CHECKPOINT_RESTORE"),
        "{}",
        refused.detail
    );
    privileged.kill().unwrap();
    privileged.wait().unwrap();
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_program_cannot_be_read_by_its_own_user() {
    let node = Node::new();
    let (running, asking) = node.launch_asking("ask", &[]).await;
    let mut reader = node.run(
        &node.attackers.attacker,
        &["memory", &asking.peer.pid().to_string()],
    );
    assert_eq!(reader.line().await, "refused");
    drop(running);
    // A program that its user can read is what the rule is for.
    let socket = node.socket();
    let readable = node.run(&node.readable_copy(), &["ask", socket.to_str().unwrap()]);
    let _asking = node.accept().await;
    let mut reader = node.run(
        &node.attackers.attacker,
        &["memory", &readable.pid().to_string()],
    );
    assert_eq!(reader.line().await, "read");
    node.close().await;
}

/// A cgroup that the test makes itself, beside the node's.
struct HandMade(std::path::PathBuf);

impl HandMade {
    fn beside(scopes: &Scopes) -> Self {
        let path = scopes.directory().with_extension("by-hand");
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for HandMade {
    fn drop(&mut self) {
        let _removed = fs::remove_dir(&self.0);
    }
}
