package main

import "net"

// Extensions.
const (
	oidSubjectKeyID      = "2.5.29.14"
	oidKeyUsage          = "2.5.29.15"
	oidSubjectAltName    = "2.5.29.17"
	oidIssuerAltName     = "2.5.29.18"
	oidBasicConstraints  = "2.5.29.19"
	oidNameConstraints   = "2.5.29.30"
	oidCRLPoints         = "2.5.29.31"
	oidPolicies          = "2.5.29.32"
	oidPolicyMappings    = "2.5.29.33"
	oidAuthorityKeyID    = "2.5.29.35"
	oidPolicyConstraints = "2.5.29.36"
	oidExtendedKeyUsage  = "2.5.29.37"
	oidFreshestCRL       = "2.5.29.46"
	oidInhibitAnyPolicy  = "2.5.29.54"
	oidAuthorityInfo     = "1.3.6.1.5.5.7.1.1"
	oidTLSFeature        = "1.3.6.1.5.5.7.1.24"
	oidNetscapeType      = "2.16.840.1.113730.1.1"
	oidUnknown           = "1.3.6.1.4.1.57683.999"
)

// Purposes.
const (
	serverAuth      = "1.3.6.1.5.5.7.3.1"
	clientAuth      = "1.3.6.1.5.5.7.3.2"
	codeSigning     = "1.3.6.1.5.5.7.3.3"
	emailProtection = "1.3.6.1.5.5.7.3.4"
	ocspSigning     = "1.3.6.1.5.5.7.3.9"
	anyUsage        = "2.5.29.37.0"
	msLogon         = "1.3.6.1.4.1.311.20.2.2"
)

// extension is one extension with its type, so that it can be found and replaced.
type extension struct {
	kind string
	der  []byte
}

func extend(kind string, critical bool, value ...[]byte) extension {
	parts := [][]byte{oid(kind)}
	if critical {
		parts = append(parts, boolean(true))
	}
	return extension{kind, seq(append(parts, octets(value...))...)}
}

func purposes(kinds ...string) extension {
	var all [][]byte
	for _, kind := range kinds {
		all = append(all, oid(kind))
	}
	return extend(oidExtendedKeyUsage, false, seq(all...))
}

// Bits of a key usage, as the octets of its BIT STRING.
var (
	digitalSignature = bits(7, 0x80)
	keyEncipherment  = bits(5, 0x20)
	keyAgreement     = bits(3, 0x08)
	certSign         = bits(2, 0x04)
	certAndCRLSign   = bits(1, 0x06)
	noBits           = bits(0)
)

func keyUsage(value []byte) extension { return extend(oidKeyUsage, true, value) }

// basic is a BasicConstraints; a negative path length is left out.
func basic(isCA bool, path int64) extension {
	var parts [][]byte
	if isCA {
		parts = append(parts, boolean(true))
	}
	if path >= 0 {
		parts = append(parts, integer(path))
	}
	return extend(oidBasicConstraints, true, seq(parts...))
}

func skid(id string) extension { return extend(oidSubjectKeyID, false, octets([]byte(id))) }

func akid(id string) extension {
	return extend(oidAuthorityKeyID, false, seq(context(0, false, []byte(id))))
}

// General names.
func otherName(kind string, value []byte) []byte {
	return context(0, true, oid(kind), context(0, true, value))
}
func email(s string) []byte       { return context(1, false, []byte(s)) }
func dns(s string) []byte         { return context(2, false, []byte(s)) }
func directory(n []byte) []byte   { return context(4, true, n) }
func uri(s string) []byte         { return context(6, false, []byte(s)) }
func ipBytes(b ...byte) []byte    { return context(7, false, b) }
func registered(id string) []byte { return context(8, false, oidContent(id)) }

// ip is an address of four octets or of sixteen, as it is written.
func ip(text string) []byte {
	address := net.ParseIP(text)
	if four := address.To4(); four != nil {
		address = four
	}
	return ipBytes(address...)
}

// subnet is a range as a name constraint writes it.
func subnet(cidr string) []byte {
	address, network, err := net.ParseCIDR(cidr)
	must(network, err)
	// The bits below the mask stay: not everybody clears them.
	if four := address.To4(); four != nil {
		return ipBytes(append(append([]byte{}, four...), network.Mask...)...)
	}
	return ipBytes(append(append([]byte{}, address...), network.Mask...)...)
}

func alternative(names ...[]byte) extension { return extend(oidSubjectAltName, false, seq(names...)) }

func list(names ...[]byte) [][]byte { return names }

// constraints is a NameConstraints, critical as RFC 5280 wants it.
func constraints(permitted, excluded [][]byte) extension {
	return extend(oidNameConstraints, true, subtrees(permitted, excluded))
}

// laxConstraints is the same and not critical, as many authorities have it.
func laxConstraints(permitted, excluded [][]byte) extension {
	return extend(oidNameConstraints, false, subtrees(permitted, excluded))
}

func subtrees(permitted, excluded [][]byte) []byte {
	var parts [][]byte
	for n, names := range [][][]byte{permitted, excluded} {
		if names == nil {
			continue
		}
		var all [][]byte
		for _, base := range names {
			all = append(all, seq(base))
		}
		parts = append(parts, context(byte(n), true, all...))
	}
	return seq(parts...)
}

// policies is a CertificatePolicies without qualifiers.
func policies(ids ...string) extension {
	var all [][]byte
	for _, id := range ids {
		all = append(all, seq(oid(id)))
	}
	return extend(oidPolicies, false, seq(all...))
}

// policyConstraints leaves out what is negative.
func policyConstraints(requireExplicit, inhibitMapping int64) extension {
	var parts [][]byte
	for n, value := range []int64{requireExplicit, inhibitMapping} {
		if value >= 0 {
			parts = append(parts, context(byte(n), false, integer(value)[2:]))
		}
	}
	return extend(oidPolicyConstraints, true, seq(parts...))
}

func inhibitAny(skip int64) extension { return extend(oidInhibitAnyPolicy, true, integer(skip)) }

// mapping maps policies, in pairs.
func mapping(pairs ...string) extension {
	var all [][]byte
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, seq(oid(pairs[i]), oid(pairs[i+1])))
	}
	return extend(oidPolicyMappings, true, seq(all...))
}
