package main

import (
	"crypto"
	"crypto/ed25519"
	_ "crypto/md5" // For signatures that must be refused.
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// Object identifiers of hashes.
var oidOfHash = map[crypto.Hash]string{
	crypto.SHA1:   "1.3.14.3.2.26",
	crypto.SHA224: "2.16.840.1.101.3.4.2.4",
	crypto.SHA256: "2.16.840.1.101.3.4.2.1",
	crypto.SHA384: "2.16.840.1.101.3.4.2.2",
	crypto.SHA512: "2.16.840.1.101.3.4.2.3",
}

// algorithm is how a certificate is signed, and what it says about that.
type algorithm struct {
	identifier []byte
	hash       crypto.Hash
	// options is what the signer is told; nil: the hash.
	options crypto.SignerOpts
}

func (a algorithm) sign(k *key, message []byte) []byte {
	options := a.options
	if options == nil {
		options = a.hash
	}
	digest := message
	if a.hash != 0 {
		hash := a.hash.New()
		hash.Write(message)
		digest = hash.Sum(nil)
	}
	return must(k.signer.Sign(rand.Reader, digest, options))
}

// saying is the same algorithm under another name.
func (a algorithm) saying(identifier []byte) algorithm {
	a.identifier = identifier
	return a
}

func ecdsaWith(hash crypto.Hash) algorithm {
	return algorithm{identifier: identifier(map[crypto.Hash]string{
		crypto.SHA1:   "1.2.840.10045.4.1",
		crypto.SHA224: "1.2.840.10045.4.3.1",
		crypto.SHA256: "1.2.840.10045.4.3.2",
		crypto.SHA384: "1.2.840.10045.4.3.3",
		crypto.SHA512: "1.2.840.10045.4.3.4",
	}[hash]), hash: hash}
}

func oidRSAWith(hash crypto.Hash) string {
	return map[crypto.Hash]string{
		crypto.MD5:    "1.2.840.113549.1.1.4",
		crypto.SHA1:   "1.2.840.113549.1.1.5",
		crypto.SHA256: "1.2.840.113549.1.1.11",
		crypto.SHA384: "1.2.840.113549.1.1.12",
		crypto.SHA512: "1.2.840.113549.1.1.13",
		crypto.SHA224: "1.2.840.113549.1.1.14",
	}[hash]
}

func rsaWith(hash crypto.Hash) algorithm {
	return algorithm{identifier: identifier(oidRSAWith(hash), null()), hash: hash}
}

func ed25519Plain() algorithm {
	return algorithm{identifier: identifier(oidEd25519), options: crypto.Hash(0)}
}

// pss are the parameters of an RSASSA-PSS signature.
type pss struct {
	hash, mask crypto.Hash
	salt       int
	// saltSaid is the length in the parameters, when it is not the true one.
	saltSaid int
	// trailer is the trailer field; 0: left out, as the default is.
	trailer int64
	// noNull leaves the NULL out of the hashes' identifiers.
	noNull bool
}

func (p pss) algorithm() algorithm {
	hashID := func(hash crypto.Hash) []byte {
		if p.noNull {
			return identifier(oidOfHash[hash])
		}
		return identifier(oidOfHash[hash], null())
	}
	said := p.salt
	if p.saltSaid != 0 {
		said = p.saltSaid
	}
	parameters := [][]byte{
		context(0, true, hashID(p.hash)),
		context(1, true, identifier("1.2.840.113549.1.1.8", hashID(p.mask))),
		context(2, true, integer(int64(said))),
	}
	if p.trailer != 0 {
		parameters = append(parameters, context(3, true, integer(p.trailer)))
	}
	return algorithm{
		identifier: identifier(oidRSAPSS, seq(parameters...)),
		hash:       p.hash,
		options:    &rsa.PSSOptions{SaltLength: p.salt, Hash: p.hash},
	}
}

// usual is the algorithm that goes with a key when nothing else is said.
func usual(k *key) algorithm {
	switch k.signer.Public().(type) {
	case *rsa.PublicKey:
		return rsaWith(crypto.SHA256)
	case ed25519.PublicKey:
		return ed25519Plain()
	default:
		return ecdsaWith(crypto.SHA256)
	}
}
