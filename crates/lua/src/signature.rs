//! Signatures that scripts check: `importPublicKey()` and `verifySignature()`.

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use mlua::{AnyUserData, Error, FromLuaMulti, Lua, MultiValue};

/// A key as it was given: DER, `SubjectPublicKeyInfo` (RFC 5280).
pub(crate) struct PublicKey(Vec<u8>);

impl PublicKey {
    pub(crate) fn new(der: Vec<u8>) -> Self {
        Self(der)
    }
}

/// The key has no methods; it must only be known as an object.
pub(crate) fn register(lua: &Lua) -> mlua::Result<()> {
    lua.register_userdata_type::<PublicKey>(|_| {})
}

/// The first bytes of a text, as many as are said.
pub(crate) fn part(text: &mlua::String, length: usize) -> mlua::Result<Vec<u8>> {
    let bytes = text.as_bytes();
    let part = bytes.get(..length).map(<[u8]>::to_vec);
    part.ok_or_else(|| Error::runtime(format!("{length} bytes of {}: expected no more", bytes.len())))
}

/// What `verifySignature` is asked.
pub(crate) struct Asked {
    hash: String,
    key: Vec<u8>,
    signature: Vec<u8>,
    data: Vec<u8>,
}

impl FromLuaMulti for Asked {
    fn from_lua_multi(values: MultiValue, lua: &Lua) -> mlua::Result<Self> {
        type Arguments = (String, AnyUserData, mlua::String, usize, mlua::String, usize);
        let (hash, key, signature, signature_length, data, data_length) = Arguments::from_lua_multi(values, lua)?;
        let key = key.borrow::<PublicKey>()?.0.clone();
        Ok(Self { hash, key, signature: part(&signature, signature_length)?, data: part(&data, data_length)? })
    }
}

impl Asked {
    /// Is it good? If not, why.
    pub(crate) fn answer(self) -> mlua::Result<(bool, String)> {
        let algorithms: [&dyn VerificationAlgorithm; 2] = match self.hash.to_ascii_lowercase().as_str() {
            "sha256" => [&signature::RSA_PKCS1_2048_8192_SHA256, &signature::ECDSA_P256_SHA256_ASN1],
            "sha384" => [&signature::RSA_PKCS1_2048_8192_SHA384, &signature::ECDSA_P384_SHA384_ASN1],
            "sha512" => [&signature::RSA_PKCS1_2048_8192_SHA512, &signature::ECDSA_P521_SHA512_ASN1],
            other => return Ok((false, format!("{other} is not supported: expected sha256, sha384 or sha512"))),
        };
        let is_good = algorithms
            .into_iter()
            .any(|algorithm| algorithm.verify_sig(&self.key, &self.data, &self.signature).is_ok());
        let why = if is_good { String::new() } else { "the signature is not of this key and these data".to_owned() };
        Ok((is_good, why))
    }
}
