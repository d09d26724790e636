package record

// Fingerprint is one object as one side of a diff has it, without its values. It is narrow, so that both sides of
// millions of objects fit into files, and needs no order.
type Fingerprint struct {
	SourceID  string // of the object; of knowledge: the conversation's
	UpdatedAt int64  // microseconds since 1970; 0 if unknown
	FetchedAt int64  // microseconds since 1970: when the side read it from Intercom; 0 if unknown
	// Hash is the row's content hash: as stored at level fast, computed from the values at level full. Of knowledge it is the sum, modulo
	// 2^128, of the content hashes of all rows of the conversation, so that the rows may come in any order and in parts.
	Hash  Digest
	Count int32 // rows: 1, of knowledge as many as the part of the sum is of
	State FingerprintState
}

// FingerprintState says how an object is there.
type FingerprintState uint8

const (
	FingerprintLive    FingerprintState = iota
	FingerprintDeleted                  // marked as gone, with the row still there
	FingerprintGone                     // a tombstone without a row
	FingerprintShared                   // a contact whose row shows another contact of the same person; Hash is of what it would write
)
