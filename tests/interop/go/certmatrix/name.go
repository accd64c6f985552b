package main

import "unicode/utf16"

// Attribute types of a Name.
const (
	oidCommonName   = "2.5.4.3"
	oidSerial       = "2.5.4.5"
	oidCountry      = "2.5.4.6"
	oidOrganization = "2.5.4.10"
	oidUnit         = "2.5.4.11"
	oidEmail        = "1.2.840.113549.1.9.1"
	oidDomain       = "0.9.2342.19200300.100.1.25"
	oidUserID       = "0.9.2342.19200300.100.1.1"
	// oidUID is Kubernetes' attribute for a user's UID.
	oidUID = "1.3.6.1.4.1.57683.2"
)

func utf8s(s string) []byte         { return tlv(tagUTF8, []byte(s)) }
func printable(s string) []byte     { return tlv(tagPrintable, []byte(s)) }
func ia5(s string) []byte           { return tlv(tagIA5, []byte(s)) }
func raw(tag byte, s string) []byte { return tlv(tag, []byte(s)) }

// bmp is a BMPString; what is beyond the plane becomes a pair of surrogates.
func bmp(s string) []byte { return tlv(tagBMP, units(s)) }

func units(s string) []byte {
	var content []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		content = append(content, byte(unit>>8), byte(unit))
	}
	return content
}

// universal is a UniversalString: four octets a character.
func universal(s string) []byte {
	var content []byte
	for _, r := range s {
		content = append(content, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	return tlv(tagUniversal, content)
}

func attribute(kind string, value []byte) []byte { return seq(oid(kind), value) }

// rdn is one step of a Name, its attributes in the order given.
func rdn(attributes ...[]byte) []byte { return set(attributes...) }

func one(kind string, value []byte) []byte { return rdn(attribute(kind, value)) }

func cn(value []byte) []byte  { return one(oidCommonName, value) }
func org(value []byte) []byte { return one(oidOrganization, value) }
func uid(value []byte) []byte { return one(oidUID, value) }

// name is a Name of these steps.
func name(rdns ...[]byte) []byte { return seq(rdns...) }

// named is the Name of an authority.
func named(common string) []byte { return name(cn(utf8s(common))) }
