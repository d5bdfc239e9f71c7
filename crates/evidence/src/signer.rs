//! The keys that may vouch.

use aws_lc_rs::digest::{Context, SHA256};
use identity::public_key::{PublicKey, SpkiHash};

/// A set of public keys without duplicates, in the order of their hashes.
///
/// Two sets with the same keys have the same [`SignerSet::hash`], so caches of verified evidence can be keyed by it.
#[derive(Clone, Debug)]
pub struct SignerSet {
    keys: Vec<(SpkiHash, PublicKey)>,
    hash: [u8; 32],
}

impl SignerSet {
    /// Collects keys; the same key twice counts once.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().map(|key| (key.hash(), key)).collect();
        keys.sort_by_key(|(spki, _)| *spki);
        keys.dedup_by_key(|(spki, _)| *spki);
        let hash = hash_of(&keys);
        Self { keys, hash }
    }

    /// Each key with its hash.
    pub fn iter(&self) -> impl Iterator<Item = (&SpkiHash, &PublicKey)> {
        self.keys.iter().map(|(spki, key)| (spki, key))
    }

    /// The key with this hash.
    pub fn get(&self, spki: &SpkiHash) -> Option<&PublicKey> {
        self.keys
            .iter()
            .find(|(known, _)| known == spki)
            .map(|(_, key)| key)
    }

    /// How many distinct keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if nobody may vouch.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A hash over all keys, independent of the order they were given in.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

fn hash_of(keys: &[(SpkiHash, PublicKey)]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for (spki, _) in keys {
        context.update(spki.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use identity::private_key::PrivateKey;

    use super::*;

    #[test]
    fn the_same_keys_in_any_order_hash_alike() {
        let a = PrivateKey::generate().unwrap().public_key().clone();
        let b = PrivateKey::generate().unwrap().public_key().clone();
        let one = SignerSet::new([a.clone(), b.clone(), a.clone()]);
        let two = SignerSet::new([b, a.clone()]);
        assert_eq!(one.len(), 2);
        assert_eq!(one.hash(), two.hash());
        assert_ne!(one.hash(), SignerSet::new([a.clone()]).hash());
        assert!(one.get(&a.hash()).is_some());
    }
}
