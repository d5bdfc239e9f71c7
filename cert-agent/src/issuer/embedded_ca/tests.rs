use std::os::unix::fs::PermissionsExt as _;

use daemon::{SystemClock, metrics::Registry};
use identity::{
    private_key::PrivateKey,
    spiffe_id::SpiffeId,
    x509_svid::{Leaf, chain_from_pem, chain_to_pem, verify_chain},
};
use parking_lot::Mutex;

use super::{certificate::CaKey, *};
use crate::issuer::check_chain;

#[derive(Debug, Clone)]
struct HandClock(Arc<Mutex<SystemTime>>);

impl HandClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemClock.now())))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> SystemTime {
        *self.0.lock()
    }
}

struct Ca {
    files: tempfile::TempDir,
    clock: HandClock,
}

impl Ca {
    fn new() -> Self {
        let ca = Self {
            files: tempfile::tempdir().unwrap(),
            clock: HandClock::new(),
        };
        ca.directory().init(&domain(), ca.clock.now()).unwrap();
        ca
    }

    fn directory(&self) -> Directory {
        Directory::at(self.files.path())
    }

    fn open(&self) -> Result<EmbeddedCa, CaError> {
        EmbeddedCa::open(
            self.directory(),
            domain(),
            Arc::new(self.clock.clone()),
            Metrics::new(&Registry::new()),
        )
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.files.path().join(name)).unwrap()
    }
}

fn domain() -> TrustDomain {
    TrustDomain::parse("acme.test").unwrap()
}

fn request(ttl: Duration, key: &PrivateKey) -> SigningRequest {
    let id = SpiffeId::parse("spiffe://acme.test/ns/pay/sa/payments").unwrap();
    SigningRequest::new(id, vec!["payments.acme.test".to_owned()], ttl, key).unwrap()
}

fn issued(ca: &EmbeddedCa, ttl: Duration) -> (Vec<CertificateDer<'static>>, Leaf) {
    let key = PrivateKey::generate().unwrap();
    let chain = ca.sign(&request(ttl, &key)).unwrap();
    let leaf = Leaf::parse(&chain[0]).unwrap();
    assert_eq!(leaf.public_key, *key.public_key());
    (chain, leaf)
}

#[test]
fn leaf_keeps_every_rule_and_chains_to_the_root() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    let (chain, leaf) = issued(&open, Duration::from_hours(1));
    let bundle = open.authorities().borrow().bundle.clone();
    verify_chain(&chain[0], &chain[1..], &bundle, ca.clock.now()).unwrap();
    assert_eq!(leaf.dns_names, ["payments.acme.test"]);
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap();
    assert_eq!(
        life,
        Duration::from_hours(1) + Duration::from_secs(10),
        "notBefore is ten seconds back"
    );
    // basicConstraints is written with cA false: some validators refuse a leaf without it.
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
    assert!(parsed.extended_key_usage().unwrap().is_some());
}

#[test]
fn serials_are_random_and_long() {
    let ca = Ca::new().open().unwrap();
    let (_, one) = issued(&ca, Duration::from_hours(1));
    let (_, other) = issued(&ca, Duration::from_hours(1));
    assert_ne!(one.serial, other.serial);
    assert!(one.serial.len() >= 30, "{}", one.serial);
}

#[test]
fn leaf_never_outlives_the_intermediate() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    ca.clock.advance(Duration::from_hours(7 * 24 - 1));
    let (_, leaf) = issued(&open, Duration::from_hours(24));
    assert_eq!(leaf.not_after, open.loaded.borrow().authority().not_after);
}

#[test]
fn ended_intermediate_signs_nothing() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    ca.clock.advance(Duration::from_hours(7 * 24));
    let key = PrivateKey::generate().unwrap();
    assert!(matches!(
        open.sign(&request(Duration::from_hours(1), &key)),
        Err(IssueError::Unavailable { .. })
    ));
    assert!(open.left().is_zero());
}

