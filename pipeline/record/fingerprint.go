package record

import (
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
)

// Fingerprint is one object as one side of a diff has it, without its values. It is narrow, so that both sides of
// millions of objects fit into files, and needs no order.
type Fingerprint struct {
	SourceID  string // of the object; of knowledge: the conversation's
	UpdatedAt int64  // microseconds since 1970; 0 if unknown
	FetchedAt int64  // microseconds since 1970: when the side read it from Intercom; 0 if unknown
	// Hash is the row's content hash: as stored at level fast, computed from the values at level full. Of knowledge it is the sum, modulo
	// 2^128, of the content hashes of all rows of the conversation, so that the rows may come in any order and in parts.
	Hash  Digest
	Count int32 // rows: 1, of knowledge as many as the part of the sum is of, also 0
	State FingerprintState
}

// FingerprintState says how an object is there.
type FingerprintState uint8

const (
	FingerprintLive     FingerprintState = iota
	FingerprintDeleted                   // marked as gone, with the row still there
	FingerprintGone                      // a tombstone without a row
	FingerprintShared                    // a contact whose row shows another contact of the same person; Hash is of what it would write
	FingerprintRejected                  // it is there, but could not be mapped or loaded and is kept as a reject
	FingerprintExcluded                  // not there by a named rule, which Fetch tells; yielded by Fetch only
	// FingerprintDoubtful is no object but a mark on one that the side also yields: something that no hash covers is wrong with it (a link
	// to another row), so it is looked at in full whatever the hashes say.
	FingerprintDoubtful
	FingerprintUnread // it is there, but could not be read, so nothing is known of its present state
)

// Live reports whether the object counts as being there.
func (s FingerprintState) Live() bool {
	return s == FingerprintLive || s == FingerprintShared || s == FingerprintRejected || s == FingerprintUnread
}

// Fingerprint is the change's: of its row, or of its tombstone. The row must be sealed. Tombstones count as gone.
func (c *Change) Fingerprint() Fingerprint {
	f := Fingerprint{SourceID: c.SourceID, UpdatedAt: micros(c.Version.UpdatedAt), FetchedAt: micros(c.Version.FetchedAt), Count: 1}
	switch {
	case c.EndUser != nil:
		f.Hash = c.EndUser.Hash
	case c.Company != nil:
		f.Hash = c.Company.Hash
	case c.Transcript != nil:
		f.Hash = c.Transcript.Hash
	case c.Ticket != nil:
		f.Hash = c.Ticket.Hash
	default:
		f.State, f.Count = FingerprintGone, 0
	}
	return f
}

// KnowledgeFingerprint is that of the knowledge of a conversation, whole; of a conversation without any it has Count 0, and of one that is
// gone it says so, because an older state's knowledge is not to be taken for the present one. The rows must be sealed. A change of another
// kind has none.
func (c *Change) KnowledgeFingerprint() (f Fingerprint, ok bool) {
	if c.Kind != KindConversation {
		return Fingerprint{}, false
	}
	f = Fingerprint{SourceID: c.SourceID, UpdatedAt: micros(c.Version.UpdatedAt), FetchedAt: micros(c.Version.FetchedAt), Count: int32(len(c.Knowledge))}
	if c.Transcript == nil {
		f.State = FingerprintGone
	}
	for i := range c.Knowledge {
		f.Hash = f.Hash.Plus(c.Knowledge[i].Hash)
	}
	return f, true
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Plus is the sum of two digests modulo 2^128. A sum does not depend on the order of what is added.
func (d Digest) Plus(e Digest) Digest {
	low, carry := bits.Add64(binary.BigEndian.Uint64(d[8:]), binary.BigEndian.Uint64(e[8:]), 0)
	high, _ := bits.Add64(binary.BigEndian.Uint64(d[:8]), binary.BigEndian.Uint64(e[:8]), carry)
	var sum Digest
	binary.BigEndian.PutUint64(sum[:8], high)
	binary.BigEndian.PutUint64(sum[8:], low)
	return sum
}

// The methods below add fields as the database holds them, for who hashes a row without making a struct of it. They write what the
// methods of the same kind in digest.go write, but tell NULL from the empty text and from the zero time.

// TextBytes adds a text, NULL where it is nil.
func (e *Encoder) TextBytes(b []byte) {
	if b == nil {
		e.Null()
		return
	}
	e.head(tagText, len(b))
	e.buf = append(e.buf, b...)
}

// Micros adds an instant in microseconds since 1970.
func (e *Encoder) Micros(us int64) {
	e.buf = append(e.buf, tagTime)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(us))
}

// List begins a list of n texts, which are to be added by Text or TextBytes.
func (e *Encoder) List(n int) { e.head(tagList, n) }

// Namer makes the ids of RowID and KnowledgeID from bytes and without allocating. Not safe for concurrent use.
type Namer struct{ buf []byte }

// Row is RowID.
func (n *Namer) Row(org UUID, kind Kind, sourceID []byte) UUID {
	n.buf = append(n.buf[:0], org[:]...)
	n.buf = append(n.buf, "intercom:"...)
	n.buf = append(n.buf, kind...)
	n.buf = append(n.buf, ':')
	n.buf = append(n.buf, sourceID...)
	return n.uuid()
}

// Knowledge is KnowledgeID.
func (n *Namer) Knowledge(org UUID, key, kind []byte, chunkIndex int64) UUID {
	n.buf = append(n.buf[:0], org[:]...)
	n.buf = append(n.buf, "intercom:knowledge:"...)
	n.buf = append(n.buf, key...)
	n.buf = append(n.buf, 0)
	n.buf = append(n.buf, kind...)
	n.buf = append(n.buf, 0)
	n.buf = strconv.AppendInt(n.buf, chunkIndex, 10)
	return n.uuid()
}

func (n *Namer) uuid() UUID {
	sum := sha1.Sum(n.buf)
	u := UUID(sum[:16])
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return u
}
