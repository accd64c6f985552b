package main

import (
	"math/big"
	"strconv"
	"strings"
)

// Everything is written by hand: crypto/x509 refuses to make most of what this program is about.

// Tags of the universal class.
const (
	tagBoolean      = 0x01
	tagInteger      = 0x02
	tagBits         = 0x03
	tagOctets       = 0x04
	tagNull         = 0x05
	tagOID          = 0x06
	tagEnumerated   = 0x0a
	tagUTF8         = 0x0c
	tagNumeric      = 0x12
	tagPrintable    = 0x13
	tagT61          = 0x14
	tagVideotex     = 0x15
	tagIA5          = 0x16
	tagUTCTime      = 0x17
	tagGeneralTime  = 0x18
	tagGraphic      = 0x19
	tagVisible      = 0x1a
	tagGeneral      = 0x1b
	tagUniversal    = 0x1c
	tagBMP          = 0x1e
	tagSequence     = 0x30
	tagSet          = 0x31
	contextSpecific = 0x80
	constructed     = 0x20
)

// join concatenates.
func join(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// tlv is one element with a minimal length.
func tlv(tag byte, parts ...[]byte) []byte {
	content := join(parts...)
	return join([]byte{tag}, length(len(content)), content)
}

// length is the shortest form of a length.
func length(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	octets := big.NewInt(int64(n)).Bytes()
	return append([]byte{0x80 | byte(len(octets))}, octets...)
}

// longTLV is one element whose length takes one octet more than it needs.
func longTLV(tag byte, content []byte) []byte {
	octets := big.NewInt(int64(len(content))).Bytes()
	if len(content) >= 0x80 {
		octets = append([]byte{0}, octets...)
	}
	return join([]byte{tag, 0x80 | byte(len(octets))}, octets, content)
}

// indefinite is one element of indefinite length, as BER has it.
func indefinite(tag byte, content []byte) []byte {
	return join([]byte{tag, 0x80}, content, []byte{0, 0})
}

func seq(parts ...[]byte) []byte { return tlv(tagSequence, parts...) }
func set(parts ...[]byte) []byte { return tlv(tagSet, parts...) }
func null() []byte               { return []byte{tagNull, 0} }
func octets(b ...[]byte) []byte  { return tlv(tagOctets, b...) }

// context is an element [n]; constructed when isConstructed.
func context(n byte, isConstructed bool, parts ...[]byte) []byte {
	tag := contextSpecific | n
	if isConstructed {
		tag |= constructed
	}
	return tlv(tag, parts...)
}

func boolean(value bool) []byte {
	if value {
		return []byte{tagBoolean, 1, 0xff}
	}
	return []byte{tagBoolean, 1, 0}
}

// integer is any whole number in two's complement.
func integer(value int64) []byte { return tlv(tagInteger, twosComplement(big.NewInt(value))) }

func bigInteger(value *big.Int) []byte { return tlv(tagInteger, twosComplement(value)) }

func twosComplement(value *big.Int) []byte {
	if value.Sign() >= 0 {
		return append(make([]byte, leadingZero(value)), nonEmpty(value.Bytes())...)
	}
	bytes := uint(value.BitLen()/8 + 1)
	power := new(big.Int).Lsh(big.NewInt(1), 8*bytes)
	return power.Add(power, value).Bytes()
}

func leadingZero(value *big.Int) int {
	if value.BitLen() > 0 && value.BitLen()%8 == 0 {
		return 1
	}
	return 0
}

func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

// bits is a BIT STRING whose last `unused` bits do not count.
func bits(unused byte, content ...byte) []byte {
	return tlv(tagBits, []byte{unused}, content)
}

// oid is an OBJECT IDENTIFIER of dotted numbers of any size.
func oid(dotted string) []byte { return tlv(tagOID, oidContent(dotted)) }

func oidContent(dotted string) []byte {
	var arcs []*big.Int
	for _, part := range strings.Split(dotted, ".") {
		arc, ok := new(big.Int).SetString(part, 10)
		if !ok {
			panic("not an object identifier: " + dotted)
		}
		arcs = append(arcs, arc)
	}
	first := new(big.Int).Mul(arcs[0], big.NewInt(40))
	content := base128(first.Add(first, arcs[1]))
	for _, arc := range arcs[2:] {
		content = append(content, base128(arc)...)
	}
	return content
}

func base128(value *big.Int) []byte {
	rest, seven := new(big.Int).Set(value), big.NewInt(0x7f)
	out := []byte{byte(new(big.Int).And(rest, seven).Uint64())}
	for rest.Rsh(rest, 7); rest.Sign() > 0; rest.Rsh(rest, 7) {
		digit := byte(new(big.Int).And(rest, seven).Uint64())
		out = append([]byte{digit | 0x80}, out...)
	}
	return out
}

// repeat is a dotted text of n equal arcs after a prefix.
func repeat(prefix string, arc, n int) string {
	return prefix + strings.Repeat("."+strconv.Itoa(arc), n)
}