#[test]
fn request_without_proof_is_refused() {
    let ca = Ca::new().open().unwrap();
    let mut request = request(Duration::from_hours(1), &PrivateKey::generate().unwrap());
    request.public_key = PrivateKey::generate().unwrap().public_key().clone();
    assert!(matches!(
        ca.sign(&request),
        Err(IssueError::Unproven { .. })
    ));
}

#[test]
fn chain_for_another_request_is_not_accepted() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    let bundle = open.authorities().borrow().bundle.clone();
    let (key, other) = (
        PrivateKey::generate().unwrap(),
        PrivateKey::generate().unwrap(),
    );
    let chain = open.sign(&request(Duration::from_hours(1), &key)).unwrap();
    let wanted = request(Duration::from_hours(1), &other);
    assert!(matches!(
        check_chain(&chain, &wanted, &bundle, ca.clock.now()),
        Err(IssueError::WrongKey)
    ));
    let id = SpiffeId::parse("spiffe://acme.test/other").unwrap();
    let wanted = SigningRequest::new(id, Vec::new(), Duration::from_hours(1), &key).unwrap();
    assert!(matches!(
        check_chain(&chain, &wanted, &bundle, ca.clock.now()),
        Err(IssueError::WrongIdentity { .. })
    ));
    assert!(matches!(
        check_chain(&[], &wanted, &bundle, ca.clock.now()),
        Err(IssueError::NoChain)
    ));
    let same = request(Duration::from_hours(1), &key);
    assert!(
        matches!(
            check_chain(&chain[..1], &same, &bundle, ca.clock.now()),
            Err(IssueError::Chain { .. })
        ),
        "the intermediate is missing"
    );
    assert!(
        matches!(
            check_chain(&chain[1..], &same, &bundle, ca.clock.now()),
            Err(IssueError::Leaf { .. })
        ),
        "an authority is no leaf"
    );
}

#[test]
fn name_that_no_certificate_can_hold_is_refused() {
    let ca = Ca::new().open().unwrap();
    let key = PrivateKey::generate().unwrap();
    let id = SpiffeId::parse("spiffe://acme.test/x").unwrap();
    let request = SigningRequest::new(
        id,
        vec!["bücher.test".to_owned()],
        Duration::from_hours(1),
        &key,
    )
    .unwrap();
    assert!(matches!(
        ca.sign(&request),
        Err(IssueError::Encoding { .. })
    ));
}

#[test]
fn new_intermediate_is_announced_before_it_signs_and_the_old_one_stays_known() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    let (old_chain, _) = issued(&open, Duration::from_hours(1));
    ca.directory().renew_intermediate(ca.clock.now()).unwrap();
    let mut look = Look::default();
    open.reload(&mut look);
    assert_eq!(open.authorities().borrow().intermediates.len(), 2);
    assert_eq!(
        issued(&open, Duration::from_hours(1)).0[1],
        old_chain[1],
        "announced, not yet signing"
    );
    open.reload(&mut look);
    let (new_chain, _) = issued(&open, Duration::from_hours(1));
    assert_ne!(new_chain[1], old_chain[1]);
    let intermediates = open.authorities().borrow().intermediates.clone();
    assert_eq!(intermediates, [new_chain[1].clone(), old_chain[1].clone()]);
}

#[test]
fn broken_directory_keeps_the_last_good_intermediate() {
    let ca = Ca::new();
    let open = ca.open().unwrap();
    let (before, _) = issued(&open, Duration::from_hours(1));
    std::fs::remove_file(ca.files.path().join("intermediate.pem")).unwrap();
    std::fs::write(ca.files.path().join("intermediate.pem"), "garbage").unwrap();
    std::fs::remove_file(ca.files.path().join("..data")).unwrap();
    let mut look = Look::default();
    open.reload(&mut look);
    assert!(look.said.broken.is_some());
    assert_eq!(issued(&open, Duration::from_hours(1)).0[1], before[1]);
}

