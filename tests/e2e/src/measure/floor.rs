//! What no implementation can go below: the request's signature is verified once, the certificate
//! is signed once.

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use rustix::time::{ClockId, clock_gettime};

/// Rounds; about a quarter of a second.
const ROUNDS: u32 = 2000;
/// About as long as what is signed in a certificate.
const SIGNED_BYTES: usize = 400;

/// Processor time of one P-256 verification and one P-256 signature, in milliseconds, by the
/// library that the product uses.
pub(crate) fn signature_ms() -> Result<f64> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let message = [7; SIGNED_BYTES];
    let signature = key.sign(&random, &message)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref());
    thread_cpu_ms(|| {
        key.sign(&random, &message)?;
        public
            .verify(&message, signature.as_ref())
            .map_err(|error| anyhow!(error))
    })
}

/// Processor time of this thread for one call, over many.
fn thread_cpu_ms(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let begun = thread_ms();
    for _ in 0..ROUNDS {
        call()?;
    }
    Ok((thread_ms() - begun) / f64::from(ROUNDS))
}

fn thread_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let ms = time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6;
    ms
}
