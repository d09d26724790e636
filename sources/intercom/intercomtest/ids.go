package intercomtest

import (
	"strconv"
	"strings"
)

// Ids are computed from an object's index and turned back into it, so that a
// read by id needs no table however large the workspace is.

const (
	// ghostBase is the first index of contacts that are referred to but do not
	// exist (deleted before the workspace was opened).
	ghostBase = 1 << 30
	// mergedBase is the first index of contacts that were merged away before
	// the workspace was opened.
	mergedBase = 1 << 31
	// goneBase is the first index of conversations that were deleted before
	// the workspace was opened.
	goneBase = 1 << 33
	// partsPerObject bounds how many parts one conversation or ticket may have;
	// part ids of object i lie in [i*partsPerObject, (i+1)*partsPerObject).
	partsPerObject = 4096

	conversationIDBase = 215_400_000_000_000
	conversationIDStep = 11
	conversationPartID = 10_000_000_000
	ticketPartID       = 900_000_000_000_000
	sourceIDBase       = 403_918_000
)

// hexID builds the 24 hex characters of a contact, company or segment id: the
// creation time, as in Intercom's own ids, then the index, scrambled.
func (s *scrambler) hexID(kind uint64, index int, created int64) string {
	var b [24]byte
	putHex(b[:8], uint64(created)&0xffffffff)
	putHex(b[8:], s.mix(kind, uint64(index)))
	return string(b[:])
}

// uuidID builds the other form in which company ids occur.
func (s *scrambler) uuidID(kind uint64, index int, created int64) string {
	h := s.hexID(kind, index, created)
	m := s.mix(kind, uint64(index))
	var tail [12]byte
	putHex(tail[:], m&0xffffffffffff)
	return h[:8] + "-5cab-4" + h[8:11] + "-b" + h[11:12] + strconv.Itoa(int(h[8]%10)) + "a-" + string(tail[:])
}

// parseHexID gives the index in a 24 character id; the caller compares the id
// made of that index with the one it was given, which checks the rest of it.
func (s *scrambler) parseHexID(kind uint64, id string) (int, bool) {
	if len(id) != 24 {
		return 0, false
	}
	v, err := strconv.ParseUint(id[8:], 16, 64)
	if err != nil {
		return 0, false
	}
	i := s.unmix(kind, v)
	if i > 1<<40 {
		return 0, false
	}
	return int(i), true
}

// scrambler maps small numbers onto 64 bits and back.
type scrambler struct{ mask uint64 }

const (
	scrambleMul = 0x9e3779b97f4a7c15
	scrambleInv = 0xf1de83e19937733d // scrambleMul * scrambleInv = 1 mod 2^64
)

func (s *scrambler) mix(kind, x uint64) uint64 {
	x = (x + 1) * scrambleMul
	x ^= x >> 32
	return x ^ mix64(s.mask+kind)
}

func (s *scrambler) unmix(kind, x uint64) uint64 {
	x ^= mix64(s.mask + kind)
	x ^= x >> 32
	return x*scrambleInv - 1
}

func putHex(dst []byte, v uint64) {
	const digits = "0123456789abcdef"
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = digits[v&15]
		v >>= 4
	}
}

func conversationID(index int) string {
	return strconv.FormatUint(conversationIDBase+uint64(index)*conversationIDStep, 10)
}

// parseDecimalID splits a conversation or ticket id. Back-office tickets and
// the like, which are no conversations, have ids off the grid by 7.
func parseDecimalID(id string) (index int, ticketOnly, ok bool) {
	if len(id) != 15 || strings.TrimLeft(id, "0123456789") != "" {
		return 0, false, false
	}
	v, err := strconv.ParseUint(id, 10, 64)
	if err != nil || v < conversationIDBase {
		return 0, false, false
	}
	v -= conversationIDBase
	switch v % conversationIDStep {
	case 0:
		return int(v / conversationIDStep), false, true
	case 7:
		return int(v / conversationIDStep), true, true
	}
	return 0, false, false
}

func ticketOnlyID(index int) string {
	return strconv.FormatUint(conversationIDBase+uint64(index)*conversationIDStep+7, 10)
}
