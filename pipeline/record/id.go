package record

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
)

// UUID is a 16-byte id in network order, as PostgreSQL's uuid.
type UUID [16]byte

// ParseUUID reads the usual 36-character form, in either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("%q is not a UUID (want 8-4-4-4-12 hexadecimal digits)", s)
	}
	if _, err := hex.Decode(u[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil {
		return UUID{}, fmt.Errorf("%q is not a UUID (want 8-4-4-4-12 hexadecimal digits)", s)
	}
	return u, nil
}

// String returns the lower-case 36-character form.
func (u UUID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
	return string(b[:])
}

// IsZero reports whether u is the nil UUID, which stands for "none".
func (u UUID) IsZero() bool { return u == UUID{} }

// MarshalText and UnmarshalText make a UUID a JSON string.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err == nil {
		*u = v
	}
	return err
}

// RowID is the id of the row that an Intercom object makes: the version 5 UUID of
// "intercom:<kind>:<id>" in the organisation's own namespace. Every run computes the same one, and no
// two organisations share one.
func RowID(org UUID, kind Kind, sourceID string) UUID {
	return nameUUID(org, "intercom:"+string(kind)+":"+sourceID)
}

// KnowledgeID is the id of a knowledge row.
func KnowledgeID(org UUID, key, kind string, chunkIndex int) UUID {
	return nameUUID(org, fmt.Sprintf("intercom:knowledge:%s\x00%s\x00%d", key, kind, chunkIndex))
}

func nameUUID(space UUID, name string) UUID {
	h := sha1.New()
	h.Write(space[:])
	h.Write([]byte(name))
	var u UUID
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}

// EmailKey is the form in which e-mail addresses are compared: outer blanks and case do not count
// (contract, "Identity"). It agrees with lower(btrim(email)) for ASCII; other letters are lowered by
// Unicode's rules on our side only, so the sink stores no such form.
func EmailKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// EmailClaim is the EmailKey by which a contact is known, "" if the address is none: what has no name and host
// around an @ ("none", "n/a") is shared by strangers and must not make them one person.
func EmailClaim(email string) string {
	key := EmailKey(email)
	name, host, ok := strings.Cut(key, "@")
	if !ok || name == "" || host == "" {
		return ""
	}
	return key
}