#[test]
fn warning_comes_with_a_third_of_the_life_left() {
    let day = Duration::from_hours(24);
    let (begin, end) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 6 * day);
    assert_eq!(Runway::of(begin, end, begin + 4 * day), Runway::Enough);
    assert_eq!(
        Runway::of(begin, end, begin + 4 * day + Duration::from_secs(1)),
        Runway::Short
    );
    assert_eq!(Runway::of(begin, end, end), Runway::Over);
}

#[test]
fn keys_are_for_root_alone() {
    let ca = Ca::new();
    for key in ["root.key", "intermediate.key"] {
        let mode = std::fs::metadata(ca.files.path().join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let key = ca.files.path().join("intermediate.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(ca.open(), Err(CaError::Exposed { .. })));
}

#[test]
fn agent_runs_without_the_roots_key_and_renewal_does_not() {
    let ca = Ca::new();
    std::fs::remove_file(ca.files.path().join("root.key")).unwrap();
    assert!(ca.open().is_ok());
    assert!(!ca.directory().has_root_key());
    assert!(matches!(
        ca.directory().renew_intermediate(ca.clock.now()),
        Err(CaError::File { .. })
    ));
}

#[test]
fn root_is_never_overwritten() {
    let ca = Ca::new();
    let before = ca.read("root.pem");
    assert!(matches!(
        ca.directory().init(&domain(), ca.clock.now()),
        Err(CaError::Exists { .. })
    ));
    assert_eq!(ca.read("root.pem"), before);
}

#[test]
fn root_of_another_trust_domain_is_refused() {
    let ca = Ca::new();
    let other = TrustDomain::parse("other.test").unwrap();
    assert!(matches!(
        ca.directory().load(&other, ca.clock.now()),
        Err(CaError::WrongTrustDomain { .. })
    ));
}

#[test]
fn intermediate_of_another_root_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    std::fs::write(ca.files.path().join("root.pem"), other.read("root.pem")).unwrap();
    assert!(matches!(ca.open(), Err(CaError::Intermediate { .. })));
}

#[test]
fn key_of_another_intermediate_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let key = swapped_path(&ca, "intermediate.key");
    std::fs::write(key, other.read("intermediate.key")).unwrap();
    assert!(matches!(ca.open(), Err(CaError::Mismatch)));
}

#[test]
fn garbage_and_several_certificates_are_refused() {
    let ca = Ca::new();
    let intermediate = swapped_path(&ca, "intermediate.pem");
    let pem = std::fs::read(&intermediate).unwrap();
    std::fs::write(&intermediate, [pem.clone(), pem].concat()).unwrap();
    assert!(matches!(ca.open(), Err(CaError::NotOneCertificate { .. })));
    std::fs::write(&intermediate, "-----BEGIN NOTHING").unwrap();
    assert!(ca.open().is_err());
    let ca = Ca::new();
    std::fs::write(swapped_path(&ca, "intermediate.key"), "no key").unwrap();
    assert!(matches!(ca.open(), Err(CaError::InvalidKey { .. })));
}

#[test]
fn long_lived_intermediate_is_refused() {
    let ca = Ca::new();
    let root = chain_from_pem(&ca.read("root.pem")).unwrap().remove(0);
    let root_key = CaKey::from_pem("root.key".into(), &ca.read("root.key")).unwrap();
    let key = CaKey::generate().unwrap();
    let certificate = certificate::authority_for(
        &domain(),
        &key,
        &root,
        &root_key,
        ca.clock.now(),
        Duration::from_hours(8 * 24),
    )
    .unwrap();
    std::fs::write(
        swapped_path(&ca, "intermediate.pem"),
        chain_to_pem(&[certificate]),
    )
    .unwrap();
    std::fs::write(
        swapped_path(&ca, "intermediate.key"),
        key.key().pkcs8_pem().as_bytes(),
    )
    .unwrap();
    assert!(matches!(ca.open(), Err(CaError::TooLong)));
}

fn swapped_path(ca: &Ca, name: &str) -> std::path::PathBuf {
    crate::swapped::generation(ca.files.path()).join(name)
}
